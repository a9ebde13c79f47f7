package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/fatih/color"
	"github.com/spf13/cobra"
)

// finding is what doctor says of one thing.
type finding struct {
	Check string   `json:"check"`
	Level level    `json:"level"`
	Says  string   `json:"says"`
	Do    string   `json:"do,omitempty"`
	Link  string   `json:"link,omitempty"`
	Nodes []string `json:"servers,omitempty"` // where it is; empty: everywhere
}

type level int

const (
	levelOK level = iota
	levelNote
	levelWarning
	levelError
)

var levelNames = []string{"ok", "note", "warning", "error"}

func (l level) String() string               { return levelNames[l] }
func (l level) MarshalText() ([]byte, error) { return []byte(l.String()), nil }

// docsURL is where the pages are that findings link to.
const docsURL = "https://github.com/tiercache/tiercache/blob/main/"

// Pages with what to do. A test sees that their headings exist.
const (
	pageVersions  = "docs/stability.md#which-server"
	pageTracking  = "docs/operations.md#without-tracking"
	pageRights    = "docs/providers.md#what-a-store-needs"
	pageTLS       = "docs/operations.md#acl-and-tls"
	pageSizing    = "docs/operations.md#sizing"
	pageMemory    = "README.md#valkey"
	pageAway      = "docs/operations.md#while-the-server-is-away"
	pageFailover  = "docs/operations.md#opening-and-failing-over"
	pageDoctor    = "docs/tierctl.md#doctor"
	pageFormat    = "docs/format.md#change-log"
	pageTablesOOM = "docs/operations.md#health"
	pageRefused   = "docs/troubleshooting.md#valkey-refuses-to-write"
)

var pages = []string{pageVersions, pageTracking, pageRights, pageTLS, pageSizing, pageMemory, pageAway, pageFailover, pageDoctor, pageFormat, pageTablesOOM, pageRefused}

// doctor collects findings.
type doctor struct {
	c        *command
	s        *server
	all      []*node
	tracks   bool // the stores use client tracking
	findings []finding
}

func (c *command) doctorCommand() *cobra.Command {
	var strict bool
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "check the server, this user's rights and the connection, and say what to do",
		Long: `doctor checks what a store needs and what costs it hits: version and kind of the server, RESP3 and client tracking (with
a real invalidation), memory policy, writes, tracking table, output buffers, each right of this user, TLS, clocks, latency
and the change log. It writes keys of its own under the prefix, and removes them.

It exits with 3 if it finds an error, or with --strict a warning; else with 0.`,
		Args: arguments(0, 0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := c.connect(cmd.Context())
			if err != nil {
				return err
			}
			defer s.Close()
			d := &doctor{c: c, s: s}
			if err := d.run(cmd.Context()); err != nil {
				return err
			}
			if err := d.print(); err != nil {
				return err
			}
			if worst := d.worst(); worst == levelError || strict && worst == levelWarning {
				return errFindings
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&strict, "strict", false, "exit with 3 for warnings too")
	return cmd
}

func (d *doctor) run(ctx context.Context) error {
	d.all = d.s.nodes(ctx)
	d.tracks = !d.c.connection.noTracking
	if log, err := d.s.readLog(ctx); err == nil && len(log.open()) > 0 && log.latestMode().untracked {
		d.tracks = false
	}
	for _, check := range []func(context.Context){d.checkVersion, d.checkMode, d.checkRESP3, d.checkTracking, d.checkMemory, d.checkWrites, d.checkTable,
		d.checkBuffers, d.checkRights, d.checkTLS, d.checkClock, d.checkLatency, d.checkLog} {
		check(ctx)
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	return nil
}

// add records a finding. What is found of several nodes is one finding that names them.
func (d *doctor) add(f finding, nodes ...*node) {
	if f.Link != "" {
		f.Link = docsURL + f.Link
	}
	f.Says, f.Do = d.c.connection.redact(f.Says), d.c.connection.redact(f.Do)
	var names []string
	if len(d.all) > 1 {
		for _, n := range nodes {
			names = append(names, n.addr)
		}
	}
	for i := range d.findings {
		if o := &d.findings[i]; o.Check == f.Check && o.Level == f.Level && o.Says == f.Says && len(names) > 0 {
			o.Nodes = append(o.Nodes, names...)
			return
		}
	}
	f.Nodes = names
	d.findings = append(d.findings, f)
}

func (d *doctor) ok(check, format string, args ...any) {
	d.add(finding{Check: check, Says: fmt.Sprintf(format, args...)})
}

func (d *doctor) worst() (worst level) {
	for _, f := range d.findings {
		worst = max(worst, f.Level)
	}
	return worst
}

func (d *doctor) print() error {
	for i := range d.findings {
		if f := &d.findings[i]; len(f.Nodes) == len(d.all) {
			f.Nodes = nil
		}
		slices.Sort(d.findings[i].Nodes)
	}
	if d.c.json {
		return d.c.printJSON(struct {
			Worst    level     `json:"worst"`
			Findings []finding `json:"findings"`
		}{d.worst(), d.findings})
	}
	paints := []func(string) string{d.c.paint(color.FgGreen), d.c.paint(color.FgCyan), d.c.paint(color.FgYellow), d.c.paint(color.FgRed, color.Bold)}
	counts := make([]int, len(levelNames))
	// A tabwriter would count the colours' bytes.
	for _, f := range d.findings {
		counts[f.Level]++
		where := ""
		if len(f.Nodes) > 0 {
			where = " (" + strings.Join(f.Nodes, ", ") + ")"
		}
		fmt.Fprintf(d.c.out, "%s %-9s %s%s\n", paints[f.Level](fmt.Sprintf("%-8s", f.Level)), f.Check, printable(f.Says), where)
		if f.Do != "" {
			fmt.Fprintf(d.c.out, "%19s-> %s\n", "", f.Do)
		}
		if f.Link != "" && f.Level > levelOK {
			fmt.Fprintf(d.c.out, "%19s   %s\n", "", f.Link)
		}
	}
	_, err := fmt.Fprintf(d.c.out, "\n%s, %s, %s\n", plural(counts[levelError], "error"), plural(counts[levelWarning], "warning"), plural(counts[levelNote], "note"))
	return err
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
