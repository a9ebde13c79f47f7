package tier_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/tier"
)

// expiresAfter checks that key is answered by a tier just before ttl has
// passed since it was stored, and loaded again just after.
func expiresAfter(t *testing.T, c *tier.Cache[string], key string, ttl time.Duration) {
	t.Helper()
	time.Sleep(ttl - time.Millisecond)
	r := find(t, c, key, unneeded)
	assert.Equal(t, time.Millisecond, r.TTL)
	assert.Equal(t, ttl-time.Millisecond, r.Age)
	time.Sleep(time.Millisecond)
	assert.Equal(t, tier.Loaded, find(t, c, key, is("again")).Origin)
	synctest.Wait()
}

func TestAnEntryLivesForTheTTLOfItsKindOfContent(t *testing.T) {
	for kind, want := range map[time.Duration]time.Duration{
		tier.StaticFacts: 24 * time.Hour, tier.Documentation: 6 * time.Hour, tier.UserData: time.Hour, tier.RealTime: time.Minute,
	} {
		t.Run(want.String(), func(t *testing.T) {
			inBubbles(t, func(t *testing.T, f *fleet) {
				// Heartbeats cost time even if they are fake.
				s := f.process(tier.WithHeartbeat(time.Hour), tier.WithMaxStaleness(2*time.Hour))
				c := view[string](t, s, "docs", tier.WithTTL(kind))
				find(t, c, "k", is("v"))
				expiresAfter(t, c, "k", want)
			})
		})
	}
}

func TestTheLoaderAndSetCanChooseAnEntrysOwnTTL(t *testing.T) {
	inBubbles(t, func(t *testing.T, f *fleet) {
		c := view[string](t, f.process(), "docs", tier.WithTTL(time.Minute))
		for _, ttl := range []time.Duration{time.Millisecond, time.Second, 5 * time.Minute} {
			find(t, c, "k", func(_ context.Context, e *tier.Entry) (string, error) {
				e.SetTTL(ttl)
				return "v", nil
			})
			synctest.Wait()
			expiresAfter(t, c, "k", ttl)
			require.NoError(t, c.Set(t.Context(), "k", "v", tier.WithTTL(ttl)))
			expiresAfter(t, c, "k", ttl)
			require.NoError(t, c.Delete(t.Context(), "k"))
		}
		require.NoError(t, c.Set(t.Context(), "k", "v"))
		expiresAfter(t, c, "k", time.Minute)
	})
}

func TestTheDefaultTTLIsThatOfUserData(t *testing.T) {
	onEachRemote(t, func(t *testing.T, f *fleet) {
		r := find(t, view[string](t, f.process(), "docs"), "k", is("v"))
		assert.InDelta(t, time.Hour, r.TTL, float64(time.Minute))
	})
}

// A process that reads an old entry keeps it for what is left of it.
func TestALocalCopyNeverOutlivesTheRemoteOne(t *testing.T) {
	inBubbles(t, func(t *testing.T, f *fleet) {
		a, b := view[string](t, f.process(), "docs", tier.WithTTL(time.Minute)), view[string](t, f.process(), "docs", tier.WithTTL(time.Hour))
		find(t, a, "k", is("v"))
		time.Sleep(50 * time.Second)
		r := find(t, b, "k", unneeded)
		assert.Equal(t, tier.Remote, r.Origin)
		// Measured by the server's clock, whose answer may be a heartbeat old.
		assert.InDelta(t, 10*time.Second, r.TTL, float64(250*time.Millisecond))
		assert.LessOrEqual(t, r.TTL, 10*time.Second)
		time.Sleep(9 * time.Second)
		assert.Equal(t, tier.Local, find(t, b, "k", unneeded).Origin)
		time.Sleep(time.Second)
		assert.Equal(t, tier.Loaded, find(t, b, "k", is("w")).Origin)
		synctest.Wait()
	})
}

func TestWithLocalTTLBoundsTheLocalCopyAlone(t *testing.T) {
	inBubbles(t, func(t *testing.T, f *fleet) {
		a := view[string](t, f.process(), "docs", tier.WithTTL(time.Minute), tier.WithLocalTTL(10*time.Second))
		find(t, a, "k", is("v"))
		for range 3 { // kept anew, each time for as long
			time.Sleep(10*time.Second - time.Millisecond)
			r := find(t, a, "k", unneeded)
			assert.Equal(t, tier.Local, r.Origin)
			time.Sleep(time.Millisecond)
			assert.Equal(t, tier.Remote, find(t, a, "k", unneeded).Origin)
		}
		time.Sleep(30 * time.Second)
		assert.Equal(t, tier.Loaded, find(t, a, "k", is("w")).Origin, "and not beyond the TTL")
		synctest.Wait()
		require.NoError(t, a.Set(t.Context(), "j", "v"))
		time.Sleep(10 * time.Second)
		assert.Equal(t, tier.Remote, find(t, a, "j", unneeded).Origin)
	})
}

