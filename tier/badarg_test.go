package tier_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/invalidation"
	"github.com/tiercache/tiercache/tier"
)

// badArguments are calls of an Entry that are errors of the load, and what each says.
var badArguments = map[string]struct {
	call func(e *tier.Entry)
	says string
}{
	"source":      {func(e *tier.Entry) { e.DependsOn("list"); e.DependsOn("") }, "must not be empty"},
	"long source": {func(e *tier.Entry) { e.DependsOn("list", strings.Repeat("x", invalidation.MaxSource+1)) }, "long"},
	"sources": {func(e *tier.Entry) {
		for i := range 10_001 {
			e.DependsOn(fmt.Sprint(i))
		}
	}, "10000 sources"},
	"TTL too long":    {func(e *tier.Entry) { e.SetTTL(1000 * 24 * time.Hour) }, "TTL 24000h"},
	"cost":            {func(e *tier.Entry) { e.SetCost(-1) }, "cost -1"},
	"not to be kept":  {func(e *tier.Entry) { e.DoNotStore(); e.SetCost(-1) }, "cost -1"},
	"TTL and no keep": {func(e *tier.Entry) { e.DoNotStore(); e.SetTTL(1000 * 24 * time.Hour) }, "TTL 24000h"},
}

// Regression: a loader that named a bad source and returned ErrNotFound had "not found"
// remembered, without the error and without the good sources; a change of those then
// changed nothing, not even for a fresh read.
func TestABadArgumentIsAnErrorWhateverTheLoaderReturns(t *testing.T) {
	returns := map[string]struct {
		v   string
		err error
	}{
		"a value":                 {"v", nil},
		"not found":               {"", tier.ErrNotFound},
		"not found, wrapped":      {"", fmt.Errorf("no such row: %w", tier.ErrNotFound)},
		"a value beside its lack": {"v", tier.ErrNotFound},
		"an error":                {"", errOrigin},
	}
	views := map[string][]tier.CacheOption{
		"both tiers": nil, "local only": {tier.WithLocalOnly()}, "remote only": {tier.WithRemoteOnly()},
		"without remembering": {tier.WithNegativeTTL(0)},
	}
	inBubbles(t, func(t *testing.T, f *fleet) {
		for kind, options := range views {
			s := f.process()
			c := view[string](t, s, strings.ReplaceAll(kind, " ", "-"), options...)
			for argument, bad := range badArguments {
				for result, r := range returns {
					what := kind + ", " + argument + ", " + result
					key := argument + result
					load := func(_ context.Context, e *tier.Entry) (string, error) {
						bad.call(e)
						return r.v, r.err
					}
					fails := func(err error) {
						t.Helper()
						require.ErrorContains(t, err, bad.says, what)
						assert.NotErrorIs(t, err, tier.ErrNotFound, what)
						assert.NotContains(t, err.Error(), "\n", what)
						if r.err == errOrigin {
							assert.ErrorIs(t, err, errOrigin, what)
						}
					}
					_, err := c.Get(t.Context(), key, load)
					fails(err)
					_, err = c.Refresh(t.Context(), key, load)
					fails(err)
					_, err = c.GetMany(t.Context(), []string{key}, func(_ context.Context, _ []string, e tier.Entries) (map[string]string, error) {
						bad.call(e.For(key))
						if r.v != "" {
							return map[string]string{key: r.v}, r.err
						}
						return nil, r.err
					})
					if r.v == "" || r.err == nil {
						fails(err)
					} else {
						require.ErrorContains(t, err, bad.says, what)
					}
					synctest.Wait()
					assert.Equal(t, "next", find(t, c, key, is("next"), tier.Fresh()).Value, what) // nothing was remembered
				}
			}
		}
	})
}

// One key's bad argument is its own: the rest of the batch is found, or is not.
func TestABadArgumentInABatchFailsItsKeyAlone(t *testing.T) {
	onEachRemote(t, func(t *testing.T, f *fleet) {
		s := f.process()
		c := view[string](t, s, "docs")
		load := func(_ context.Context, _ []string, e tier.Entries) (map[string]string, error) {
			e.For("bad").DependsOn("", "list")
			e.For("bad and there").SetCost(-1)
			e.For("absent").DependsOn("list")
			return map[string]string{"good": "v", "bad and there": "v"}, nil
		}
		got, err := c.GetMany(t.Context(), []string{"good", "bad", "absent", "bad and there"}, load)
		assert.Equal(t, map[string]string{"good": "v"}, got)
		assert.ErrorContains(t, err, `"bad"`)
		assert.ErrorContains(t, err, `"bad and there"`)
		filled(t, s, 2)

		_, err = s.InvalidateSource(t.Context(), "list")
		require.NoError(t, err)
		assert.Equal(t, "now there", find(t, c, "absent", is("now there")).Value) // its source was remembered
		assert.Equal(t, "v", find(t, c, "good", unneeded).Value)
	})
}

