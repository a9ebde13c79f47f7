package tier_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/internal/embedded"
	"github.com/tiercache/tiercache/internal/interpose"
	"github.com/tiercache/tiercache/internal/valkeytest"
	"github.com/tiercache/tiercache/tier"
)

// Each process says that the history was lost, though one of them begins the new log.
func TestALossOfHistoryIsLoggedAndCountedByEachProcess(t *testing.T) {
	for _, first := range []string{"heartbeat", "change"} {
		t.Run(first, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				hub := embedded.New(0)
				var logs [3]journal
				var stores [3]*tier.Store
				for i := range stores {
					s, err := tier.Open(t.Context(), tier.WithRemote(hub), tier.WithLogger(logs[i].logger()))
					require.NoError(t, err)
					stores[i] = s
					require.Zero(t, s.Stats().HistoryLosses)
					require.NotContains(t, fmt.Sprint(s.Health(t.Context()).Warnings), "lost history")
				}
				_, err := stores[0].InvalidateSource(t.Context(), "a")
				require.NoError(t, err)
				hub.Flush()
				if first == "change" {
					_, err = stores[0].InvalidateSource(t.Context(), "b")
					require.NoError(t, err)
				}
				time.Sleep(time.Second)
				for i, s := range stores {
					assert.Equal(t, int64(1), s.Stats().HistoryLosses, i)
					assert.Equal(t, 1, strings.Count(logs[i].String(), "lost history"), "%d: %s", i, logs[i].String())
					assert.Contains(t, fmt.Sprint(s.Health(t.Context()).Warnings), "lost history (1 times, last at ", i)
				}
				time.Sleep(2 * time.Hour)
				for _, s := range stores {
					assert.NotContains(t, fmt.Sprint(s.Health(t.Context()).Warnings), "lost history", "it is long ago")
					require.NoError(t, s.Close())
				}
			})
		})
	}
}

func TestTheLagOfAnInvalidationIsToldForAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := embedded.New(0)
		hooks := &interpose.Backend{Inner: hub}
		a, err := tier.Open(t.Context(), tier.WithRemote(hooks), tier.WithHeartbeat(4*time.Second), tier.WithMaxStaleness(time.Minute))
		require.NoError(t, err)
		b, err := tier.Open(t.Context(), tier.WithRemote(hub))
		require.NoError(t, err)
		_, err = b.InvalidateSource(t.Context(), "x")
		require.NoError(t, err)
		synctest.Wait()
		require.Less(t, a.Stats().InvalidationLag, 50*time.Millisecond)
		require.Zero(t, b.Stats().InvalidationLag, "its own")
		hooks.Filter(func(e interpose.Event) bool { return e.Message == "" })
		_, err = b.InvalidateSource(t.Context(), "x")
		require.NoError(t, err)
		time.Sleep(500 * time.Millisecond)
		hooks.Deliver()
		synctest.Wait()
		require.InDelta(t, 500*time.Millisecond, a.Stats().InvalidationLag, float64(100*time.Millisecond), "the message was late")
		_, err = b.InvalidateSource(t.Context(), "x")
		require.NoError(t, err)
		time.Sleep(5 * time.Second)
		lag := a.Stats().InvalidationLag
		require.Greater(t, lag, time.Second, "the heartbeat brought it")
		require.LessOrEqual(t, lag, 5*time.Second)
		time.Sleep(21 * time.Second)
		require.Zero(t, a.Stats().InvalidationLag)
		require.NoError(t, a.Close())
		require.NoError(t, b.Close())
	})
}

