package bench

import (
	"bufio"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/tiercache/tiercache/local"
)

// TraceFormat is one that [ReadTrace] reads.
type TraceFormat struct {
	Name, About string

	// recognise reports whether the first part of a file, or a line of it, is of the format.
	begins  func(head []byte) bool
	hasLine func(line []byte) bool
	lines   func(Limits) lineParser
	binary  func(*Trace, *bufio.Reader, Limits) error
}

// lineParser adds what a line holds to the trace, or says what is wrong with the line.
type lineParser func(t *Trace, line []byte) error

func always(p lineParser) func(Limits) lineParser { return func(Limits) lineParser { return p } }

// Formats are those of traces, in the order in which they are tried.
var Formats []TraceFormat

func init() { // the functions refer to the formats' names
	Formats = []TraceFormat{
		{Name: "oracleGeneral", About: "libCacheSim's oracleGeneral: records of 24 bytes", begins: isOracleGeneral, binary: readOracleGeneral},
		{Name: "meta", About: "Meta's key-value traces (CacheLib): CSV with a header", begins: func(head []byte) bool { _, ok := metaColumns(firstLine(head)); return ok }, lines: metaLines},
		{Name: "monitor", About: "the output of MONITOR", hasLine: func(line []byte) bool { return monitorLine.Match(line) }, lines: always(parseMonitor)},
		{Name: "twitter", About: "Twitter's key-value traces (twemcache): CSV with 7 fields", hasLine: isTwitter, lines: always(parseTwitter)},
		{Name: "json", About: "JSON lines with a key, and size, time, ttl, op: such as this library's access log", hasLine: isJSONRead, lines: always(parseJSON)},
		{Name: "weblog", About: "access logs of web servers (common and combined)", hasLine: func(line []byte) bool { return weblogLine.Match(line) }, lines: patternLines(weblogLine)},
		{Name: "keys", About: "lines of key, or key,size, or key,size,time (bytes, seconds)", lines: always(parseKeys)},
		{Name: "pattern", About: "lines in which a pattern finds the fields", lines: func(l Limits) lineParser { return patternLines(l.Pattern)(l) }},
	}
}

// formatOf says which format a file has.
func formatOf(r *bufio.Reader, limits Limits) (TraceFormat, error) {
	byName := func(name string) (TraceFormat, error) {
		var names []string
		for _, f := range Formats {
			if f.Name == name {
				return f, nil
			}
			names = append(names, f.Name)
		}
		return TraceFormat{}, fmt.Errorf("bench: format %q: want one of %s", name, strings.Join(names, ", "))
	}
	switch {
	case limits.Pattern != nil:
		return byName("pattern")
	case limits.Format == "pattern":
		return TraceFormat{}, errors.New("bench: the format pattern needs a pattern")
	case limits.Format != "":
		return byName(limits.Format)
	}
	head, _ := r.Peek(64 << 10) // an error comes again when it is read
	for _, f := range Formats {
		if f.begins != nil && f.begins(head) || f.hasLine != nil && mostLines(head, f.hasLine) {
			return f, nil
		}
	}
	if bytes.IndexByte(head, 0) >= 0 {
		return TraceFormat{}, errors.New("bench: a binary file of no format that is known")
	}
	if bytes.HasPrefix(bytes.TrimSpace(head), []byte("{")) {
		return TraceFormat{}, errors.New("bench: JSON without a field key: a pattern may find the fields")
	}
	return byName("keys")
}

// mostLines reports whether nine tenths of the first 100 lines are of a format. What a file begins with, or an odd
// line, does not matter.
func mostLines(head []byte, is func([]byte) bool) bool {
	lines, of := 0, 0
	for len(head) > 0 && lines < 100 {
		line, rest, ended := bytes.Cut(head, []byte{'\n'})
		if !ended && lines > 1 {
			break // it may be cut
		}
		head = rest
		if line = bytes.TrimRight(line, "\r"); len(line) == 0 || string(line) == "OK" {
			continue
		}
		lines++
		if is(line) {
			of++
		}
	}
	return of > 0 && 10*of >= 9*lines
}

func firstLine(head []byte) []byte {
	line, _, _ := bytes.Cut(head, []byte{'\n'})
	return bytes.TrimRight(line, "\r")
}

// traceClock turns a trace's times into times since its first request. They do not go back.
type traceClock struct {
	begun       bool
	start, last time.Duration
}

// at returns a request's time. One that is before an earlier one's counts as that.
func (c *traceClock) at(seconds float64) time.Duration {
	if math.IsNaN(seconds) || math.Abs(seconds) > 1<<33 {
		return c.last - c.start
	}
	t := time.Duration(seconds * float64(time.Second))
	if !c.begun {
		c.begun, c.start, c.last = true, t, t
	}
	c.last = max(c.last, t)
	return c.last - c.start
}

// seconds reads a time, or its absence.
func seconds(field []byte) (float64, error) {
	if len(field) == 0 {
		return math.NaN(), nil
	}
	s, err := strconv.ParseFloat(string(field), 64)
	if err != nil || math.IsNaN(s) || math.Abs(s) > 1<<33 {
		return 0, fmt.Errorf("time %.40q: want seconds", field)
	}
	return s, nil
}

// count reads a number that is not negative, or its absence.
func count(what string, field []byte) (int64, error) {
	if len(field) == 0 {
		return 0, nil
	}
	n, err := strconv.ParseInt(string(field), 10, 64)
	if err != nil || n < 0 {
		return 0, fmt.Errorf("%s %.40q: want a number", what, field)
	}
	return n, nil
}

// ttlOf is a number of seconds that is a TTL. Long ones are none, so that times can be added.
func ttlOf(seconds int64) time.Duration {
	if seconds > 100*366*24*3600 {
		return 0
	}
	return time.Duration(seconds) * time.Second
}

// readOf records a read.
func (t *Trace) readOf(key local.Key, size int64, at, ttl time.Duration) {
	t.Requests = append(t.Requests, Request{Key: key, Size: size, At: at, TTL: ttl})
}

// writeOf records a write, of which the latest size and TTL that it tells are kept.
func (t *Trace) writeOf(key local.Key, size int64, ttl time.Duration) {
	t.Writes++
	if size == 0 && ttl == 0 {
		return
	}
	w := t.written[key]
	t.written[key] = attributes{cmp.Or(size, w.size), cmp.Or(ttl, w.ttl)}
}

// parseKeys reads key, or key,size, or key,size,time. An empty size or time is an unknown one: a line without a time has
// that of the line before. Times must not go back.
func parseKeys(t *Trace, line []byte) error {
	fields := bytes.Split(line, []byte{','})
	if len(fields) > 3 {
		return fmt.Errorf("%d fields: want key, or key,size, or key,size,time", len(fields))
	}
	if len(fields[0]) == 0 {
		return errors.New("no key")
	}
	var size int64
	var err error
	if len(fields) > 1 {
		if size, err = count("size", fields[1]); err != nil {
			return err
		}
	}
	s := math.NaN()
	if len(fields) > 2 {
		if s, err = seconds(fields[2]); err != nil {
			return err
		}
		if !math.IsNaN(s) && t.clock.begun && time.Duration(s*float64(time.Second)) < t.clock.last {
			return fmt.Errorf("time %q: before that of an earlier line", fields[2])
		}
	}
	t.readOf(KeyOf(fields[0]), size, t.clock.at(s), 0)
	return nil
}
