package report

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tiercache/tiercache/bench"
	"github.com/tiercache/tiercache/bench/rivals"
	"github.com/tiercache/tiercache/local"
)

var (
	out    = flag.String("out", "", "write the report to this folder, from simulations of full length")
	traces = flag.String("traces", "", "traces for the report, separated by commas or spaces")
)

// scale is how much is simulated.
type scale struct {
	requests, questions int
	points              int // of a curve
	workloads           []bench.Workload
}

func theScale() scale {
	if *out == "" {
		return scale{requests: 3000, questions: 300, points: 3, workloads: bench.Workloads()[:2]}
	}
	return scale{requests: 200_000, questions: 20_000, points: 14, workloads: bench.Workloads()}
}

// TestReport writes the report if -out says where; else it makes a small one and looks at what must be in it.
func TestReport(t *testing.T) {
	s := theScale()
	var rows []row
	p := Page{
		Title: "How large must the local tier be?",
		About: "Simulations with the library's own code: package local for sizes and policies; whole stores of package tier, on " +
			"one in-process remote and in fake time, for the rest. Made by make report; bench/HITRATE.md tells how to read it.",
	}
	named := s.named(t)
	p.Sections = append(p.Sections, curves(t, s, named), hitRates(t, named, &rows), overInvalidations(t, s),
		overProcesses(t, s), overTTL(t, s), throughBump(t, s), fleets(t, s))
	var page bytes.Buffer
	if err := p.Write(&page); err != nil {
		t.Fatal(err)
	}
	for _, wanted := range []string{"<svg ", "adaptive", "optimum", "currentColor", "by hand"} {
		if !strings.Contains(page.String(), wanted) {
			t.Errorf("the page lacks %q", wanted)
		}
	}
	for _, unwanted := range []string{"http-equiv", "<link", "<script", "src=", "NaN"} {
		if strings.Contains(page.String(), unwanted) {
			t.Errorf("the page has %q", unwanted)
		}
	}
	if *out != "" {
		write(t, page.Bytes(), rows)
	}
}

