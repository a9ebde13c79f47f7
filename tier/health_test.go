package tier_test

import (
	"context"
	"crypto/tls"
	"net"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/valkey-io/valkey-go"

	"github.com/tiercache/tiercache/internal/valkeytest"
	"github.com/tiercache/tiercache/tier"
)

func TestHealthOfAStoreThatWorks(t *testing.T) {
	onEachRemote(t, func(t *testing.T, f *fleet) {
		s := f.process()
		h := s.Health(t.Context())
		assert.True(t, h.Healthy)
		assert.True(t, h.ServesLocal)
		assert.NoError(t, h.RemoteErr)
		assert.Less(t, h.Staleness, 10*time.Second)
		assert.Zero(t, h.FailedHeartbeats)
		assert.Zero(t, h.Undelivered)
		assert.False(t, h.UndeliveredAll)
		assert.NotEmpty(t, h.Policy)
		if f.server == nil {
			assert.Equal(t, "embedded", h.Server)
			assert.Positive(t, h.MaxMemory)
			assert.Empty(t, h.Warnings)
		} else {
			assert.Contains(t, h.Server, "valkey ")
			assert.Contains(t, h.Remote, f.server.Addr)
			assert.Positive(t, h.UsedMemory)
			assert.Equal(t, "noeviction", h.Policy)
			require.Len(t, h.Warnings, 1)
			assert.Contains(t, h.Warnings[0], "maxmemory is not set")
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		assert.ErrorIs(t, s.Health(ctx).RemoteErr, context.Canceled)
		require.NoError(t, s.Close())
		h = s.Health(t.Context())
		assert.False(t, h.Healthy)
		assert.ErrorIs(t, h.RemoteErr, tier.ErrClosed)
	})
}

func TestStalenessIsTheAgeOfTheLatestHeartbeat(t *testing.T) {
	inBubbles(t, func(t *testing.T, f *fleet) {
		s := f.process(tier.WithHeartbeat(time.Second), tier.WithMaxStaleness(5*time.Second))
		time.Sleep(2*time.Second + 300*time.Millisecond)
		synctest.Wait()
		assert.Equal(t, 300*time.Millisecond, s.Health(t.Context()).Staleness)
	})
}

// A store whose server is gone answers what a loader can answer, without an
// error and within about the remote timeout, and recovers by itself.
func TestAStoreOutlivesItsServer(t *testing.T) {
	for name, options := range tracking {
		t.Run("killed, "+name, func(t *testing.T) { outlive(t, "killed", options) })
	}
	t.Run("paused", func(t *testing.T) { outlive(t, "paused", nil) })
}

func outlive(t *testing.T, how string, options []tier.Option) {
	srv := valkeytest.Start(t, valkeytest.Config("requirepass", secret))
	var log journal
	// The client's own timeouts are a minute, so that what waits for one is told from what waits for a busy machine.
	client := valkey.ClientOption{InitAddress: []string{srv.Addr}, Password: secret, Dialer: net.Dialer{Timeout: time.Minute}, ConnWriteTimeout: time.Minute}
	s, err := tier.Open(t.Context(), append([]tier.Option{tier.WithValkeyClient(client), tier.WithLogger(log.logger()),
		tier.WithHeartbeat(20 * time.Millisecond), tier.WithMaxStaleness(300 * time.Millisecond), tier.WithRemoteTimeout(50 * time.Millisecond)}, options...)...)
	require.NoError(t, err)
	defer s.Close()
	c := view[string](t, s, "docs")
	const key, value = "k-TOPSECRET", "v-TOPSECRET"
	loads := map[string]tier.Loader[string]{key: is(value, "doc-TOPSECRET"), "old": is("before", "changed")}
	eventually(t, "stored", func() bool { // at once, unless the machine is too slow for the timeout
		for k, load := range loads {
			_, _ = c.Lookup(t.Context(), k, load, tier.Fresh())
		}
		return s.Stats().Fills >= 2
	})
	if how == "killed" {
		srv.Kill()
	} else {
		srv.Pause()
	}
	// quickly is generous, for a busy machine: what it must not be is one of
	// the client's own timeouts.
	quickly := func(what string, f func()) {
		t.Helper()
		began := time.Now()
		f()
		assert.Less(t, time.Since(began), 20*time.Second, what)
	}
	for _, given := range [][]string{{value}, {value, "w"}} { // a load that nothing could store may still be joined
		quickly("get", func() { assert.Contains(t, given, find(t, c, key, is(value)).Value) })
		quickly("get of a key never read", func() { assert.Equal(t, "n", find(t, c, "new", is("n")).Value) })
		quickly("get many", func() {
			got, err := c.GetMany(t.Context(), []string{"x", key}, func(_ context.Context, keys []string, _ tier.Entries) (map[string]string, error) {
				return many(keys...), nil
			})
			assert.NoError(t, err)
			assert.Len(t, got, 2)
		})
		quickly("fresh", func() { assert.Equal(t, "w", find(t, c, key, is("w"), tier.Fresh()).Value) })
		quickly("refresh", func() {
			v, err := c.Refresh(t.Context(), key, is("w"))
			assert.NoError(t, err)
			assert.Equal(t, "w", v)
		})
	}
	eventually(t, "local copies are not trusted", func() bool { return !s.Health(t.Context()).ServesLocal })
	assert.Equal(t, tier.Loaded, find(t, c, key, is(value)).Origin)
	quickly("a loader's error", func() {
		_, err := c.Get(t.Context(), "bad", fails[string](errOrigin))
		assert.ErrorIs(t, err, errOrigin)
		assert.NotErrorIs(t, err, tier.ErrUnavailable)
	})
	quickly("peek", func() { _, _, err := c.Peek(t.Context(), key); assert.ErrorIs(t, err, tier.ErrUnavailable) })
	quickly("explain", func() {
		e, err := c.Explain(t.Context(), key)
		assert.ErrorIs(t, err, tier.ErrUnavailable)
		assert.Equal(t, key, e.Key)
	})
	eventually(t, "it is no stall", func() bool { return !s.Health(t.Context()).Healthy })
	h := s.Health(t.Context())
	assert.ErrorIs(t, h.RemoteErr, tier.ErrUnavailable)
	assert.NotContains(t, h.RemoteErr.Error(), secret)
	assert.Positive(t, h.FailedHeartbeats)
	assert.Greater(t, h.Staleness, 300*time.Millisecond)
	assert.Positive(t, s.Stats().Unleased)

	// Writes and changes say so, and in time. 1 s is what a change is given.
	for what, call := range map[string]func(ctx context.Context) error{
		"set":      func(ctx context.Context) error { return c.Set(ctx, key, value) },
		"set many": func(ctx context.Context) error { return c.SetMany(ctx, map[string]string{key: value}) },
		"delete":   func(ctx context.Context) error { return c.Delete(ctx, key) },
		"source":   func(ctx context.Context) error { _, err := s.InvalidateSource(ctx, "changed"); return err },
		"all":      func(ctx context.Context) error { _, err := s.InvalidateAll(ctx); return err },
		"purge":    func(ctx context.Context) error { _, err := s.Purge(ctx, "docs", nil); return err },
	} {
		began := time.Now()
		err := call(t.Context())
		assert.ErrorIs(t, err, tier.ErrUnavailable, what)
		assert.NotContains(t, err.Error(), secret)
		assert.Less(t, time.Since(began), 20*time.Second, what)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	assert.Error(t, s.Sync(ctx))
	cancel()
	h = s.Health(t.Context())
	assert.GreaterOrEqual(t, h.Undelivered, 2)
	assert.True(t, h.UndeliveredAll)

	if how == "killed" {
		srv.Restart() // empty: history is lost
	} else {
		srv.Resume()
	}
	eventually(t, "healthy again", func() bool {
		h := s.Health(t.Context())
		return h.Healthy && h.RemoteErr == nil && h.Undelivered == 0 && h.FailedHeartbeats == 0
	})
	assert.Equal(t, "after", find(t, c, "old", is("after")).Value, "it changed meanwhile")
	eventually(t, "values are kept again", func() bool { return find(t, c, "old", is("after")).Origin == tier.Local })
	other, err := tier.Open(t.Context(), append([]tier.Option{tier.WithValkey(srv.URL()), tier.WithRemoteTimeout(10 * time.Second)}, options...)...)
	require.NoError(t, err)
	defer other.Close()
	assert.Equal(t, "after", find(t, view[string](t, other, "docs"), "old", unneeded).Value)

	assert.Contains(t, log.String(), "unreachable")
	eventually(t, "it is logged", func() bool { return strings.Contains(log.String(), "reachable again") })
	assert.NotContains(t, log.String(), "TOPSECRET", "neither keys nor values nor sources")
	assert.NotContains(t, log.String(), secret)
	assert.Less(t, strings.Count(log.String(), "\n"), 20, "changes of state, not every heartbeat:\n%s", log.String())
}

// Others may be the first to find that the server is gone, and then no read asks it; so
// there are no heartbeats here, nor is the connection lost, which has the log read again.
func TestARequestThatFailsIsCountedAndTold(t *testing.T) {
	for name, options := range tracking {
		t.Run(name, func(t *testing.T) {
			srv := valkeytest.Start(t)
			var seen events
			s, err := tier.Open(t.Context(), append([]tier.Option{tier.WithValkey(srv.URL()), tier.WithObserver(seen.observe),
				tier.WithHeartbeat(time.Hour), tier.WithMaxStaleness(2 * time.Hour), tier.WithRemoteTimeout(time.Second)}, options...)...)
			require.NoError(t, err)
			defer s.Close()
			c := view[string](t, s, "docs")
			srv.Pause()
			defer srv.Resume()
			assert.Equal(t, "v", find(t, c, "k", is("v")).Value)
			assert.EqualValues(t, 1, s.Stats().RemoteErrors)
			assert.EqualValues(t, 1, s.Stats().Unleased)
			eventually(t, "it is observed", func() bool { return len(seen.of(tier.EventRemote)) == 1 })
		})
	}
}

// A call without a deadline must not wait for a server that is gone.
func TestNoCallHangsWithoutADeadlineWhenTheServerIsGone(t *testing.T) {
	t.Parallel()
	srv := valkeytest.Start(t)
	var gone atomic.Bool // from then on no server answers, although another test's server may be given the port
	option := valkey.ClientOption{InitAddress: []string{srv.Addr}, DialCtxFn: func(ctx context.Context, address string, d *net.Dialer, _ *tls.Config) (net.Conn, error) {
		if gone.Load() {
			return nil, &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
		}
		return d.DialContext(ctx, "tcp", address)
	}}
	s, err := tier.Open(t.Context(), tier.WithValkeyClient(option), tier.WithRemoteTimeout(100*time.Millisecond))
	require.NoError(t, err)
	defer s.Close()
	gone.Store(true)
	srv.Kill()
	for what, call := range map[string]func() error{
		"sync":   func() error { return s.Sync(context.Background()) },
		"health": func() error { return s.Health(context.Background()).RemoteErr },
		"purge":  func() error { _, err := s.Purge(context.Background(), "docs", nil, tier.ResumeAt("0:0")); return err },
	} {
		done := make(chan error, 1)
		go func() { done <- call() }()
		select {
		case err := <-done:
			assert.ErrorIs(t, err, tier.ErrUnavailable, what)
		case <-time.After(15 * time.Second):
			t.Errorf("%s hangs", what)
		}
	}
}
