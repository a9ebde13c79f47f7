package main

import (
	"cmp"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/tiercache/tiercache/bench"
	"github.com/tiercache/tiercache/local"
)

// adviser is a call of tierctl advise.
type adviser struct {
	c                  *command
	hit, sample, share float64
	most               int
	verify             bool
	format, pattern    string
	limits             bench.Limits
}

func (c *command) adviseCommand() *cobra.Command {
	a := &adviser{c: c}
	var formats strings.Builder
	var names []string
	for _, f := range bench.Formats {
		fmt.Fprintf(&formats, "  %-14s %s\n", f.Name, f.About)
		names = append(names, f.Name)
	}
	cmd := &cobra.Command{
		Use:   "advise FILE",
		Short: "how large a local tier must be, from a trace of reads",
		Long: `advise replays a trace of reads through the library's own local tier, under each policy, and prints the smallest size
that has a hit rate, and what doubling it adds. It asks no server. FILE may be - for standard input; gzip and zstd are
recognised, and so are these formats:

` + formats.String() + `
Writes are no reads; the sizes and TTLs that they tell are used. With --pattern a regular expression (of Go) finds the
fields by the names of its groups: key, and size (bytes), time, ttl, op (which reads if it is "get" or the like).`,
		Example: `  valkey-cli monitor > monitor.txt    # for a while, at a quiet time: it costs the server
  tierctl advise monitor.txt
  tierctl advise access.log --pattern '"GET (?P<key>/api/\S+) [^"]*" 200 (?P<size>\d+)' --hit 80`,
		Args: arguments(1, 1, "a trace: a file, or - for standard input"),
		RunE: func(_ *cobra.Command, args []string) error {
			if err := a.prepare(); err != nil {
				return err
			}
			return a.run(args[0])
		},
	}
	f := cmd.Flags()
	f.Float64Var(&a.hit, "hit", 0, "wanted hit rate in percent; 0: nine tenths of what is possible")
	f.Float64Var(&a.sample, "sample", 0, "share of the keys to simulate, 0 to 1; 0: some 20,000 keys")
	f.IntVar(&a.most, "most", 0, "read at most so many requests; 0: 20 million")
	f.BoolVar(&a.verify, "verify", false, "simulate what is advised with all keys")
	f.StringVar(&a.format, "format", "", "one of the formats, where it is not recognised")
	f.StringVar(&a.pattern, "pattern", "", "what finds the fields in a line of another format")
	f.Float64Var(&a.share, "share", 0, "the trace has the reads of this share of the keys, 0 to 1; 0: of all, or as it says itself")
	_ = cmd.RegisterFlagCompletionFunc("format", cobra.FixedCompletions(names, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

// prepare checks the flags.
func (a *adviser) prepare() error {
	a.limits = bench.Limits{Requests: a.most, Format: a.format}
	switch {
	case !(a.hit >= 0 && a.hit < 100):
		return usagef("--hit %v: want a rate between 0 and 100 percent", a.hit)
	case !(a.sample >= 0 && a.sample <= 1), !(a.share >= 0 && a.share <= 1):
		return usagef("--sample and --share are between 0 and 1")
	case a.most < 0:
		return usagef("--most %d: must not be negative", a.most)
	case a.format != "" && !slices.ContainsFunc(bench.Formats, func(f bench.TraceFormat) bool { return f.Name == a.format }):
		return usagef("--format %q is none of those that tierctl advise -h lists", a.format)
	case a.pattern != "" && a.format != "" && a.format != "pattern":
		return usagef("--pattern and --format %s exclude each other", a.format)
	case a.pattern == "" && a.format == "pattern":
		return usagef("--format pattern needs --pattern")
	case a.pattern == "":
		return nil
	}
	pattern, err := regexp.Compile(a.pattern)
	if err == nil {
		err = bench.CheckPattern(pattern)
	}
	if err != nil {
		return usageError{fmt.Errorf("--pattern: %w", err)}
	}
	a.limits.Pattern = pattern
	return nil
}

func (a *adviser) read(path string) (*bench.Trace, error) {
	if path == "-" {
		return bench.ReadTrace(a.c.in, a.limits)
	}
	return bench.ReadTraceFile(path, a.limits)
}

// advised is the outcome in JSON. Rates are in percent.
type advised struct {
	Format     string             `json:"format"`
	Reads      int                `json:"reads"`
	Keys       int                `json:"keys"`
	Writes     int                `json:"writes"`
	Others     int                `json:"others"`
	BadLines   int                `json:"badLines"`
	Cut        bool               `json:"cut"`             // --most was reached
	TraceShare float64            `json:"traceShare"`      // of the keys that the trace has reads of; reads, keys and entries are scaled to all
	Best       float64            `json:"bestHitRate"`     // if nothing is ever evicted
	EntryBytes float64            `json:"entryBytes"`      // of heap, on average
	Sized      float64            `json:"sizesKnownShare"` // of the reads
	TTLs       float64            `json:"ttlsKnownShare"`
	Simulated  float64            `json:"simulatedShare"` // of the keys
	Curves     map[string][]point `json:"curves"`         // by policy
	Wanted     []wanted           `json:"wanted"`
}

type point struct {
	Entries int     `json:"entries"`
	HitRate float64 `json:"hitRate"`
}

// wanted is the smallest size for the rate; no entries: it is out of reach.
type wanted struct {
	Policy  string `json:"policy"`
	Size    point  `json:"size"`
	Doubled point  `json:"doubled"`
}

func advisedOf(t *bench.Trace, a *bench.Advice) advised {
	out := advised{Format: t.Format, Reads: a.Requests, Keys: a.Keys, Writes: t.Writes, Others: t.Others, BadLines: t.Bad, Cut: t.Cut, TraceShare: t.Share,
		Best: a.Best, EntryBytes: a.EntryBytes, Sized: a.Sized, TTLs: a.TTLs, Simulated: a.Share, Curves: make(map[string][]point)}
	for p, curve := range a.Curves {
		for _, at := range curve {
			out.Curves[p.String()] = append(out.Curves[p.String()], point(at))
		}
	}
	for _, w := range a.Wanted {
		out.Wanted = append(out.Wanted, wanted{w.Policy.String(), point(w.Size), point(w.Doubled)})
	}
	return out
}

func (a *adviser) run(path string) error {
	trace, err := a.read(path)
	if err != nil {
		return err
	}
	if len(trace.Requests) == 0 && trace.Bad > 0 {
		return fmt.Errorf("%s: no reads: it is %s, but %v; tierctl advise -h lists the formats, and --pattern finds the fields of others",
			path, a.takenFor(trace), trace.BadLines[0])
	}
	complain(a.c.err, trace)
	if len(trace.Requests) == 0 {
		return fmt.Errorf("%s: no reads (%s)", path, a.recognised(trace))
	}
	if a.share > 0 {
		trace.Share = a.share
	}
	best := bench.BestHitRate(trace.Requests)
	if best == 0 {
		return fmt.Errorf("%s: no read of %d could be a hit, at any size: no key is read twice (%s)", path, len(trace.Requests), a.recognised(trace))
	}
	hit := cmp.Or(a.hit, 0.9*best)
	advice, err := bench.Advise(trace.Requests, hit, a.sample)
	if err != nil {
		return err
	}
	var verified func() error
	if a.verify { // before it is scaled
		wanted := slices.Clone(advice.Wanted)
		verified = func() error { return printVerified(a.c.out, wanted, advice, trace) }
	}
	advice.Scale(trace.Share)
	if a.c.json {
		return a.c.printJSON(advisedOf(trace, advice))
	}
	fmt.Fprintf(a.c.out, "%s.\n", a.recognised(trace))
	printCurves(a.c.out, advice, trace)
	printWanted(a.c.out, advice, hit)
	if verified != nil {
		return verified()
	}
	return nil
}

// recognised says what the trace was taken for.
func (a *adviser) recognised(t *bench.Trace) string {
	text := fmt.Sprintf("The trace is %s: %s", a.takenFor(t), plural(len(t.Requests), "read"))
	if t.Writes > 0 {
		text += fmt.Sprintf("; %s left out, whose sizes and TTLs are used", plural(t.Writes, "write"))
	}
	if t.Others > 0 {
		text += fmt.Sprintf("; %d lines are neither", t.Others)
	}
	return text
}

func (a *adviser) takenFor(t *bench.Trace) string {
	said := "taken for"
	if a.format != "" || a.pattern != "" {
		said = "read as"
	}
	about := t.Format
	for _, f := range bench.Formats {
		if f.Name == t.Format {
			about = f.About
		}
	}
	return said + " " + about
}

// complain reports what of the trace was not used.
func complain(w io.Writer, t *bench.Trace) {
	for _, bad := range t.BadLines {
		fmt.Fprintln(w, bad)
	}
	if more := t.Bad - len(t.BadLines); more > 0 {
		fmt.Fprintf(w, "and %d more bad lines\n", more)
	}
	if t.Cut {
		fmt.Fprintf(w, "only the first %d requests were read\n", len(t.Requests))
	}
}

func printCurves(w io.Writer, a *bench.Advice, t *bench.Trace) {
	fmt.Fprintf(w, "%d requests for %d keys; a cache that never evicts hits %.1f %%. Simulated with %.3g %% of the keys, or more\n",
		a.Requests, a.Keys, a.Best, 100*a.Share)
	fmt.Fprintf(w, "where the cache is small. An entry takes %.0f bytes of heap%s.\n", a.EntryBytes, sizesKnown(a))
	if a.TTLs > 0 {
		fmt.Fprintf(w, "TTLs are known of %.0f %% of the reads, and obeyed.\n", 100*a.TTLs)
	}
	if t.Share < 1 {
		fmt.Fprintf(w, "The trace has the reads of %.3g %% of the keys: requests, keys and entries are scaled to all.\n", 100*t.Share)
	}
	fmt.Fprintf(w, "\nHit rate in percent:\n\n")
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprint(tw, "entries\theap\t")
	for _, p := range bench.Policies {
		fmt.Fprintf(tw, "%v\t", p)
	}
	fmt.Fprintln(tw)
	for i, point := range a.Curves[bench.Policies[0]] {
		fmt.Fprintf(tw, "%d\t%s\t", point.Entries, heap(a, point))
		for _, p := range bench.Policies {
			fmt.Fprintf(tw, "%.1f\t", a.Curves[p][i].HitRate)
		}
		fmt.Fprintln(tw)
	}
	tw.Flush()
}

func sizesKnown(a *bench.Advice) string {
	switch {
	case a.Sized == 0:
		return ", and its value's, which the trace does not tell"
	case a.Sized < 0.999:
		return fmt.Sprintf(" (sizes are known of %.0f %% of the reads)", 100*a.Sized)
	}
	return ""
}

func heap(a *bench.Advice, p bench.Point) string {
	bytes := a.EntryBytes * float64(p.Entries)
	if bytes < 10<<20 {
		return fmt.Sprintf("%.0f KiB", bytes/(1<<10))
	}
	return fmt.Sprintf("%.0f MiB", bytes/(1<<20))
}

func printWanted(w io.Writer, a *bench.Advice, hit float64) {
	fmt.Fprintf(w, "\nThe smallest local tier that hits %.1f %%:\n\n", hit)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "policy\tentries\theap\thits\tif doubled\tmisses saved by that\t")
	for _, x := range a.Wanted {
		if x.Size.Entries == 0 {
			fmt.Fprintf(t, "%v\tout of reach\t\t\t\t\t\n", x.Policy)
			continue
		}
		saved := x.Doubled.HitRate - x.Size.HitRate
		fmt.Fprintf(t, "%v\t%d\t%s\t%.1f %%\t%.1f %%\t%.0f of 1,000 reads\t\n",
			x.Policy, x.Size.Entries, heap(a, x.Size), x.Size.HitRate, x.Doubled.HitRate, 10*saved)
	}
	t.Flush()
}

// printVerified replays all reads through caches of the advised entries and, where sizes are known, of the bytes that so many
// entries take on average.
func printVerified(w io.Writer, wanted []bench.Wanted, a *bench.Advice, trace *bench.Trace) error {
	fmt.Fprint(w, "\nWith all keys of the trace:\n\n")
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "policy\tentries\tclaimed\tsimulated\tdifference\tbounded by bytes instead\t")
	for _, x := range wanted {
		for _, p := range []bench.Point{x.Size, x.Doubled} {
			if p.Entries == 0 {
				continue
			}
			full, err := replay(x.Policy, p.Entries, 0, trace)
			if err != nil {
				return err
			}
			byBytes := "sizes are not known"
			if a.Sized > 0 {
				bytes := int64(a.EntryBytes * float64(p.Entries))
				rate, err := replay(x.Policy, 0, bytes, trace)
				if err != nil {
					return err
				}
				byBytes = fmt.Sprintf("%.2f %% in %s", rate, bytesOf(bytes))
			}
			fmt.Fprintf(t, "%v\t%d\t%.2f %%\t%.2f %%\t%+.2f\t%s\t\n", x.Policy, p.Entries, p.HitRate, full, p.HitRate-full, byBytes)
		}
	}
	return t.Flush()
}

func replay(p local.Policy, entries int, bytes int64, trace *bench.Trace) (hitRate float64, err error) {
	c, err := bench.NewLocal(p, entries, bytes)
	if err != nil {
		return 0, err
	}
	return bench.Replay(c, trace.Requests).HitRate(), nil
}
