package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"
	"unicode/utf8"
)

// terminal prints for people: at most width columns, in colour only on a terminal.
type terminal struct {
	w        io.Writer
	colour   bool
	headings int
}

const width = 96

func newTerminal(w io.Writer) *terminal {
	return &terminal{w: w, colour: wantsColour(w)}
}

func wantsColour(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok || os.Getenv("NO_COLOR") != "" || os.Getenv("TERM") == "dumb" {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

const (
	bold   = "1"
	dim    = "2"
	green  = "32"
	yellow = "33"
	cyan   = "36"
)

// colours of words that stand alone in a table cell: the warmer, the more work it was.
var colours = map[string]string{"local": green, "cached": green, "remote": cyan, "loaded": yellow}

func (t *terminal) paint(colour, s string) string {
	if !t.colour || colour == "" {
		return s
	}
	return "\x1b[" + colour + "m" + s + "\x1b[0m"
}

// heading starts a numbered section.
func (t *terminal) heading(title string) {
	t.headings++
	fmt.Fprintf(t.w, "\n%s\n\n", t.paint(bold, fmt.Sprintf("%d. %s", t.headings, title)))
}

// say prints a paragraph.
func (t *terminal) say(format string, args ...any) { t.wrap("", "   ", fmt.Sprintf(format, args...)) }

// quote prints what the service answered.
func (t *terminal) quote(s string) { t.wrap(dim, "   | ", s) }

// gap prints an empty line.
func (t *terminal) gap() { fmt.Fprintln(t.w) }

func (t *terminal) wrap(colour, indent, s string) {
	line := ""
	flush := func() { fmt.Fprintf(t.w, "%s\n", t.paint(colour, indent+line)) }
	for _, word := range strings.Fields(s) {
		if line != "" && length(indent)+length(line)+1+length(word) > width {
			flush()
			line = ""
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	flush()
}

// table prints rows under a header, with columns as wide as their widest cell. A column whose title
// starts with a '>' is aligned to the right.
func (t *terminal) table(header []string, rows [][]string) {
	widths := make([]int, len(header))
	for _, row := range append([][]string{header}, rows...) {
		for i, cell := range row {
			widths[i] = max(widths[i], length(strings.TrimPrefix(cell, ">")))
		}
	}
	printRow := func(row []string, colour string) {
		var line strings.Builder
		for i, cell := range row {
			cell = strings.TrimPrefix(cell, ">")
			pad := strings.Repeat(" ", widths[i]-length(cell))
			cell = t.paint(colours[cell]+colour, cell)
			if strings.HasPrefix(header[i], ">") {
				cell = pad + cell
			} else {
				cell += pad
			}
			line.WriteString("   " + cell)
		}
		fmt.Fprintln(t.w, strings.TrimRight(line.String(), " "))
	}
	printRow(header, dim)
	for _, row := range rows {
		printRow(row, "")
	}
}

func length(s string) int { return utf8.RuneCountInString(s) }

// short cuts s to n characters.
func short(s string, n int) string {
	if length(s) <= n {
		return s
	}
	return string([]rune(s)[:n-1]) + "…"
}

// latency prints a duration with three digits, which is what the measurement is good for.
func latency(d time.Duration) string {
	for unit := time.Duration(1); unit < time.Hour; unit *= 10 {
		if d < 1000*unit {
			return d.Round(unit).String()
		}
	}
	return d.String()
}

func size(n int64) string {
	if n < 1<<20 {
		return fmt.Sprintf("%.1f kB", float64(n)/(1<<10))
	}
	return fmt.Sprintf("%.1f MB", float64(n)/(1<<20))
}
