package main

import (
	"errors"
	"fmt"
	"math"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// record is the value that local hits are about: small, with a string, as services keep by the million.
type record struct {
	ID     int64
	Name   string
	Score  float64
	Active bool
}

func recordOf(i int) record {
	return record{ID: int64(i), Name: fmt.Sprintf("record %d", i), Score: float64(i) / 3, Active: i%2 == 0}
}

// blob is n bytes that differ from key to key.
func blob(i, n int) string {
	s := fmt.Sprintf("%d ", i)
	return s + strings.Repeat("x", max(0, n-len(s)))
}

// keys returns n keys that no other contestant uses, for those that share the server.
func (p *pitch) keys(n int) []string {
	keys, prefix := make([]string, n), p.prefix()
	for i := range keys {
		keys[i] = fmt.Sprintf("%s:record:%07d", prefix, i)
	}
	return keys
}

var errMiss = errors.New("a miss, where only hits are expected")

const zipfDraws = 1 << 18

const callers = 32

// byCallers runs op from 32 goroutines, which are told their number.
func byCallers(op func(caller, i int) error) func(b *testing.B) {
	return func(b *testing.B) {
		b.ReportAllocs()
		takeMemory(b)
		procs := runtime.GOMAXPROCS(0)
		b.SetParallelism((callers + procs - 1) / procs)
		var number atomic.Int32
		b.RunParallel(func(pb *testing.PB) {
			caller := int(number.Add(1))
			for i := 0; pb.Next(); i++ {
				if err := op(caller, i); err != nil {
					b.Error(err)
				}
			}
		})
	}
}

func serially(op func(i int) error) func(b *testing.B) {
	return func(b *testing.B) {
		b.ReportAllocs()
		takeMemory(b)
		for i := range b.N {
			if err := op(i); err != nil {
				b.Fatal(err)
			}
		}
	}
}

// roundMemory is more than any contestant allocates in a round.
const roundMemory = 96 << 20

// takeMemory has the process take from the system what a round may need, as one that runs for long has. testing collects
// before each round, whereupon the runtime gives back what is not in use; a rival that then allocates more than those before it
// takes it again, page by page, which is several microseconds each on a virtual machine, and nothing that it does.
func takeMemory(b *testing.B) {
	b.StopTimer()
	defer b.StartTimer()
	pages := make([]byte, roundMemory)
	for i := 0; i < len(pages); i += 4 << 10 {
		pages[i] = 1
	}
	runtime.KeepAlive(pages)
	pages = nil
	runtime.GC()
}

// at returns a percentile, of what it sorts, in ns.
func at(took []time.Duration, share float64) float64 {
	slices.Sort(took)
	return float64(took[int(math.Ceil(share*float64(len(took))))-1].Nanoseconds())
}
