package tier_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/tier"
)

// version is a view of one of two versions of a program.
func version(t testing.TB, s *tier.Store, n int, options ...tier.CacheOption) *tier.Cache[string] {
	c, err := tier.New[string](s, "docs", append([]tier.CacheOption{tier.WithSchema(fmt.Sprint(n))}, options...)...)
	require.NoError(t, err)
	return c
}

// Entries of two versions live side by side: neither replaces the other's, each has one
// load, and what either sets, deletes or changes ends both.
func TestVersionsLiveSideBySide(t *testing.T) {
	onEachRemote(t, func(t *testing.T, f *fleet) {
		stores := []*tier.Store{f.process(), f.process(), f.process(), f.process()}
		var views []*tier.Cache[string]
		for i, s := range stores {
			views = append(views, version(t, s, i%2))
		}
		stored := func() {
			for _, s := range stores {
				eventually(t, "all is stored", func() bool { return s.Stats().Loads == s.Stats().Fills+s.Stats().Fenced })
			}
		}
		loads := 0
		read := func(key, want string, loaded int, options ...tier.CallOption) {
			t.Helper()
			for i, c := range views {
				r := find(t, c, key, func(_ context.Context, e *tier.Entry) (string, error) {
					loads++
					e.DependsOn("doc")
					return want, nil
				}, options...)
				require.Equal(t, want, r.Value, "process %d", i)
				stored()
			}
			require.Equal(t, loaded, loads, key)
			loads = 0
		}
		read("k", "one", 2)
		read("k", "one", 0)
		read("k", "one", 0, tier.NoLocal())
		read("k", "one", 0, tier.Fresh())

		for i, c := range views[:2] {
			value := fmt.Sprint("set by ", i)
			require.NoError(t, c.Set(t.Context(), "k", value))
			f.sync()
			read("k", value, 1) // by the other version
			read("k", value, 0, tier.NoLocal())

			require.NoError(t, c.Delete(t.Context(), "k"))
			f.sync()
			read("k", fmt.Sprint("after delete ", i), 2)

			_, err := stores[i].InvalidateSource(t.Context(), "doc")
			require.NoError(t, err)
			f.sync()
			read("k", fmt.Sprint("after source ", i), 2)
			if !f.tracked {
				continue // other processes are not told of a refresh
			}
			_, err = c.Refresh(t.Context(), "k", is("refreshed"))
			require.NoError(t, err)
			stored()
			f.sync()
			read("k", "refreshed", 1)
		}
	})
}

// All calls that read go beside, and give what is there.
func TestEveryCallReadsWhatStandsBeside(t *testing.T) {
	onEachRemote(t, func(t *testing.T, f *fleet) {
		a, b, other := f.process(), f.process(), f.process()
		old, now, there := version(t, a, 1), version(t, b, 2), version(t, other, 2)
		keys := []string{"a", "b", "c"}
		for _, key := range keys {
			require.NoError(t, old.Set(t.Context(), key, "old "+key))
		}
		f.sync()
		batch := func(_ context.Context, keys []string, _ tier.Entries) (map[string]string, error) {
			out := make(map[string]string)
			for _, key := range keys {
				out[key] = "new " + key
			}
			return out, nil
		}
		_, ok, err := now.Peek(t.Context(), "a")
		require.NoError(t, err)
		require.False(t, ok)
		require.Contains(t, explain(t, now, "a").Remote.Why, "another type")
		want := map[string]string{"a": "new a", "b": "new b", "c": "new c"}
		got, err := now.GetMany(t.Context(), keys, batch)
		require.NoError(t, err)
		require.Equal(t, want, got)
		filled(t, b, 3)
		f.sync()
		none := func(_ context.Context, keys []string, _ tier.Entries) (map[string]string, error) {
			t.Errorf("%q are loaded", keys)
			return nil, nil
		}
		for _, options := range [][]tier.CallOption{nil, {tier.NoLocal()}, {tier.Fresh()}} {
			got, err = there.GetMany(t.Context(), keys, none, options...)
			require.NoError(t, err)
			require.Equal(t, want, got)
		}
		v, ok, err := version(t, f.process(), 2).Peek(t.Context(), "b")
		require.NoError(t, err)
		require.True(t, ok)
		require.Equal(t, "new b", v)
		e := explain(t, there, "c")
		require.True(t, e.Remote.Valid, e.Remote.Why)
		require.Contains(t, e.RemoteKey, "~")
		for _, key := range keys {
			require.Equal(t, "old "+key, find(t, old, key, unneeded[string], tier.NoLocal()).Value)
		}
		require.Zero(t, other.Stats().RemoteMisses[tier.OtherType])
	})
}

