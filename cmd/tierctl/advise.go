package main

import (
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/tiercache/tiercache/bench"
)

// adviser is a call of tierctl advise.
type adviser struct {
	c           *command
	hit, sample float64
	most        int
	verify      bool
}

func (c *command) adviseCommand() *cobra.Command {
	a := &adviser{c: c}
	cmd := &cobra.Command{
		Use:   "advise FILE",
		Short: "how large a local tier must be, from a trace of reads",
		Long: `advise replays a trace of reads through the library's own local tier, under each policy, and prints the smallest size
that has a hit rate, and what doubling it adds. It asks no server. FILE may be - for standard input.`,
		Args: exactly(1, "a trace: a file, or - for standard input"),
		RunE: func(_ *cobra.Command, args []string) error { return a.run(args[0]) },
	}
	f := cmd.Flags()
	f.Float64Var(&a.hit, "hit", 0, "wanted hit rate in percent; 0: nine tenths of what is possible")
	f.Float64Var(&a.sample, "sample", 0, "share of the keys to simulate, 0 to 1; 0: some 20,000 keys")
	f.IntVar(&a.most, "most", 0, "read at most so many requests; 0: 20 million")
	f.BoolVar(&a.verify, "verify", false, "simulate what is advised with all keys")
	return cmd
}

func (a *adviser) read(path string) (*bench.Trace, error) {
	limits := bench.Limits{Requests: a.most}
	if path == "-" {
		return bench.ReadTrace(a.c.in, limits)
	}
	return bench.ReadTraceFile(path, limits)
}

func (a *adviser) run(path string) error {
	trace, err := a.read(path)
	if err != nil {
		return err
	}
	complain(a.c.err, trace)
	if len(trace.Requests) == 0 {
		return fmt.Errorf("%s: no requests", path)
	}
	hit := a.hit
	if hit == 0 {
		hit = 90 * (1 - float64(bench.Distinct(trace.Requests))/float64(len(trace.Requests)))
	}
	advice, err := bench.Advise(trace.Requests, hit, a.sample)
	if err != nil {
		return usageError{err}
	}
	if a.c.json {
		return a.c.printJSON(advice)
	}
	printCurves(a.c.out, advice)
	printWanted(a.c.out, advice, hit)
	if a.verify {
		return printVerified(a.c.out, advice, trace.Requests)
	}
	return nil
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

func printCurves(w io.Writer, a *bench.Advice) {
	fmt.Fprintf(w, "%d requests for %d keys; a cache that never evicts hits %.1f %%. Simulated with %.3g %% of the keys, or more\n",
		a.Requests, a.Keys, a.Best, 100*a.Share)
	fmt.Fprintf(w, "where the cache is small. An entry takes %.0f bytes of heap.\n\nHit rate in percent:\n\n", a.EntryBytes)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprint(t, "entries\theap\t")
	for _, p := range bench.Policies {
		fmt.Fprintf(t, "%v\t", p)
	}
	fmt.Fprintln(t)
	for i, point := range a.Curves[bench.Policies[0]] {
		fmt.Fprintf(t, "%d\t%s\t", point.Entries, heap(a, point))
		for _, p := range bench.Policies {
			fmt.Fprintf(t, "%.1f\t", a.Curves[p][i].HitRate)
		}
		fmt.Fprintln(t)
	}
	t.Flush()
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

func printVerified(w io.Writer, a *bench.Advice, requests []bench.Request) error {
	fmt.Fprint(w, "\nWith all keys:\n\n")
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "policy\tentries\tclaimed\tsimulated\tdifference\t")
	for _, x := range a.Wanted {
		for _, p := range []bench.Point{x.Size, x.Doubled} {
			if p.Entries == 0 {
				continue
			}
			c, err := bench.NewLocal(x.Policy, p.Entries, 0)
			if err != nil {
				return err
			}
			full := bench.Replay(c, requests).HitRate()
			fmt.Fprintf(t, "%v\t%d\t%.2f %%\t%.2f %%\t%+.2f\t\n", x.Policy, p.Entries, p.HitRate, full, p.HitRate-full)
		}
	}
	return t.Flush()
}