func TestPeeksCountAndTellOfStaleValues(t *testing.T) {
	inBubbles(t, func(t *testing.T, f *fleet) {
		a, b := f.process(), f.process()
		ca, cb := view[string](t, a, "docs", tier.WithTTL(time.Minute), tier.WithStaleOnError(time.Hour)), view[string](t, b, "docs", tier.WithTTL(time.Minute))
		_, ok, err := ca.PeekResult(t.Context(), "k")
		require.NoError(t, err)
		require.False(t, ok)
		require.Equal(t, int64(1), a.Stats().Reads())
		require.Equal(t, int64(1), a.Stats().Absent)
		require.Equal(t, int64(1), a.Stats().RemoteMisses[tier.Cold])
		find(t, ca, "k", is("v", "doc-1"))
		f.sync()
		time.Sleep(time.Second)
		r, ok, err := ca.PeekResult(t.Context(), "k")
		require.NoError(t, err)
		require.True(t, ok)
		assert.Equal(t, "v", r.Value)
		assert.Equal(t, tier.Local, r.Origin)
		assert.Equal(t, []string{"doc-1"}, r.Sources)
		assert.InDelta(t, time.Second, r.Age, float64(100*time.Millisecond))
		assert.InDelta(t, 59*time.Second, r.TTL, float64(5*time.Second))
		assert.False(t, r.Stale)
		require.Equal(t, int64(3), a.Stats().Reads())
		require.Equal(t, int64(1), a.Stats().LocalHits)

		r, ok, err = cb.PeekResult(t.Context(), "k")
		require.NoError(t, err)
		require.True(t, ok)
		assert.Equal(t, tier.Remote, r.Origin)
		require.Equal(t, int64(1), b.Stats().RemoteHits)

		time.Sleep(2 * time.Minute)
		for _, c := range []*tier.Cache[string]{ca, cb} {
			_, ok, err = c.Peek(t.Context(), "k")
			require.NoError(t, err)
			require.False(t, ok, "past its TTL")
			r, ok, err = c.PeekResult(t.Context(), "k")
			require.NoError(t, err)
			require.True(t, ok)
			assert.True(t, r.Stale)
			assert.Negative(t, r.TTL)
			assert.Equal(t, "v", r.Value)
		}
		assert.Equal(t, int64(1), a.Stats().Stale)
		assert.Equal(t, int64(5), a.Stats().Reads())
		assert.Equal(t, int64(3), b.Stats().Reads())
		_, err = a.InvalidateSource(t.Context(), "doc-1")
		require.NoError(t, err)
		f.sync()
		for _, c := range []*tier.Cache[string]{ca, cb} {
			_, ok, err = c.PeekResult(t.Context(), "k")
			require.NoError(t, err)
			require.False(t, ok, "it changed")
		}
	})
}

func TestEarlyRefreshesAreCountedApart(t *testing.T) {
	inBubbles(t, func(t *testing.T, f *fleet) {
		s := f.process()
		c := view[string](t, s, "docs", tier.WithTTL(time.Minute), tier.WithJitter(0), tier.WithEarlyRefresh(0.5), tier.WithStaleWhileRevalidate(time.Hour))
		find(t, c, "k", is("v"))
		time.Sleep(59 * time.Second)
		find(t, c, "k", is("v"))
		synctest.Wait()
		require.Equal(t, int64(1), s.Stats().EarlyRefreshes)
		require.Equal(t, int64(1), s.Stats().Refreshes)
		time.Sleep(2 * time.Minute)
		find(t, c, "k", is("v"))
		synctest.Wait()
		require.Equal(t, int64(1), s.Stats().EarlyRefreshes)
		require.Equal(t, int64(2), s.Stats().Refreshes)
		require.Equal(t, int64(3), s.Stats().Reads())
	})
}

func TestValuesThatAreTooLargeAndLoadsThatRunAreCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, err := tier.Open(t.Context(), tier.WithLocalBytes(80_000))
		require.NoError(t, err)
		c := view[string](t, s, "docs")
		find(t, c, "small", is("v"))
		require.Zero(t, s.Stats().LocalTooLarge)
		find(t, c, "large", is(strings.Repeat("x", 20_000)))
		synctest.Wait()
		require.Equal(t, int64(1), s.Stats().LocalTooLarge)
		require.Zero(t, s.Stats().LoadsRunning)
		var during atomic.Int64
		find(t, c, "k", func(context.Context, *tier.Entry) (string, error) {
			during.Store(int64(s.Stats().LoadsRunning))
			return "v", nil
		})
		synctest.Wait()
		require.Equal(t, int64(1), during.Load())
		require.Zero(t, s.Stats().LoadsRunning)
		require.NoError(t, s.Close())
	})
}