// A copy of what stands beside an entry ends when that entry changes.
func TestACopyOfWhatStandsBesideEndsWithTheEntry(t *testing.T) {
	onEachRemote(t, func(t *testing.T, f *fleet) {
		a, b, r := f.process(), f.process(), f.process()
		old, now, reader := version(t, a, 1), version(t, b, 2), version(t, r, 2)
		for i := range 20 {
			require.NoError(t, old.Set(t.Context(), "k", fmt.Sprint("v", i)))
			f.sync()
			require.Equal(t, fmt.Sprint("v", i), find(t, now, "k", is(fmt.Sprint("v", i))).Value, "loaded and kept")
			filled(t, b, int64(i+1))
			f.sync()
			require.Equal(t, fmt.Sprint("v", i), find(t, reader, "k", is(fmt.Sprint("v", i))).Value, "read and kept")
			require.EqualValues(t, 0, r.Stats().Loads)
		}
		if f.tracked {
			f.sync()
			require.Equal(t, tier.Local, find(t, reader, "k", unneeded[string]).Origin)
			require.Equal(t, tier.Local, find(t, now, "k", unneeded[string]).Origin)
		}
		require.NoError(t, old.Delete(t.Context(), "k"))
		f.sync()
		require.Equal(t, "gone", find(t, reader, "k", is("gone")).Value)
	})
}

// A refresh whose value cannot be stored removes what stands beside, and not the entry of the
// other version.
func TestWhatStandsBesideIsRemovedWhenItsRefreshIsNotStored(t *testing.T) {
	inBubbles(t, func(t *testing.T, f *fleet) {
		a, b := f.process(), f.process()
		old := version(t, a, 1)
		now := version(t, b, 2, tier.WithTTL(time.Minute), tier.WithNegativeTTL(0), tier.WithEarlyRefresh(0.5))
		require.NoError(t, old.Set(t.Context(), "k", "old"))
		f.sync()
		find(t, now, "k", is("new"))
		filled(t, b, 1)
		time.Sleep(40 * time.Second)
		gone := func(context.Context, *tier.Entry) (string, error) { return "", tier.ErrNotFound }
		require.Equal(t, "new", find(t, now, "k", gone).Value, "and renewed in the background")
		time.Sleep(time.Second)
		_, ok, err := version(t, f.process(), 2).Peek(t.Context(), "k")
		require.NoError(t, err)
		require.False(t, ok)
		require.Equal(t, "old", find(t, old, "k", unneeded[string], tier.NoLocal()).Value)
	})
}

// An entry of a format of a later release is left alone, too.
func TestAnEntryOfALaterReleaseIsNotReplaced(t *testing.T) {
	onEachRemote(t, func(t *testing.T, f *fleet) {
		a, b := f.process(), f.process()
		c := view[string](t, a, "docs")
		require.NoError(t, c.Set(t.Context(), "k", "v"))
		name := explain(t, c, "k").RemoteKey
		later := resealed(with(f.read(name), versionAt, 3))
		f.put(name, later)
		f.sync()
		there := view[string](t, b, "docs")
		require.Equal(t, "mine", find(t, there, "k", is("mine")).Value)
		filled(t, b, 1)
		require.Equal(t, "mine", find(t, view[string](t, f.process(), "docs"), "k", unneeded[string]).Value)
		require.Equal(t, later, f.read(name))
		require.NoError(t, there.Set(t.Context(), "k", "set"), "which ends both")
		require.Equal(t, "set", find(t, there, "k", unneeded[string], tier.NoLocal()).Value)
	})
}