// An error of the batch is that of each key without a value, beside what they did wrong.
func TestABatchThatFailedSaysWhatWasWrongAsWell(t *testing.T) {
	onEachRemote(t, func(t *testing.T, f *fleet) {
		c := view[string](t, f.process(), "docs")
		got, err := c.GetMany(t.Context(), []string{"good", "bad", "both"}, func(_ context.Context, _ []string, e tier.Entries) (map[string]string, error) {
			e.For("bad").SetTTL(1000 * 24 * time.Hour)
			e.For("both").SetTTL(1000 * 24 * time.Hour)
			return map[string]string{"good": "v", "both": "v"}, errOrigin
		})
		assert.Equal(t, map[string]string{"good": "v"}, got)
		assert.ErrorIs(t, err, errOrigin)
		assert.ErrorContains(t, err, "TTL 24000h")
	})
}

// What the loader does with its entry after it has returned has no effect.
func TestABadArgumentAfterTheLoaderReturnedHasNoEffect(t *testing.T) {
	onEachRemote(t, func(t *testing.T, f *fleet) {
		s := f.process()
		c := view[string](t, s, "docs")
		var kept *tier.Entry
		load := func(err error) tier.Loader[string] {
			return func(_ context.Context, e *tier.Entry) (string, error) {
				kept = e
				return "v", err
			}
		}
		_, err := c.Get(t.Context(), "none", load(tier.ErrNotFound))
		require.ErrorIs(t, err, tier.ErrNotFound)
		kept.DependsOn("")
		kept.SetTTL(1000 * 24 * time.Hour)
		filled(t, s, 1)
		_, err = c.Get(t.Context(), "none", unneeded)
		require.ErrorIs(t, err, tier.ErrNotFound)
	})
}

// A load that failed for its argument leaves what there was, and may be answered with it.
func TestABadArgumentIsAFailedLoad(t *testing.T) {
	inBubbles(t, func(t *testing.T, f *fleet) {
		s := f.process()
		c := view[string](t, s, "docs", tier.WithTTL(time.Minute), tier.WithStaleOnError(time.Hour))
		find(t, c, "k", is("v"))
		filled(t, s, 1)
		time.Sleep(2 * time.Minute)
		r := find(t, c, "k", func(_ context.Context, e *tier.Entry) (string, error) {
			e.DependsOn("")
			return "", tier.ErrNotFound
		})
		assert.Equal(t, "v", r.Value)
		assert.True(t, r.Stale)
		st := s.Stats()
		assert.Equal(t, int64(1), st.LoadErrors)
		assert.Zero(t, st.NotFound)
	})
}

// A panic of the loader stays the caller's error, whatever the loader has set before.
func TestABadArgumentBeforeAPanic(t *testing.T) {
	onEachRemote(t, func(t *testing.T, f *fleet) {
		c := view[string](t, f.process(), "docs")
		_, err := c.Get(t.Context(), "k", func(_ context.Context, e *tier.Entry) (string, error) {
			e.SetCost(-1)
			panic("no")
		})
		var p *tier.LoadPanic
		require.True(t, errors.As(err, &p))
		assert.Equal(t, "no", p.Value)
		assert.ErrorContains(t, err, "cost -1")
	})
}

func TestABadOptionOfASetStoresNothing(t *testing.T) {
	onEachRemote(t, func(t *testing.T, f *fleet) {
		c := view[string](t, f.process(), "docs")
		for says, o := range map[string]tier.EntryOption{
			"must not be empty": tier.WithSources("list", ""), "cost -1": tier.WithCost(-1), "TTL -1s": tier.WithTTL(-time.Second),
		} {
			assert.ErrorContains(t, c.Set(t.Context(), "k", "v", o), says)
			assert.ErrorContains(t, c.SetMany(t.Context(), map[string]string{"k": "v", "j": "w"}, o), says)
			_, there, err := c.Peek(t.Context(), "k")
			require.NoError(t, err)
			assert.False(t, there)
		}
	})
}