// A caller would take it for the end of its own context, and give up what it does.
func TestAnErrorOfTheRemoteTierIsNotTheEndOfTheCallersContext(t *testing.T) {
	srv := valkeytest.Start(t)
	s, err := tier.Open(t.Context(), tier.WithValkey(srv.URL()))
	require.NoError(t, err)
	defer s.Close()
	c := view[string](t, s, "docs")
	eventually(t, "it is stored", func() bool { return c.Set(t.Context(), "k", "v") == nil })
	srv.Pause()
	defer srv.Resume()
	for doing, call := range map[string]func(ctx context.Context) error{
		"set":               func(ctx context.Context) error { return c.Set(ctx, "k", "w") },
		"delete":            func(ctx context.Context) error { return c.Delete(ctx, "k") },
		"peek":              func(ctx context.Context) error { _, _, err := c.Peek(ctx, "other"); return err },
		"explain":           func(ctx context.Context) error { _, err := c.Explain(ctx, "k"); return err },
		"sync":              s.Sync,
		"invalidate source": func(ctx context.Context) error { _, err := s.InvalidateSource(ctx, "x"); return err },
	} {
		err := call(t.Context())
		require.ErrorIs(t, err, tier.ErrUnavailable, doing)
		assert.NotErrorIs(t, err, context.DeadlineExceeded, doing)
		assert.NotErrorIs(t, err, context.Canceled, doing)
		for _, part := range []string{doing + ": ", "valkey at " + srv.Addr, " within "} {
			assert.ErrorContains(t, err, part)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		<-ctx.Done()
		assert.ErrorIs(t, call(ctx), context.DeadlineExceeded, doing)
		cancel()
	}
	begun := time.Now()
	h := s.Health(t.Context())
	require.Less(t, time.Since(begun), 5*time.Second, "it has a deadline of its own")
	require.ErrorIs(t, h.RemoteErr, tier.ErrUnavailable)
	require.NotErrorIs(t, h.RemoteErr, context.DeadlineExceeded)
	text, err := json.Marshal(h)
	require.NoError(t, err)
	var read map[string]any
	require.NoError(t, json.Unmarshal(text, &read))
	assert.Equal(t, h.RemoteErr.Error(), read["RemoteErr"])
	for _, unknown := range []string{"Server", "Policy", "MaxMemory", "UsedMemory"} {
		assert.Contains(t, read, unknown)
		assert.Nil(t, read[unknown], unknown)
	}

	e, err := c.Explain(t.Context(), "k")
	require.Error(t, err)
	assert.Contains(t, e.String(), "remote: not known: ")
	assert.NotContains(t, e.Remote.String(), "nothing")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	e, err = c.Explain(ctx, "k")
	require.Error(t, err)
	assert.NotContains(t, e.String(), "nothing")
}

func TestHealthCanBeReadAsJSON(t *testing.T) {
	srv := valkeytest.Shared(t)
	s, err := tier.Open(t.Context(), tier.WithValkey(srv.URL()), tier.WithPrefix(valkeytest.Prefix(t)), tier.WithRemoteTimeout(10*time.Second))
	require.NoError(t, err)
	text, err := json.Marshal(s.Health(t.Context()))
	require.NoError(t, err)
	var read map[string]any
	require.NoError(t, json.Unmarshal(text, &read))
	assert.Equal(t, true, read["Healthy"])
	assert.Nil(t, read["RemoteErr"])
	assert.Nil(t, read["AwaySince"])
	assert.IsType(t, "", read["Staleness"])
	_, err = time.ParseDuration(read["Staleness"].(string))
	require.NoError(t, err)
	assert.NotEmpty(t, read["Server"])
	assert.IsType(t, 0.0, read["UsedMemory"])
	require.NoError(t, s.Close())
	text, err = json.Marshal(s.Health(t.Context()))
	require.NoError(t, err)
	assert.Contains(t, string(text), `"RemoteErr":"tier: store is closed"`)
	text, err = json.Marshal(tier.Health{Refused: map[string]error{"reading": errOrigin}})
	require.NoError(t, err)
	assert.Contains(t, string(text), `"Refused":{"reading":"the origin is down"}`)
}

// Where nothing can be evicted, since nothing of what others keep has a TTL, an evicting policy refuses writes as well.
func TestHealthSaysThatMemoryIsFullUnderAnyPolicy(t *testing.T) {
	for _, policy := range []string{"volatile-lru", "noeviction"} {
		t.Run(policy, func(t *testing.T) {
			srv := valkeytest.Start(t, valkeytest.Config("maxmemory", "64mb"), valkeytest.Config("maxmemory-policy", policy))
			s, err := tier.Open(t.Context(), tier.WithValkey(srv.URL()), tier.WithRemoteTimeout(10*time.Second))
			require.NoError(t, err)
			defer s.Close()
			srv.Do(t, "SETRANGE", "what others keep", "4000000", "x")
			require.NotContains(t, fmt.Sprint(s.Health(t.Context()).Warnings), "memory is full (")
			srv.Do(t, "CONFIG", "SET", "maxmemory", "2mb") // far below what is used: memory that is just full is not full at times
			eventually(t, "it is told", func() bool {
				return strings.Contains(fmt.Sprint(s.Health(t.Context()).Warnings), "memory is full (")
			})
		})
	}
}

// Fresh is about changes: others are served meanwhile what the caller that asks for it waits for.
func TestAFreshReadOfAValuePastItsTTLWaitsForTheLoad(t *testing.T) {
	inBubbles(t, func(t *testing.T, f *fleet) {
		s := f.process()
		c := view[string](t, s, "docs", tier.WithTTL(time.Minute), tier.WithJitter(0), tier.WithStaleWhileRevalidate(time.Hour), tier.WithStaleOnError(time.Hour))
		find(t, c, "k", is("v"))
		time.Sleep(2 * time.Minute)
		r := find(t, c, "k", fails[string](errOrigin), tier.Fresh())
		assert.Equal(t, "v", r.Value)
		assert.True(t, r.Stale, "the load failed, and it has not changed")
		time.Sleep(2 * time.Minute) // beyond the pause
		r = find(t, c, "k", is("w"), tier.Fresh())
		assert.Equal(t, "w", r.Value)
		assert.False(t, r.Stale)
	})
}