// Whatever the two versions do at a time, no read gives what is older than what was set, here or,
// to a fresh read, anywhere.
func TestRaceVersions(t *testing.T) {
	onEachRemote(t, func(t *testing.T, f *fleet) {
		const keys = 3
		var truth, acked [keys]atomic.Int64
		var setting [keys]sync.Mutex
		var views []*tier.Cache[string]
		for i := range 4 {
			views = append(views, version(t, f.process(), i%2))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		var all sync.WaitGroup
		for w := range 12 {
			all.Go(func() {
				r := rand.New(rand.NewPCG(uint64(w), 7))
				for ctx.Err() == nil && !t.Failed() {
					k, p := r.IntN(keys), r.IntN(len(views))
					c, key := views[p], fmt.Sprint(k)
					load := func(context.Context, *tier.Entry) (string, error) { return fmt.Sprint(truth[k].Load()), nil }
					switch r.IntN(12) {
					case 0, 1:
						setting[k].Lock()
						n := truth[k].Add(1)
						var err error
						if r.IntN(3) == 0 {
							err = c.Delete(t.Context(), key)
						} else {
							err = c.Set(t.Context(), key, fmt.Sprint(n))
						}
						if assert.NoError(t, err) {
							acked[k].Store(n)
						}
						setting[k].Unlock()
					case 2, 3:
						least := acked[k].Load()
						got, err := c.GetMany(t.Context(), []string{key}, func(context.Context, []string, tier.Entries) (map[string]string, error) {
							v, err := load(t.Context(), nil)
							return map[string]string{key: v}, err
						}, tier.Fresh())
						assert.NoError(t, err)
						assert.GreaterOrEqual(t, number(t, got[key]), least, "process %d, key %s, of many", p, key)
					case 4, 5, 6:
						_, err := c.Get(t.Context(), key, load)
						assert.NoError(t, err)
					default:
						least := acked[k].Load()
						v, err := c.Get(t.Context(), key, load, tier.Fresh())
						assert.NoError(t, err)
						assert.GreaterOrEqual(t, number(t, v), least, "process %d, key %s", p, key)
					}
				}
			})
		}
		all.Wait()
		f.sync()
		for p, c := range views {
			for k := range keys {
				v, err := c.Get(t.Context(), fmt.Sprint(k), func(context.Context, *tier.Entry) (string, error) { return fmt.Sprint(truth[k].Load()), nil })
				require.NoError(t, err)
				require.Equal(t, truth[k].Load(), number(t, v), "process %d, key %d: a copy that nothing ends", p, k)
			}
		}
	})
}

func number(t *testing.T, s string) int64 {
	n, err := strconv.ParseInt(s, 10, 64)
	assert.NoError(t, err)
	return n
}

// Which lease another version holds, or has left behind, keeps neither from loading.
func TestALeaseOfTheOtherVersionIsNotKept(t *testing.T) {
	onEachRemote(t, func(t *testing.T, f *fleet) {
		a, b := f.process(tier.LeaseTTL(time.Minute)), f.process(tier.LeaseTTL(time.Minute))
		old, now := version(t, a, 1), version(t, b, 2)
		// Most of its reads miss, so it asks for leases together with values.
		for i := range 30 {
			find(t, now, fmt.Sprint("other", i), is("v"))
		}
		for i := range 3 {
			key := fmt.Sprint("k", i)
			require.NoError(t, old.Set(t.Context(), key, "old"))
			f.sync()
			require.Equal(t, "new", find(t, now, key, is("new")).Value)
		}
		// And it waits for the lease of a load that stores an entry of the other version.
		begun, going := make(chan struct{}), make(chan struct{})
		var both sync.WaitGroup
		both.Go(func() {
			find(t, old, "slow", func(context.Context, *tier.Entry) (string, error) {
				close(begun)
				<-going
				return "old", nil
			})
		})
		<-begun
		both.Go(func() {
			got, err := now.GetMany(t.Context(), []string{"slow", "other"}, func(_ context.Context, keys []string, _ tier.Entries) (map[string]string, error) {
				out := map[string]string{}
				for _, key := range keys {
					out[key] = "new"
				}
				return out, nil
			})
			assert.NoError(t, err)
			assert.Equal(t, map[string]string{"slow": "new", "other": "new"}, got)
		})
		eventually(t, "it waits", func() bool { return tier.Waiters(now, "slow") > 0 })
		close(going)
		both.Wait()
		eventually(t, "no lease is left", func() bool {
			for _, key := range f.keys() {
				if strings.HasSuffix(key, "!") {
					return false
				}
			}
			return true
		})
		require.Equal(t, "old", find(t, old, "slow", unneeded[string], tier.NoLocal()).Value)
	})
}
