package tier_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/tier"
)

// Regression: without tracking nothing tells of a fill. A read past the local tier found a value past its TTL, which was
// returned since the loader failed, or took long; the older copy that the local tier still had, within its TTL, was given
// by later reads. What such a read returns is in no local tier, so it has to take the older copy out.
func TestI1NoReadGoesBehindAValuePastItsTTL(t *testing.T) {
	slow := func(context.Context, *tier.Entry) (int, error) {
		time.Sleep(10 * time.Second)
		return 0, errOrigin
	}
	type read = func(c, plain *tier.Cache[int]) (int, error) // plain serves nothing past its TTL
	get := func(load tier.Loader[int], options ...tier.CallOption) read {
		return func(c, _ *tier.Cache[int]) (int, error) { return c.Get(bg, "k", load, options...) }
	}
	many := func(load tier.Loader[int], options ...tier.CallOption) read {
		return func(c, _ *tier.Cache[int]) (int, error) {
			got, err := c.GetMany(bg, []string{"k", "other"}, func(ctx context.Context, _ []string, es tier.Entries) (map[string]int, error) {
				_, err := load(ctx, es.For("k"))
				return nil, err
			}, options...)
			if v, there := got["k"]; there {
				return v, nil
			}
			return 0, err
		}
	}
	reads := map[string]read{
		"fresh, the loader fails":               get(fails[int](errOrigin), tier.Fresh()),
		"no local, the loader fails":            get(fails[int](errOrigin), tier.NoLocal()),
		"no local, the loader takes long":       get(slow, tier.NoLocal()),
		"many, fresh, the loader fails":         many(fails[int](errOrigin), tier.Fresh()),
		"many, no local, the loader fails":      many(fails[int](errOrigin), tier.NoLocal()),
		"many, no local, the loader takes long": many(slow, tier.NoLocal()),
		"no local, in the pause after a failure": func(c, plain *tier.Cache[int]) (int, error) {
			if v, err := plain.Get(bg, "k", fails[int](errOrigin), tier.NoLocal()); err == nil {
				return v, nil
			}
			return c.Get(bg, "k", unneeded[int], tier.NoLocal())
		},
	}
	for how, read := range reads {
		for tracked, options := range tracking {
			t.Run(how+", "+tracked, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					f := embeddedFleet(t, options)
					a, b := f.process(), f.process()
					late := []tier.CacheOption{tier.WithTTL(time.Minute), tier.WithStaleOnError(time.Hour), tier.WithSoftTimeout(time.Second)}
					c, theirs := view[int](t, a, "docs", late...), view[int](t, b, "docs", late...)

					long := view[int](t, a, "docs", tier.WithTTL(time.Hour))
					require.Equal(t, 1, find(t, long, "k", is(1)).Value)
					synctest.Wait()
					v, err := theirs.Refresh(bg, "k", is(2))
					require.NoError(t, err)
					require.Equal(t, 2, v)
					time.Sleep(2 * time.Minute)

					v, err = read(c, long)
					require.NoError(t, err)
					require.Equal(t, 2, v)
					v, there, err := long.Peek(bg, "k")
					require.NoError(t, err)
					assert.False(t, there && v == 1, "Peek gave what %q has gone past", how)
					time.Sleep(time.Minute) // whatever loads has ended, and the pause after it
					v, err = long.Get(bg, "k", is(3))
					require.NoError(t, err)
					assert.NotEqual(t, 1, v, "Get gave what %q has gone past", how)
				})
			})
		}
	}
}
