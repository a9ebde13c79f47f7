package tier_test

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/internal/interpose"
	"github.com/tiercache/tiercache/tier"
)

// behind opens a store on the embedded tier, behind hooks.
func (f *fleet) behind(hooks *interpose.Backend, options ...tier.Option) *tier.Store {
	all := f.options
	defer func() { f.options = all }()
	f.options = append([]tier.Option{tier.WithRemote(hooks)}, all[1:]...) // instead of the first
	return f.process(options...)
}

// watched is a process of which the test counts heartbeats, and may keep what the remote tier
// reports from it.
func watched(f *fleet) (s *tier.Store, heartbeats func(time.Duration) int64, deaf *atomic.Bool) {
	var deltas atomic.Int64
	deaf = new(atomic.Bool)
	hooks := &interpose.Backend{Inner: f.hub}
	hooks.Before(func(op interpose.Op) error {
		if op == interpose.Delta {
			deltas.Add(1)
		}
		return nil
	})
	hooks.Filter(func(interpose.Event) bool { return !deaf.Load() })
	s = f.behind(hooks, tier.WithMaxStaleness(time.Second))
	return s, func(d time.Duration) int64 {
		before := deltas.Load()
		time.Sleep(d)
		synctest.Wait()
		return deltas.Load() - before
	}, deaf
}

// originOf reads a key and returns where the value came from.
func originOf(t *testing.T, c *tier.Cache[string], key, want string) tier.Origin {
	t.Helper()
	r, err := c.Lookup(t.Context(), key, is(want, "src"))
	require.NoError(t, err)
	require.Equal(t, want, r.Value)
	return r.Origin
}

func TestAnIdleStoreSendsNoHeartbeats(t *testing.T) {
	inBubbles(t, func(t *testing.T, f *fleet) {
		s, heartbeats, deaf := watched(f)
		other := f.process()
		c, there := view[string](t, s, "docs"), view[string](t, other, "docs")
		require.Equal(t, tier.Loaded, originOf(t, c, "k", "one"))
		for range 90 {
			require.InDelta(t, 8, heartbeats(2*time.Second), 1)
			require.Equal(t, tier.Local, originOf(t, c, "k", "one"), "one read in 2 s keeps the hits")
		}
		require.False(t, s.Health(t.Context()).Idle)
		heartbeats(61 * time.Second)
		require.EqualValues(t, 3, heartbeats(time.Minute), "the store stays enrolled")
		h := s.Health(t.Context())
		require.True(t, h.Idle)
		require.True(t, h.Healthy)
		require.LessOrEqual(t, h.Staleness, 21*time.Second)

		// It hears nothing of a change, and its next read must find out.
		deaf.Store(true)
		heartbeats(3 * time.Second)
		_, err := other.InvalidateSource(t.Context(), "src")
		require.NoError(t, err)
		require.Equal(t, tier.Loaded, originOf(t, there, "k", "two"))
		heartbeats(2 * time.Second)
		require.True(t, s.Health(t.Context()).Idle)
		require.Equal(t, tier.Remote, originOf(t, c, "k", "two"))
		require.GreaterOrEqual(t, heartbeats(10*time.Second), int64(40), "they go on")
		require.False(t, s.Health(t.Context()).Idle)
		require.True(t, s.Health(t.Context()).Healthy)
	})
}

func TestAfterTheFirstReadOfAnIdleStoreLocalCopiesAreServed(t *testing.T) {
	inBubbles(t, func(t *testing.T, f *fleet) {
		s, heartbeats, _ := watched(f)
		c, own := view[string](t, s, "docs"), view[string](t, s, "own", tier.WithLocalOnly())
		for _, k := range []string{"a", "b", "c"} {
			require.Equal(t, tier.Loaded, originOf(t, c, k, "one"))
		}
		require.Equal(t, tier.Loaded, originOf(t, own, "a", "one"))
		for _, first := range []func(){
			func() { require.Equal(t, tier.Remote, originOf(t, c, "a", "one")) },
			func() {
				_, found, err := c.Peek(t.Context(), "b")
				require.NoError(t, err)
				require.True(t, found)
			},
			func() { require.Equal(t, tier.Local, originOf(t, own, "a", "one"), "it is not loaded again") },
			func() { require.NoError(t, s.Sync(t.Context())) },
		} {
			heartbeats(130 * time.Second)
			require.True(t, s.Health(t.Context()).Idle)
			first()
			for range 100 {
				require.Equal(t, tier.Local, originOf(t, c, "c", "one"))
				require.Equal(t, tier.Local, originOf(t, own, "a", "one"))
				time.Sleep(100 * time.Millisecond)
			}
		}
	})
}

// While a change waits to be recorded heartbeats come, whether there are reads or not.
func TestAStoreWithPendingChangesIsNotIdle(t *testing.T) {
	inBubbles(t, func(t *testing.T, f *fleet) {
		var refused atomic.Bool
		hooks := &interpose.Backend{Inner: f.hub}
		hooks.Before(func(op interpose.Op) error {
			if op == interpose.Append && refused.Load() {
				return errDialledAnew
			}
			return nil
		})
		s := f.behind(hooks)
		time.Sleep(2 * time.Minute)
		require.True(t, s.Health(t.Context()).Idle)
		refused.Store(true)
		_, err := s.InvalidateSource(t.Context(), "src")
		require.Error(t, err)
		time.Sleep(2 * time.Minute)
		h := s.Health(t.Context())
		require.False(t, h.Idle)
		require.False(t, h.Healthy)
		refused.Store(false)
		time.Sleep(time.Second)
		h = s.Health(t.Context())
		require.Zero(t, h.Undelivered, "a heartbeat has sent it again")
		require.True(t, h.Healthy)
	})
}

// A caller that comes while a long load runs shares it as long as the store has proof.
func TestAStoreThatLoadsIsNotIdle(t *testing.T) {
	inBubbles(t, func(t *testing.T, f *fleet) {
		s := f.process()
		c := view[string](t, s, "docs", tier.WithLoadTimeout(time.Hour))
		_, err := c.Get(t.Context(), "k", func(ctx context.Context, e *tier.Entry) (string, error) {
			time.Sleep(3 * time.Minute)
			require.False(t, s.Health(ctx).Idle)
			return "v", nil
		})
		require.NoError(t, err)
		time.Sleep(2 * time.Minute)
		require.True(t, s.Health(t.Context()).Idle)
	})
}

// What a server loses after a write is found out by what was known before it.
func TestAStoreThatWritesIsNotIdle(t *testing.T) {
	inBubbles(t, func(t *testing.T, f *fleet) {
		s, heartbeats, _ := watched(f)
		c := view[string](t, s, "docs")
		write := map[string]func() error{
			"Set":    func() error { return c.Set(t.Context(), "k", "v") },
			"Delete": func() error { return c.Delete(t.Context(), "k") },
		}
		for name, do := range write {
			require.NoError(t, do())
			heartbeats(130 * time.Second)
			require.True(t, s.Health(t.Context()).Idle)
			time.Sleep(5 * time.Second)
			sent := time.Now()
			require.NoError(t, do())
			require.LessOrEqual(t, s.Health(t.Context()).Staleness, time.Since(sent), "%s has read the log", name)
			for range 4 {
				require.GreaterOrEqual(t, heartbeats(40*time.Second), int64(155))
				require.NoError(t, do())
			}
			require.False(t, s.Health(t.Context()).Idle)
		}
	})
}