func TestJitterShortensEachTTLByARandomPart(t *testing.T) {
	inBubbles(t, func(t *testing.T, f *fleet) {
		c := view[string](t, f.process(), "docs", tier.WithTTL(100*time.Second), tier.WithJitter(0.25))
		seen := map[time.Duration]bool{}
		least, most := 100*time.Second, time.Duration(0)
		for i := range 500 {
			ttl := find(t, c, fmt.Sprint(i), is("v")).TTL
			seen[ttl], least, most = true, min(least, ttl), max(most, ttl)
			assert.Zero(t, ttl%time.Millisecond, "the server's resolution")
		}
		assert.GreaterOrEqual(t, least, 75*time.Second)
		assert.LessOrEqual(t, most, 100*time.Second)
		assert.Less(t, least, 76*time.Second, "of 500")
		assert.Greater(t, most, 99*time.Second)
		assert.Greater(t, len(seen), 400)
		synctest.Wait()
		// The shortest TTL stays one.
		require.NoError(t, c.Set(t.Context(), "k", "v", tier.WithTTL(time.Millisecond)))
		assert.Equal(t, time.Millisecond, find(t, c, "k", unneeded).TTL)
	})
}

// What the server's clock says and what this process's does are compared with
// the same server's stamps only.
func TestTheRemoteTierExpiresEntriesItself(t *testing.T) {
	onEachRemote(t, func(t *testing.T, f *fleet) {
		c := view[string](t, f.process(), "docs")
		require.NoError(t, c.Set(t.Context(), "k", "v", tier.WithTTL(time.Millisecond)))
		eventually(t, "the entry is gone", func() bool { return f.read(explain(t, c, "k").RemoteKey) == "" })
		require.NoError(t, c.Set(t.Context(), "k", "v", tier.WithTTL(time.Hour)))
		if f.server != nil {
			ttl, err := f.server.Do(t, "PTTL", explain(t, c, "k").RemoteKey).AsInt64()
			require.NoError(t, err)
			assert.InDelta(t, time.Hour.Milliseconds(), ttl, 60_000)
		}
	})
}

func TestATTLThatCannotBeIsAnErrorEverywhere(t *testing.T) {
	onEachRemote(t, func(t *testing.T, f *fleet) {
		s := f.process(tier.WithMaxTTL(time.Hour))
		c := view[string](t, s, "docs", tier.WithTTL(time.Minute))
		for d, want := range map[time.Duration]string{
			0:                            "0s: must be at least 1ms",
			-time.Hour:                   "-1h0m0s: must be at least 1ms",
			time.Microsecond:             "1µs: must be at least 1ms",
			1500 * time.Microsecond:      "1.5ms: must be a whole number of milliseconds",
			time.Hour + time.Millisecond: "1h0m0.001s: exceeds the store's maximum of 1h0m0s",
		} {
			_, err := tier.New[string](s, "docs", tier.WithTTL(d))
			assert.ErrorContains(t, err, "WithTTL "+want)
			_, err = tier.New[string](s, "docs", tier.WithTTL(time.Minute), tier.WithLocalTTL(d))
			assert.ErrorContains(t, err, "WithLocalTTL "+want)
			if d != 0 {
				_, err = tier.New[string](s, "docs", tier.WithTTL(time.Minute), tier.WithNegativeTTL(d))
				assert.ErrorContains(t, err, "WithNegativeTTL "+want)
			}
			assert.ErrorContains(t, c.Set(t.Context(), "k", "v", tier.WithTTL(d)), "TTL "+want)
			assert.ErrorContains(t, c.SetMany(t.Context(), map[string]string{"k": "v"}, tier.WithTTL(d)), "TTL "+want)
			if d < time.Hour {
				continue // a loader's is rounded down, and what is nothing then is not stored
			}
			_, err = c.Get(t.Context(), "k", func(_ context.Context, e *tier.Entry) (string, error) {
				e.SetTTL(d)
				return "v", nil
			})
			assert.ErrorContains(t, err, "TTL "+want)
			_, err = c.Get(t.Context(), "k", func(_ context.Context, e *tier.Entry) (string, error) {
				e.SetTTL(d)
				return "v", tier.ErrNotFound
			})
			assert.ErrorContains(t, err, "TTL "+want)
		}
		_, ok, err := c.Peek(t.Context(), "k")
		require.NoError(t, err)
		assert.False(t, ok)
		// The bounds themselves are fine.
		require.NoError(t, c.Set(t.Context(), "k", "v", tier.WithTTL(time.Hour)))
		require.NoError(t, c.Set(t.Context(), "k", "v", tier.WithTTL(time.Millisecond)))
		// With stale time it is the sum that counts.
		_, err = tier.New[string](s, "docs", tier.WithTTL(time.Hour), tier.WithStaleOnError(time.Minute))
		assert.ErrorContains(t, err, "exceed the store's maximum of 1h0m0s")
	})
}

// Regression: the default negative TTL, which no caller had asked for, was
// reported as exceeding a small maximum.
func TestASmallMaximumTTLNeedsNoNegativeTTL(t *testing.T) {
	inBubbles(t, func(t *testing.T, f *fleet) {
		c := view[string](t, f.process(tier.WithMaxTTL(10*time.Second)), "docs", tier.WithTTL(10*time.Second))
		_, err := c.Get(t.Context(), "k", fails[string](tier.ErrNotFound))
		require.ErrorIs(t, err, tier.ErrNotFound)
		time.Sleep(9 * time.Second)
		_, err = c.Get(t.Context(), "k", unneeded)
		require.ErrorIs(t, err, tier.ErrNotFound)
	})
}
