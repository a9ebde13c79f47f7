// Scaling tells what a fleet of many stores takes one server, by a simulation with the costs that 200 stores were measured to
// have, and draws it:
//
//	go run ./scaling -o ../docs/images/scaling.svg
//
// The tables are those of docs/scaling.md.
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/tiercache/tiercache/bench/report"
)

func main() {
	out := flag.String("o", "scaling.svg", "where the picture goes")
	flag.Parse()
	tables(os.Stdout, 10*time.Second)
	if err := draw(*out, 5*time.Second); err != nil {
		fmt.Fprintln(os.Stderr, "scaling:", err)
		os.Exit(1)
	}
}

// sizes are those of the fleets.
var sizes = []int{10, 50, 200, 500, 1000, 2000, 3000, 5000, 10000}

// Fleets, by their options.
var (
	normal  = fleet{bound: time.Second, heartbeat: 250 * time.Millisecond, paced: true, costs: measured} // those that are the default
	narrow  = fleet{bound: 250 * time.Millisecond, heartbeat: 125 * time.Millisecond, paced: true, costs: measured}
	slow    = fleet{bound: 4 * time.Second, heartbeat: time.Second, paced: true, costs: measured}
	unused  = fleet{bound: 30 * time.Second, heartbeat: 20 * time.Second, paced: true, costs: measured} // no reads for a minute; the first takes a delta along
	unpaced = fleet{bound: time.Second, heartbeat: 250 * time.Millisecond, costs: measured}             // as it was before messages had a pace
)

// of is the fleet with so many stores, and changes in a second.
func (f fleet) of(stores int, rate float64) fleet {
	f.stores, f.rate = stores, rate
	return f
}

func tables(w io.Writer, lasts time.Duration) {
	for _, t := range []struct {
		title string
		fleet fleet
		rates []float64
	}{
		{"A bound of 1 s, heartbeats of 250 ms", normal, []float64{0, 100, 1000}},
		{"The same, a message for each change", unpaced, []float64{100, 1000}},
		{"A bound of 250 ms, heartbeats of 125 ms", narrow, []float64{0, 1000}},
		{"A bound of 4 s, heartbeats of 1 s", slow, []float64{0, 1000}},
		{"Idle stores, heartbeats of 20 s", unused, []float64{0}},
	} {
		fmt.Fprintf(w, "%s\n\n| stores | changes/s | server busy | messages/s | a change, p50 / p99 | heard of, p50 / p99 | without proof | B/s per store, in / out |\n|---|---|---|---|---|---|---|---|\n", t.title)
		for _, rate := range t.rates {
			for _, n := range sizes {
				r := simulate(t.fleet.of(n, rate), lasts)
				if r.busy > 0.99 {
					fmt.Fprintf(w, "| %d | %.0f | falls behind | | | | | |\n", n, rate)
					break
				}
				fmt.Fprintf(w, "| %d | %.0f | %s | %.0f | %s | %s | %.0f %% | %.0f / %.0f |\n",
					n, rate, fmt.Sprintf("%.0f %%", 100*r.busy), r.messages, both(r.changeP50, r.change9), both(r.heardP50, r.heard9), 100*r.unproven, r.in, r.out)
			}
		}
		fmt.Fprintln(w)
	}
}

func both(p50, p99 time.Duration) string {
	if p50 == 0 {
		return ""
	}
	return fmt.Sprintf("%.1f / %.1f ms", p50.Seconds()*1e3, p99.Seconds()*1e3)
}

func draw(out string, lasts time.Duration) error {
	chart := report.Chart{Title: "What a fleet takes its server", X: "stores", Y: "server busy, %", YMax: 100, LogX: true,
		XTicks: []float64{10, 100, 1000, 10000}}
	for i, l := range []struct {
		name  string
		fleet fleet
		rate  float64
	}{
		{"1,000 changes/s,\nnot paced", unpaced, 1000},
		{"1,000 changes/s,\nbound 250 ms", narrow, 1000},
		{"1,000 changes/s", normal, 1000},
		{"no changes", normal, 0},
		{"no changes,\nheartbeats of 1 s", slow, 0},
		{"idle", unused, 0},
	} {
		line := report.Line{Name: l.name, Style: i}
		for _, n := range []int{10, 20, 50, 100, 200, 300, 500, 700, 1000, 1400, 2000, 2500, 3000, 4000, 5000, 7000, 10000} {
			b := min(100, 100*simulate(l.fleet.of(n, l.rate), lasts).busy)
			line.X, line.Y = append(line.X, float64(n)), append(line.Y, b)
			if b == 100 {
				break
			}
		}
		chart.Lines = append(chart.Lines, line)
	}
	return chart.WriteFile(out)
}
