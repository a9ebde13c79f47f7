package main

import (
	"bytes"
	"io"
	"regexp"
	"strings"
	"testing"

	"github.com/tiercache/tiercache/internal/valkeytest"
)

func TestMain(m *testing.M) {
	// Rivals leave goroutines behind, so the server is this package's own and no test looks for them.
	m.Run()
}

// TestEachContestantDoesItsWork runs all work once, small, so that none rots. It looks at no times.
func TestEachContestantDoesItsWork(t *testing.T) {
	server := valkeytest.Start(t)
	p := &pitch{short: true, server: func() *valkeytest.Server { return server }}
	defer p.leave()
	var lines bytes.Buffer
	o := settings{count: 1, cpus: []int{2}, benchtime: "1x", match: regexp.MustCompile(""), lines: &lines}
	results := o.play(p, allWork(false))
	results.table(io.Discard)
	for _, x := range results.rows {
		for _, name := range x.names {
			if len(x.values[name]) != 1 || x.values[name][0] < 0 {
				t.Errorf("%s: %s has no result", x.work, name)
			}
			if line := "Benchmark" + x.work + "/cache=" + name + "-"; !strings.Contains(lines.String(), line) {
				t.Errorf("no line %s…", line)
			}
		}
	}
}

func TestTableShowsMedianSpreadAndRatio(t *testing.T) {
	w := &work{name: "Work", unit: "ns/op", contestants: []contestant{{name: "ours"}, {name: "an_other"}}}
	r := &results{}
	for _, ns := range []float64{10, 30, 20, 40, 50} {
		r.add(w, 2, "ours", testing.BenchmarkResult{N: 1, Extra: map[string]float64{"ns/op": ns}})
		r.add(w, 2, "an_other", testing.BenchmarkResult{N: 1, Extra: map[string]float64{"ns/op": 2 * ns}})
	}
	var got strings.Builder
	r.table(&got)
	for _, want := range []string{"### Work, GOMAXPROCS=2, 5 rounds", "| ours | 30.0 | 33 % | 1.00 |", "| an other | 60.0 | 33 % | 0.50 |"} {
		if !strings.Contains(got.String(), want) {
			t.Errorf("no %q in\n%s", want, &got)
		}
	}
}
