// Peers runs the same work over tiercache and over the caches that one would otherwise use, in one process and taking
// turns, and prints what benchstat reads, then a table of ratios:
//
//	go run . [-count 10] [-cpu 1,2,4] [-benchtime 100ms] [-run REGEXP] [-million] [-o FILE]
//
// bench/README.md says why each kind of work is fair.
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"testing"
)

// work is something that every contestant does.
type work struct {
	name        string // of the benchmark, with its parameters as benchstat likes them: Hit/sources=0
	unit        string // what the table compares: "ns/op", or a unit that the contestants report
	everyCPU    bool   // at each of -cpu, or only at as many as the machine has
	rounds      int    // at most so many, for work whose preparation takes long; 0: as -count says
	once        bool   // one iteration per round
	contestants []contestant
}

// contestant prepares its part once, so that nothing of it falls into the timed rounds, and returns what is run in each.
type contestant struct {
	name    string
	prepare func(p *pitch) func(b *testing.B)
}

// allWork is all work by kind: what contestants have prepared is shared by the work of one kind, and gone with it.
func allWork(million bool) [][]work {
	return [][]work{localHits(), hitLatency(), remoteHits(), misses(), stampedes(), reaching(), bulk(million), many(), memory()}
}

func main() {
	testing.Init() // registers the flags that testing.Benchmark obeys
	count := flag.Int("count", 10, "rounds over all contestants")
	cpus := flag.String("cpu", "1,2,4", "values of GOMAXPROCS, for work that scales")
	benchtime := flag.String("benchtime", "100ms", "of each contestant in each round; or a number of iterations, as 100x")
	run := flag.String("run", "", "only work whose name matches")
	million := flag.Bool("million", false, "also invalidate a namespace of 1,000,000 entries")
	out := flag.String("o", "", "also write the benchstat lines to this file")
	flag.Parse()
	lines, err := output(*out)
	must(err)
	o := settings{count: *count, benchtime: *benchtime, match: regexp.MustCompile(*run), lines: lines}
	for _, s := range strings.Split(*cpus, ",") {
		n, err := strconv.Atoi(s)
		must(err)
		o.cpus = append(o.cpus, n)
	}
	p := &pitch{}
	defer p.leave()
	fmt.Fprintf(lines, "goos: %s\ngoarch: %s\npkg: github.com/tiercache/tiercache/bench/peers\n", runtime.GOOS, runtime.GOARCH)
	results := o.play(p, allWork(*million))
	fmt.Println()
	results.table(os.Stdout)
}

func output(path string) (io.Writer, error) {
	if path == "" {
		return os.Stdout, nil
	}
	f, err := os.Create(path)
	return io.MultiWriter(os.Stdout, f), err
}

type settings struct {
	count     int
	cpus      []int
	benchtime string
	match     *regexp.Regexp
	lines     io.Writer
}

// play runs all rounds. Each begins with another contestant than the one before, so that none always comes after the
// same neighbour.
func (o settings) play(p *pitch, all [][]work) *results {
	machine := runtime.GOMAXPROCS(0)
	defer runtime.GOMAXPROCS(machine)
	r := &results{}
	for i := range all {
		o.playKind(p, all[i], r)
		all[i] = nil
		p.clear()
	}
	return r
}

func (o settings) playKind(p *pitch, all []work, r *results) {
	machine := runtime.GOMAXPROCS(0)
	for i := range all {
		w := &all[i]
		if !o.match.MatchString(w.name) {
			continue
		}
		timed := make([]func(*testing.B), len(w.contestants))
		for i, c := range w.contestants {
			timed[i] = c.prepare(p)
		}
		cpus, rounds := []int{machine}, o.count
		if w.everyCPU {
			cpus = o.cpus
		}
		if w.rounds > 0 {
			rounds = min(rounds, w.rounds)
		}
		must(flag.Set("test.benchtime", o.benchtime))
		if w.once {
			must(flag.Set("test.benchtime", "1x"))
		}
		for round := range rounds {
			for _, cpu := range cpus {
				runtime.GOMAXPROCS(cpu)
				for i := range timed {
					at := (i + round) % len(timed)
					name := w.contestants[at].name
					b := testing.Benchmark(timed[at])
					if b.N == 0 {
						must(fmt.Errorf("%s: %s failed", w.name, name))
					}
					fmt.Fprintf(o.lines, "Benchmark%s/cache=%s-%d\t%s\t%s\n", w.name, name, cpu, b, b.MemString())
					r.add(w, cpu, name, b)
				}
			}
		}
		runtime.GOMAXPROCS(machine)
	}
}

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "peers:", err)
		os.Exit(1)
	}
}