func write(t *testing.T, page []byte, rows []row) {
	asJSON, err := json.MarshalIndent(rows, "", "\t")
	if err != nil {
		t.Fatal(err)
	}
	var asCSV bytes.Buffer
	w := csv.NewWriter(&asCSV)
	w.Write([]string{"trace", "cache", "percent of keys", "entries", "hit %"})
	for _, r := range rows {
		w.Write([]string{r.Trace, r.Cache, fmt.Sprint(r.Percent), strconv.Itoa(r.Entries), fmt.Sprintf("%.3f", r.Hit)})
	}
	w.Flush()
	for name, content := range map[string][]byte{"index.html": page, "hitrate.json": asJSON, "hitrate.csv": asCSV.Bytes()} {
		if err := os.WriteFile(filepath.Join(*out, name), content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

type named struct {
	name     string
	requests []bench.Request
	keys     int
	sizes    []float64 // in percent of keys, for the table
}

func (s scale) named(t *testing.T) (all []named) {
	for _, path := range strings.FieldsFunc(*traces, func(r rune) bool { return r == ',' || r == ' ' }) {
		trace, err := bench.ReadTraceFile(path, bench.Limits{})
		if err != nil {
			t.Fatal(err)
		}
		name, _, _ := strings.Cut(filepath.Base(path), ".")
		all = append(all, named{name: name, requests: trace.Requests})
	}
	for _, w := range s.workloads {
		all = append(all, named{name: w.Name, requests: w.Make(1, s.requests)})
	}
	for i := range all {
		all[i].keys, all[i].sizes = bench.Distinct(all[i].requests), []float64{0.1, 1, 10}
		if int64(all[i].keys) < 2000 { // a tenth is little of a small trace, and nothing of a loop
			all[i].sizes = []float64{10, 50, 99}
		}
	}
	return all
}

func lineOf(name string, style int, points []bench.Point) Line {
	l := Line{Name: name, Style: style}
	for _, p := range points {
		l.X, l.Y = append(l.X, float64(p.Entries)), append(l.Y, 100-p.HitRate)
	}
	return l
}

func curves(t *testing.T, s scale, all []named) Section {
	section := Section{Title: "Miss ratio by size", Text: "The share of reads that the local tier cannot answer, by its size, under each " +
		"policy and for one that knows the future. Sampled where there are more than 20,000 keys."}
	for _, x := range all {
		sizes, share := bench.Sizes(min(32, x.keys), x.keys, s.points), min(1, 20_000/float64(x.keys))
		c := Chart{Title: "Miss ratio: " + x.name, X: "local tier [entries]", Y: "misses [% of reads]", LogX: true, YMax: 100}
		for _, p := range bench.Policies {
			points, err := bench.Curve(p, x.requests, sizes, share)
			if err != nil {
				t.Fatal(err)
			}
			c.Lines = append(c.Lines, lineOf(p.String(), int(p), points))
		}
		points, err := bench.OptimumCurve(x.requests, sizes, share)
		if err != nil {
			t.Fatal(err)
		}
		c.Lines = append(c.Lines, lineOf("optimum", 4, points))
		section.Charts = append(section.Charts, c)
	}
	return section
}

// row is one figure of the table.
type row struct {
	Trace, Cache string
	Percent      float64 // of the distinct keys
	Entries      int
	Hit          float64 // percent
}

func hitRates(t *testing.T, all []named, rows *[]row) Section {
	section := Section{Title: "Hit rate by policy", Text: "In percent of the reads. Sizes are shares of the distinct keys, but at least 64 entries."}
	for _, x := range all {
		table := Table{Caption: fmt.Sprintf("%s: %d reads of %d keys", x.name, len(x.requests), x.keys), Head: []string{"cache"}}
		contestants := append(bench.Ours(), rivals.All()...)
		sums := make([]float64, len(contestants))
		cells := make([][]string, len(contestants))
		for _, percent := range x.sizes {
			entries := max(64, int(percent/100*float64(x.keys)))
			table.Head = append(table.Head, fmt.Sprintf("%v %%: %d", percent, entries))
			for i, c := range contestants {
				n, err := c.Replay(x.requests, entries)
				if err != nil {
					t.Fatal(err)
				}
				*rows = append(*rows, row{x.name, c.Name, percent, entries, n.HitRate()})
				sums[i] += n.HitRate()
				cells[i] = append(cells[i], fmt.Sprintf("%.1f", n.HitRate()))
			}
		}
		table.Head = append(table.Head, "mean")
		for i, c := range contestants {
			line := append([]string{c.Name}, cells[i]...)
			table.Rows = append(table.Rows, append(line, fmt.Sprintf("%.1f", sums[i]/float64(len(x.sizes)))))
			if c.Name == local.Adaptive.String() {
				table.Bold = append(table.Bold, i)
			}
		}
		section.Tables = append(section.Tables, table)
	}
	return section
}

// simulate runs a fleet in a bubble.
func simulate(t *testing.T, s scale, f bench.Fleet, d bench.Documents) (r bench.Report) {
	synctest.Test(t, func(t *testing.T) {
		var err error
		if r, err = f.Simulate(d, 1, s.questions); err != nil {
			t.Fatal(err)
		}
	})
	return r
}

// quiet has none of the changes, and few enough questions for most of them to be asked again.
var quiet = bench.Documents{Questions: 5000, Sources: 2000, Skew: 0.9, Rate: 10}

// sweep draws what becomes of the hit rates when one thing varies.
func sweep(t *testing.T, s scale, c Chart, xs []float64, at func(x float64) (bench.Fleet, bench.Documents)) Chart {
	lines := []Line{{Name: "local tier", Style: 0}, {Name: "either tier", Style: 3}}
	for _, x := range xs {
		f, d := at(x)
		r := simulate(t, s, f, d)
		for i, y := range []float64{r.LocalRate(), 100 - r.LoadsPerThousand()/10} {
			lines[i].X, lines[i].Y = append(lines[i].X, x), append(lines[i].Y, y)
		}
	}
	c.Y, c.YMax, c.Lines = "hits [% of reads]", 100, lines
	return c
}

var fleet = bench.Fleet{Processes: 4, LocalEntries: 2000, TTL: 24 * time.Hour}

func overInvalidations(t *testing.T, s scale) Section {
	c := sweep(t, s, Chart{Title: "Hit rate by rate of edits", X: "edits [per 1,000 questions]", LogX: true},
		[]float64{0.1, 0.3, 1, 3, 10, 30, 100, 300}, func(x float64) (bench.Fleet, bench.Documents) {
			d := quiet
			d.Edits = x / 1000 * d.Rate
			return fleet, d
		})
	return Section{Title: "What invalidation costs", Text: fmt.Sprintf("%d questions over 2,000 documents, each answered from one to ten of "+
		"them, in four processes. An edit makes the answers from that document unbelievable everywhere.", s.questions), Charts: []Chart{c}}
}

func overProcesses(t *testing.T, s scale) Section {
	c := sweep(t, s, Chart{Title: "Hit rate by number of processes", X: "processes [number]", XTicks: []float64{1, 4, 8, 12, 16}},
		[]float64{1, 2, 4, 6, 8, 12, 16}, func(x float64) (bench.Fleet, bench.Documents) {
			f := fleet
			f.Processes = int(x)
			return f, quiet
		})
	return Section{Title: "What the remote tier is for", Text: "The same questions, spread over more processes: each has to find its own " +
		"copies, but what one of them loaded, all have.", Charts: []Chart{c}}
}

func overTTL(t *testing.T, s scale) Section {
	c := sweep(t, s, Chart{Title: "Hit rate by TTL", X: "TTL [s]", LogX: true},
		[]float64{1, 3, 10, 30, 100, 300, 1000, 3000}, func(x float64) (bench.Fleet, bench.Documents) {
			f := fleet
			f.TTL = time.Duration(x) * time.Second
			return f, quiet
		})
	return Section{Title: "What a TTL costs", Text: "The same questions, ten a second, in a simulation of 2,000 s: the longer a value may live, the more " +
		"of the questions that come back find it.", Charts: []Chart{c}}
}

func throughBump(t *testing.T, s scale) Section {
	w := bench.BumpLoad{Questions: s.questions / 20, Rate: 300, Load: 2 * time.Second, Before: 30 * time.Second, After: 30 * time.Second}
	c := Chart{Title: "Loads through a version bump at 30 s", X: "time [s]", Y: "loads that begin [per s]", XTicks: []float64{0, 10, 20, 30, 40, 50, 60}}
	for i, name := range []string{"with leases", "by hand"} {
		w.ByHand = i == 1
		synctest.Test(t, func(t *testing.T) {
			perSecond, err := fleet.LoadsThroughBump(w, 1)
			if err != nil {
				t.Fatal(err)
			}
			l := Line{Name: name, Style: 3 * (1 - i), Stairs: true}
			for x, n := range perSecond {
				l.X, l.Y = append(l.X, float64(x)), append(l.Y, float64(n))
			}
			c.Lines = append(c.Lines, l)
		})
	}
	return Section{Title: "What a lease saves", Text: fmt.Sprintf("%d questions of Zipf popularity, 300 a second in four processes, each load "+
		"takes 2 s; caches begin empty, and everything is invalidated after 30 s. By hand: look, load, store, as one writes it.",
		w.Questions), Charts: []Chart{c}}
}

func fleets(t *testing.T, s scale) Section {
	table := Table{Caption: "By number of processes and local entries", Head: []string{"figure"}}
	for _, m := range (bench.Report{}).Metrics(bench.MeasuredCosts) {
		table.Rows = append(table.Rows, []string{m.Unit})
	}
	for _, processes := range []int{1, 4} {
		for _, entries := range []int{200, 1000, 5000} {
			table.Head = append(table.Head, fmt.Sprintf("%d × %d", processes, entries))
			r := simulate(t, s, bench.Fleet{Processes: processes, LocalEntries: entries}, bench.DefaultDocuments)
			for i, m := range r.Metrics(bench.MeasuredCosts) {
				table.Rows[i] = append(table.Rows[i], fmt.Sprintf("%.1f", m.Value))
			}
		}
	}
	return Section{Title: "Questions over changing documents", Text: fmt.Sprintf("%d questions, of 5,000 different ones over 2,000 documents, with edits, "+
		"re-indexed namespaces, version bumps, lost connections and a TTL by kind of content. Below the line of evictions: latency saved for "+
		"each read if a load takes 50 ms, and local misses by cause, for 1,000 reads.", s.questions), Tables: []Table{table}}
}
