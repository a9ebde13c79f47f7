package tier_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/internal/interpose"
	"github.com/tiercache/tiercache/tier"
)

// Guard: an answer that is there is given, though the caller's context has ended meanwhile.
func TestAnAnswerComesBeforeTheEndOfTheContext(t *testing.T) {
	eachRemote(t, func(t *testing.T, w *world) {
		a, hooks := w.open()
		c := cacheOf[int64](t, a)
		require.NoError(t, c.Set(t.Context(), "k", 1))
		for range 30 { // without the guard, half of them fail
			ctx, cancel := context.WithCancel(t.Context())
			hooks.After(func(op interpose.Op) error {
				if op == interpose.Get {
					cancel()
				}
				return nil
			})
			v, err := c.Get(ctx, "k", none, tier.NoLocal())
			cancel()
			require.NoError(t, err)
			require.Equal(t, int64(1), v)
		}
	})
}

// Guard: whether its context has ended or not, a read gives what the local tier has, and else asks nothing.
func TestReadsAgreeOnAContextThatHasEnded(t *testing.T) {
	inTiers(t, func(t *testing.T, f *fleet, options ...tier.CacheOption) {
		s := f.process()
		c := view[string](t, s, "docs", options...)
		require.NoError(t, c.Set(t.Context(), "k", "v"))
		local := s.Stats().LocalEntries > 0
		gone := errors.New("gone")
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(gone)
		many := func(context.Context, []string, tier.Entries) (map[string]string, error) { return nil, errUnneeded }
		reads := map[string]func(key string, o ...tier.CallOption) (string, error){
			"Get": func(key string, o ...tier.CallOption) (string, error) { return c.Get(ctx, key, unneeded, o...) },
			"Lookup": func(key string, o ...tier.CallOption) (string, error) {
				r, err := c.Lookup(ctx, key, unneeded, o...)
				return r.Value, err
			},
			"GetMany": func(key string, o ...tier.CallOption) (string, error) {
				got, err := c.GetMany(ctx, []string{key}, many, o...)
				return got[key], err
			},
		}
		n := int64(0)
		for name, read := range reads {
			v, err := read("k")
			if local {
				assert.NoError(t, err, name)
				assert.Equal(t, "v", v, name)
			} else {
				assert.ErrorIs(t, err, context.Canceled, name)
				assert.ErrorIs(t, err, gone, name)
			}
			for _, o := range [][]tier.CallOption{{tier.Fresh()}, {tier.NoLocal()}} {
				_, err = read("k", o...)
				assert.ErrorIs(t, err, context.Canceled, name)
			}
			_, err = read("other")
			assert.ErrorIs(t, err, context.Canceled, name)
			n += 4
			assert.Equal(t, n, s.Stats().Reads(), name)
		}
		v, ok, err := c.Peek(ctx, "k")
		assert.Equal(t, local, ok)
		if local {
			assert.Equal(t, "v", v)
			assert.NoError(t, err)
		} else {
			assert.ErrorIs(t, err, context.Canceled)
		}
		_, err = c.Refresh(ctx, "k", unneeded)
		assert.ErrorIs(t, err, context.Canceled)
	})
}

// Guard: an end that a loader gives with time.Until is no error, and one that has passed is not stored.
func TestATTLIsRoundedDown(t *testing.T) {
	inTiers(t, func(t *testing.T, f *fleet, options ...tier.CacheOption) {
		c := view[string](t, f.process(), "docs", append(options, tier.WithStaleOnError(time.Hour))...)
		for ttl, want := range map[time.Duration]time.Duration{
			time.Second + 999*time.Microsecond: time.Second, 1500 * time.Microsecond: time.Millisecond,
			999 * time.Microsecond: 0, 0: 0, -time.Nanosecond: 0, -time.Hour: 0,
		} {
			key := ttl.String()
			var loads atomic.Int64
			load := counted(&loads, func(_ context.Context, e *tier.Entry) (string, error) {
				e.SetTTL(ttl)
				return "v", nil
			})
			assert.Equal(t, "v", find(t, c, key, load).Value)
			synctest.Wait()
			if want > 0 {
				time.Sleep(want - 1)
				assert.Equal(t, "v", find(t, c, key, unneeded).Value)
				time.Sleep(time.Nanosecond)
			}
			assert.Equal(t, "v", find(t, c, key, load).Value)
			assert.Equal(t, int64(2), loads.Load(), key)
			synctest.Wait()
		}
		// The last word counts.
		find(t, c, "k", func(_ context.Context, e *tier.Entry) (string, error) {
			e.SetTTL(0)
			e.SetTTL(time.Minute)
			return "v", nil
		})
		synctest.Wait()
		assert.Equal(t, "v", find(t, c, "k", unneeded).Value)
	})
}

// Guard: what a loader returns is its callers' error as it is, also if it says that there is nothing.
func TestALoadersErrorComesBackAsItIs(t *testing.T) {
	missing := fmt.Errorf("row 7: %w", tier.ErrNotFound)
	both := errors.Join(tier.ErrNotFound, io.EOF)
	inTiers(t, func(t *testing.T, f *fleet, options ...tier.CacheOption) {
		for _, options := range [][]tier.CacheOption{options, append(options, tier.WithNegativeTTL(0))} {
			s := f.process()
			c := view[string](t, s, "docs", options...)
			for i, want := range []error{io.EOF, missing, both} {
				key := fmt.Sprint(i, len(options))
				var all sync.WaitGroup
				for range 3 {
					all.Go(func() {
						_, err := c.Get(t.Context(), key, func(context.Context, *tier.Entry) (string, error) {
							time.Sleep(time.Second)
							return "", want
						})
						assert.True(t, err == want, "%v", err)
					})
				}
				all.Wait()
				_, err := c.Lookup(t.Context(), key+"'", fails[string](want))
				assert.True(t, err == want, "%v", err)
				_, err = c.Refresh(t.Context(), key, fails[string](want))
				assert.True(t, err == want, "%v", err)
			}
			_, err := c.GetMany(t.Context(), []string{"a"}, func(context.Context, []string, tier.Entries) (map[string]string, error) {
				return nil, io.EOF
			})
			assert.True(t, errors.Unwrap(err) == io.EOF, "%v", err)
			require.NoError(t, s.Close())
		}
	})
}
