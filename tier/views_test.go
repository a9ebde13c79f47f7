package tier_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/internal/valkeytest"
	"github.com/tiercache/tiercache/tier"
)

// onServer is a fleet on a real server: what is read comes through buffers that
// are used again, and short values of one answer share memory.
func onServer(t *testing.T) *fleet {
	s := valkeytest.Shared(t)
	return &fleet{t: t, server: s, prefix: valkeytest.Prefix(t), tracked: true, options: []tier.Option{tier.WithValkey(s.URL())}}
}

// textOf is the value of a key, which tells which key it is of all along.
func textOf(key string, size int) string {
	return strings.Repeat(key+" ", size/(len(key)+1)+1)[:size]
}

// textKeys stores values of 200 to 2000 bytes: copied and viewed ones.
func textKeys(t *testing.T, c *tier.Cache[string]) (keys []string, want map[string]string) {
	want = make(map[string]string)
	for size := 200; size <= 2000; size += 18 {
		key := fmt.Sprint("key", size)
		want[key] = textOf(key, size)
		keys = append(keys, key)
	}
	require.NoError(t, c.SetMany(t.Context(), want))
	return keys, want
}

// Strings that readers were given stay what they were, whatever is read later: by
// whichever way, at once and by many.
func TestStringsThatWereGivenOutNeverChange(t *testing.T) {
	f := onServer(t)
	writer, s := f.process(), f.process()
	keys, want := textKeys(t, view[string](t, writer, "docs"))
	f.sync()
	none := func(context.Context, []string, tier.Entries) (map[string]string, error) { return nil, errUnneeded }
	for name, c := range map[string]*tier.Cache[string]{
		"kept": view[string](t, s, "docs"), "not kept": view[string](t, s, "docs", tier.WithRemoteOnly()),
	} {
		t.Run(name, func(t *testing.T) {
			var readers sync.WaitGroup
			for range 8 {
				readers.Go(func() {
					type given struct{ key, value string }
					var all []given
					for i := range 100 {
						switch i % 3 {
						case 0:
							key := keys[rand.IntN(len(keys))]
							v, err := c.Get(t.Context(), key, unneeded, tier.NoLocal())
							if !assert.NoError(t, err) {
								return
							}
							all = append(all, given{key, v})
						default:
							at, o := rand.IntN(len(keys)-20), []tier.CallOption{tier.NoLocal()}
							if i%3 == 1 {
								o = nil
							}
							many, err := c.GetMany(t.Context(), keys[at:at+20], none, o...)
							if !assert.NoError(t, err) {
								return
							}
							for k, v := range many {
								all = append(all, given{k, v})
							}
						}
					}
					for _, g := range all {
						if !assert.True(t, g.value == want[g.key], "%s says %.20q", g.key, g.value) {
							return
						}
					}
				})
			}
			readers.Wait()
		})
	}
}

// A string that is kept keeps nothing else of the answer that it came with.
func TestAStringThatIsKeptKeepsNothingElse(t *testing.T) {
	const reads, each = 200, 50
	f := onServer(t)
	s := f.process()
	c := view[string](t, s, "docs", tier.WithRemoteOnly())
	for _, size := range []int{200, 300, 500, 900, 1000} {
		keys, values := make([]string, each), make(map[string]string)
		for i := range keys {
			keys[i] = fmt.Sprintf("%d of %d", i, size)
			values[keys[i]] = textOf(keys[i], size)
		}
		require.NoError(t, c.SetMany(t.Context(), values))
		clear(values)
		kept := make([]string, reads)
		before := heap()
		for i := range kept {
			many, err := c.GetMany(t.Context(), keys, func(context.Context, []string, tier.Entries) (map[string]string, error) { return nil, errUnneeded })
			require.NoError(t, err)
			kept[i] = many[keys[i%each]]
		}
		grown := int64(heap()) - int64(before)
		for i, v := range kept {
			require.True(t, v == textOf(keys[i%each], size), "size %d: %.20q", size, v)
		}
		// Ten times what they are is a fifth of all that was read.
		require.Less(t, grown, int64(10*reads*size+1<<20), "size %d", size)
		runtime.KeepAlive(kept)
	}
}
