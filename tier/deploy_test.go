package tier_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/tier"
)

// Types of two versions of a program.
type (
	answerOld struct {
		Text  string
		Score float64
	}
	answerMore struct {
		Text  string
		Score float64
		Lang  string
	}
	answerRenamed answerOld
)

// half is what one version of a program does in a fleet.
type half struct {
	get func(key string, load func() string) (loaded bool)
	set func(key, text string) error
}

// halfOf opens a process of a version whose values are V.
func halfOf[V any](t *testing.T, f *fleet, of func(text string) V, text func(V) string, options ...tier.CacheOption) half {
	c := view[V](t, f.process(tier.WithLocalEntries(60)), "answers", options...)
	return half{
		get: func(key string, load func() string) (loaded bool) {
			want := ""
			v, err := c.Get(t.Context(), key, func(_ context.Context, e *tier.Entry) (V, error) {
				loaded, want = true, load()
				e.DependsOn("doc" + key)
				return of(want), nil
			})
			require.NoError(t, err)
			require.Equal(t, load(), text(v), "a stale read")
			return loaded
		},
		set: func(key, text string) error { return c.Set(t.Context(), key, of(text)) },
	}
}

// rates has processes read hot keys, while they set some and sources change, and returns the hit rate of each. Every read is
// checked.
func rates(t *testing.T, f *fleet, processes []half) []float64 {
	const keys, reads = 300, 12_000
	r := rand.New(rand.NewPCG(3, 4))
	zipf := rand.NewZipf(r, 1.2, 4, keys-1)
	truth := make([]int, keys)
	loads, asked := make([]int, len(processes)), make([]int, len(processes))
	for i := range reads {
		if i%400 == 399 {
			k := int(zipf.Uint64())
			truth[k]++
			if i%800 == 799 {
				_, err := f.stores[0].InvalidateSource(t.Context(), fmt.Sprint("doc", k))
				require.NoError(t, err)
			} else {
				require.NoError(t, processes[r.IntN(len(processes))].set(fmt.Sprint(k), fmt.Sprint(k, " version ", truth[k])))
			}
			f.sync()
		}
		k, p := int(zipf.Uint64()), r.IntN(len(processes))
		if i >= reads/4 { // the first are to fill the tiers
			asked[p]++
		}
		if processes[p].get(fmt.Sprint(k), func() string { return fmt.Sprint(k, " version ", truth[k]) }) && i >= reads/4 {
			loads[p]++
		}
	}
	var out []float64
	for p := range processes {
		out = append(out, 1-float64(loads[p])/float64(asked[p]))
	}
	return out
}

// A fleet that is half old and half new has the hit rates of a fleet of one version, no stale read, and at most twice
// the memory.
func TestADeployKeepsItsHitRates(t *testing.T) {
	old := func(t *testing.T, f *fleet) half {
		return halfOf(t, f, func(s string) answerOld { return answerOld{s, 1} }, func(a answerOld) string { return a.Text })
	}
	coded := func(t *testing.T, f *fleet) half {
		return halfOf(t, f, func(s string) answerOld { return answerOld{s, 1} }, func(a answerOld) string { return a.Text }, tier.WithCodec(jsonish{}))
	}
	for name, versions := range map[string][2]func(t *testing.T, f *fleet) half{
		"added field": {old, func(t *testing.T, f *fleet) half {
			return halfOf(t, f, func(s string) answerMore { return answerMore{s, 1, "en"} }, func(a answerMore) string { return a.Text })
		}},
		"renamed type, with a codec": {coded, func(t *testing.T, f *fleet) half {
			return halfOf(t, f, func(s string) answerRenamed { return answerRenamed{s, 1} }, func(a answerRenamed) string { return a.Text }, tier.WithCodec(jsonish{}))
		}},
		"JSON, then a codec": {old, coded},
	} {
		t.Run(name, func(t *testing.T) {
			measure := func(first, second func(t *testing.T, f *fleet) half) (rate []float64, entries int) {
				f := embeddedFleet(t, nil)
				var all []half
				for range 2 {
					all = append(all, first(t, f), second(t, f))
				}
				rate = rates(t, f, all)
				for _, key := range f.keys() {
					if !strings.HasSuffix(key, "!") {
						entries++
					}
				}
				return rate, entries
			}
			oldAlone, entries := measure(versions[0], versions[0])
			newAlone, _ := measure(versions[1], versions[1])
			both, more := measure(versions[0], versions[1])
			t.Logf("hit rates alone: %.3f and %.3f; together: %.3f; %d entries alone, %d together", oldAlone, newAlone, both, entries, more)
			for p, rate := range both {
				alone := [2][]float64{oldAlone, newAlone}[p%2][p]
				require.GreaterOrEqual(t, rate, 0.95*alone, "process %d", p)
			}
			require.LessOrEqual(t, more, 2*entries)
		})
	}
}
