package main

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
)

// results holds what each contestant reached, by work and GOMAXPROCS in the order in which they were run.
type results struct{ rows []*row }

type row struct {
	work, unit string
	cpu        int
	names      []string // of contestants, in the order of the work
	values     map[string][]float64
}

func (r *results) add(w *work, cpu int, name string, b testing.BenchmarkResult) {
	i := slices.IndexFunc(r.rows, func(x *row) bool { return x.work == w.name && x.cpu == cpu })
	if i < 0 {
		x := &row{work: w.name, unit: w.unit, cpu: cpu, values: make(map[string][]float64)}
		for _, c := range w.contestants {
			x.names = append(x.names, c.name)
		}
		r.rows, i = append(r.rows, x), len(r.rows)
	}
	value, ok := b.Extra[w.unit]
	if !ok {
		value = float64(b.T.Nanoseconds()) / float64(b.N)
	}
	x := r.rows[i]
	x.values[name] = append(x.values[name], value)
}

// ours is the contestant that the others are compared with.
const ours = "ours"

// table prints a line for each contestant: the median, half the distance between the quartiles in percent of it, and the
// median of ours divided by it, so that a number below 1 is what we are glad of.
func (r *results) table(w io.Writer) {
	for _, x := range r.rows {
		fmt.Fprintf(w, "### %s, GOMAXPROCS=%d, %d rounds\n\n", x.work, x.cpu, len(x.values[x.names[0]]))
		fmt.Fprintf(w, "| cache | %s, median | ± | ours is × |\n|---|---|---|---|\n", x.unit)
		own := median(x.values[ours])
		for _, name := range x.names {
			m := median(x.values[name])
			fmt.Fprintf(w, "| %s | %s | %.0f %% | %s |\n", strings.ReplaceAll(name, "_", " "), amount(m),
				100*spread(x.values[name]), compared(own, m))
		}
		fmt.Fprintln(w)
	}
}

func compared(own, other float64) string {
	if own == 0 || other == 0 {
		return "–"
	}
	return fmt.Sprintf("%.2f", own/other)
}

// amount prints three digits or all before the point.
func amount(v float64) string {
	switch {
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}

func median(all []float64) float64 { return quantile(all, 0.5) }

// spread is half the distance between the quartiles, as a share of the median.
func spread(all []float64) float64 {
	m := median(all)
	if m == 0 {
		return 0
	}
	return (quantile(all, 0.75) - quantile(all, 0.25)) / 2 / m
}

// quantile interpolates between the values next to it.
func quantile(all []float64, share float64) float64 {
	if len(all) == 0 {
		return 0
	}
	s := slices.SortedFunc(slices.Values(all), cmp.Compare[float64])
	at := share * float64(len(s)-1)
	below := int(at)
	above := min(below+1, len(s)-1)
	return s[below] + (at-float64(below))*(s[above]-s[below])
}
