package remote_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/valkey-io/valkey-go"

	"github.com/tiercache/tiercache/internal/backend"
	"github.com/tiercache/tiercache/internal/changelog"
	"github.com/tiercache/tiercache/internal/faultproxy"
	"github.com/tiercache/tiercache/internal/remoteerr"
	"github.com/tiercache/tiercache/internal/remotetest"
	"github.com/tiercache/tiercache/internal/valkeytest"
	"github.com/tiercache/tiercache/invalidation"
	"github.com/tiercache/tiercache/remote"
)

// within is a context for calls that are done within a minute. Reads without a
// deadline are tried for ever.
func within(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func eventually(t *testing.T, cond func() bool, what string) {
	t.Helper()
	poll := time.NewTicker(time.Millisecond)
	defer poll.Stop()
	for deadline := time.Now().Add(30 * time.Second); !cond(); <-poll.C {
		if time.Now().After(deadline) {
			t.Fatalf("never happened: %s", what)
		}
	}
}

// calls are all calls of a connection; the values say how they went.
func calls(ctx context.Context, c backend.Conn) map[string]error {
	out := make(map[string]error)
	k := []string{"p:d:n:{k}"}
	_, out["GetOne"] = c.GetOne(ctx, k[0])
	_, _, out["Get"] = c.Get(ctx, k, nil)
	_, out["GetUntracked"] = c.GetUntracked(ctx, k)
	_, _, out["GetDelta"] = c.Get(ctx, k, &changelog.DeltaQuery{Limit: 1})
	leases, err := c.Lease(ctx, []backend.LeaseRequest{{Key: k[0], Token: "t", TTL: time.Minute, Any: true}})
	for _, l := range leases {
		err = errors.Join(err, l.Err)
	}
	out["Lease"] = err
	out["Extend"] = c.Extend(ctx, k, "t", time.Minute)
	out["Release"] = c.Release(ctx, k, "t")
	writes := []backend.Write{{Key: k[0], Envelope: []byte("value"), Expires: time.Now().Add(time.Minute)}}
	worst := func(written []backend.Written, err error) error {
		for _, w := range written {
			err = errors.Join(err, w.Err)
		}
		return err
	}
	out["Write"] = worst(c.Write(ctx, writes))
	out["WriteLater"] = worst(remotetest.WriteLater(ctx, c, writes))
	out["Delete"] = remotetest.Delete(ctx, c, k...)
	_, out["Purge"] = c.Purge(ctx, backend.PurgeRequest{Prefixes: []string{"p:d:"}})
	_, out["Info"] = c.Info(ctx)
	_, out["Delta"] = c.Delta(ctx, changelog.DeltaQuery{Limit: 1})
	_, out["Append"] = c.Append(ctx, changelog.Change{Scopes: []invalidation.Scope{"s:x"}, Retention: time.Hour})
	out["Renew"] = c.Renew(ctx, changelog.Loss{})
	return out
}

func TestScriptsAreLoadedAgainWhenTheServerForgotThem(t *testing.T) {
	valkeytest.EachVersion(t, func(t *testing.T, s *valkeytest.Server) {
		c := connect(t, backendOf(s), "p", newInvalidations())
		for name, err := range calls(within(t), c) {
			require.NoError(t, err, name)
		}
		// One flush before each script, so that none lives on what another loaded.
		flush := func() { s.Do(t, "SCRIPT", "FLUSH") }
		ctx, k := within(t), []string{"p:d:n:{k}"}
		flush()
		l, err := c.Lease(ctx, []backend.LeaseRequest{{Key: k[0], Token: "t", TTL: time.Minute}})
		require.NoError(t, err)
		require.True(t, l[0].Acquired)
		flush()
		require.NoError(t, c.Extend(ctx, k, "t", time.Minute))
		flush()
		w, err := c.Write(ctx, []backend.Write{{Key: k[0], Token: "t", Envelope: []byte("value"), Expires: time.Now().Add(time.Minute)}})
		require.NoError(t, err)
		require.True(t, w[0].Stored)
		flush()
		w, err = remotetest.WriteLater(ctx, c, []backend.Write{{Key: k[0], Envelope: []byte("value"), Expires: time.Now().Add(time.Minute)}})
		require.NoError(t, err)
		require.True(t, w[0].Stored)
		flush()
		a, err := c.Append(ctx, changelog.Change{Scopes: []invalidation.Scope{"s:x"}, Retention: time.Hour})
		require.NoError(t, err)
		flush()
		items, d, err := c.Get(ctx, k, &changelog.DeltaQuery{Limit: 10})
		require.NoError(t, err)
		require.Equal(t, a.Tick, d.Tick)
		require.Equal(t, "value", items[0].Envelope())
		flush()
		require.NoError(t, c.Renew(ctx, changelog.Loss{}))
		flush()
		require.NoError(t, c.Release(ctx, k, "t"))
		flush()
		require.NoError(t, remotetest.Delete(ctx, c, k...))
		it, err := c.GetOne(ctx, k[0])
		require.NoError(t, err)
		require.False(t, it.Found())
	})
}

func TestAKilledServerIsUnreachableUntilItIsBack(t *testing.T) {
	valkeytest.EachVersion(t, func(t *testing.T, s *valkeytest.Server) {
		n := newInvalidations()
		c := connect(t, backendOf(s), "p", n)
		for name, err := range calls(within(t), c) {
			require.NoError(t, err, name)
		}
		eventually(t, func() bool { _, subs, _ := n.counts(); return subs > 0 }, "it is subscribed")
		lost, subs, _ := n.counts()
		s.Kill()
		eventually(t, func() bool { l, _, _ := n.counts(); return l > lost }, "the loss is told though no caller asked")
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer cancel()
		for name, err := range calls(ctx, c) {
			require.Error(t, err, name)
			require.True(t, remoteerr.Unreachable(err), "%s: %v", name, err)
			require.NotErrorIs(t, err, backend.ErrClosed, name)
		}
		s.Restart()
		eventually(t, func() bool { _, err := c.Delta(within(t), changelog.DeltaQuery{Limit: 1}); return err == nil }, "reads work again")
		for name, err := range calls(within(t), c) {
			require.NoError(t, err, name)
		}
		eventually(t, func() bool { _, now, _ := n.counts(); return now > subs }, "it is subscribed anew")
		_, _, before := n.counts()
		_, err := c.Append(within(t), changelog.Change{Scopes: []invalidation.Scope{"s:x"}, Retention: time.Hour})
		require.NoError(t, err)
		eventually(t, func() bool { _, _, msgs := n.counts(); return msgs > before }, "messages come again")
	})
}

func TestAServerThatForgotTheLogWhileItWasDownSaysSo(t *testing.T) {
	s := valkeytest.Start(t)
	c := connect(t, backendOf(s), "p", newInvalidations())
	_, err := c.Append(within(t), changelog.Change{Scopes: []invalidation.Scope{"s:x"}, Retention: time.Hour})
	require.NoError(t, err)
	s.Restart()
	eventually(t, func() bool {
		d, err := c.Delta(within(t), changelog.DeltaQuery{Limit: 1})
		require.True(t, err != nil || d.Incarnation == 0)
		return err == nil
	}, "reads work again")
}

// A restarted server counts its connections from the beginning again.
func TestAConnectionAfterARestartIsAnotherThoughItsNumberIsTheSame(t *testing.T) {
	s := valkeytest.Start(t, valkeytest.Persist())
	c := connect(t, backendOf(s), "p", newInvalidations())
	_, err := c.Append(within(t), changelog.Change{Scopes: []invalidation.Scope{"s:x"}, Retention: time.Hour})
	require.NoError(t, err)
	seen := make(map[int64]bool)
	for range 4 {
		var d changelog.Delta
		eventually(t, func() bool {
			d, err = c.Delta(within(t), changelog.DeltaQuery{Limit: 1})
			return err == nil
		}, "reads work")
		require.NotZero(t, d.Incarnation, "the log is still there")
		require.False(t, seen[d.Connection])
		seen[d.Connection] = true
		s.Restart()
	}
}

func TestAFrozenServerHoldsNoCallerBeyondTheDeadline(t *testing.T) {
	s := valkeytest.Start(t)
	c := connect(t, backendOf(s), "p", newInvalidations())
	for name, err := range calls(within(t), c) {
		require.NoError(t, err, name)
	}
	s.Pause()
	defer s.Resume()
	begun := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	for name, err := range calls(ctx, c) {
		require.ErrorIs(t, err, context.DeadlineExceeded, name)
		require.True(t, remoteerr.Unreachable(err), name)
	}
	require.Less(t, time.Since(begun), 3*time.Second)
}

func TestAFullServerRefusesWritesWithErrFull(t *testing.T) {
	valkeytest.EachVersion(t, func(t *testing.T, s *valkeytest.Server) {
		invalidations := newInvalidations()
		c := connect(t, backendOf(s), "p", invalidations)
		ctx := within(t)
		write := func(key string, size int) backend.Written {
			w, err := c.Write(ctx, []backend.Write{{Key: key, Envelope: []byte(strings.Repeat("x", size)), Expires: time.Now().Add(time.Hour)}})
			require.NoError(t, err, "a refusal is an answer")
			return w[0]
		}
		require.True(t, write("first", 100).Stored)
		_, err := c.Append(ctx, changelog.Change{Scopes: []invalidation.Scope{"s:w"}, Retention: time.Hour})
		require.NoError(t, err)
		before, err := c.Lease(ctx, []backend.LeaseRequest{{Key: "loading", Token: "t", TTL: time.Hour}})
		require.NoError(t, err)
		require.True(t, before[0].Acquired)
		s.Do(t, "CONFIG", "SET", "maxmemory-policy", "noeviction")
		s.Do(t, "CONFIG", "SET", "maxmemory", "1")
		loaded, err := c.Write(ctx, []backend.Write{{Key: "loading", Token: "t", LeaseTTL: time.Hour, Envelope: []byte("value"), Expires: time.Now().Add(time.Hour)}})
		require.NoError(t, err)
		require.ErrorIs(t, loaded[0].Err, remote.ErrFull)
		require.False(t, loaded[0].Stored)
		w := write("second", 100)
		require.ErrorIs(t, w.Err, remote.ErrFull)
		require.False(t, w.Stored)
		require.ErrorIs(t, write("first", 200).Err, remote.ErrFull)
		it, err := c.GetOne(ctx, "first")
		require.NoError(t, err)
		require.Len(t, it.Envelope(), 100, "the old value stays")
		it, err = c.GetOne(ctx, "second")
		require.NoError(t, err)
		require.False(t, it.Found())
		l, err := c.Lease(ctx, []backend.LeaseRequest{{Key: "second", Token: "t", TTL: time.Minute}})
		require.NoError(t, err)
		require.ErrorIs(t, l[0].Err, remote.ErrFull)
		for _, seen := range []string{"", "1234567890123another"} {
			there, err := c.Lease(ctx, []backend.LeaseRequest{{Key: "first", Token: "t", TTL: time.Minute, Seen: seen}})
			require.NoError(t, err)
			require.Len(t, there[0].Item.Envelope(), 100, "what is there needs no lease")
		}
		_, err = c.Append(ctx, changelog.Change{Scopes: []invalidation.Scope{"s:x"}, Retention: time.Hour})
		require.NoError(t, err, "a change is small, and must go through")
		require.NoError(t, c.Renew(ctx, changelog.Loss{Known: invalidation.AsOf{Tick: 1 << 52}}))
		d, err := c.Delta(ctx, changelog.DeltaQuery{Limit: 10})
		require.NoError(t, err)
		require.Greater(t, d.Tick, invalidation.Tick(1<<52))
		require.False(t, remoteerr.Unreachable(l[0].Err))
		require.NoError(t, remotetest.Delete(ctx, c, "first", "second"), "deleting is always possible")
		_, err = c.Delta(ctx, changelog.DeltaQuery{Limit: 10}) // whose answer comes after the invalidations
		require.NoError(t, err)
		require.Equal(t, 1, invalidations.of("first"))
		require.Equal(t, 1, invalidations.of("second"), "what was not there is told as well")
		s.Do(t, "CONFIG", "SET", "maxmemory", "0")
		require.True(t, write("second", 100).Stored)
		it, err = c.GetOne(ctx, "loading")
		require.NoError(t, err)
		require.False(t, it.Found(), "what was refused")
		i, err := c.Info(ctx)
		require.NoError(t, err)
		require.Equal(t, "noeviction", i.Policy)
	})
}

func TestAServerEvictsWithAnInvalidation(t *testing.T) {
	s := valkeytest.Start(t)
	n := newInvalidations()
	c := connect(t, backendOf(s), "p", n)
	_, err := c.Write(within(t), []backend.Write{{Key: "k", Envelope: []byte("v"), Expires: time.Now().Add(time.Hour), Unread: true}})
	require.NoError(t, err)
	eventually(t, func() bool { return n.of("k") == 1 }, "the invalidation of the write itself")
	s.Do(t, "CONFIG", "SET", "maxmemory-policy", "allkeys-random")
	s.Do(t, "CONFIG", "SET", "maxmemory", "1")
	eventually(t, func() bool {
		_, _ = c.Write(within(t), []backend.Write{{Key: "other", Envelope: []byte("v"), Expires: time.Now().Add(time.Hour), Unread: true}})
		return n.of("k") == 2
	}, "the invalidation of an eviction")
}

func TestConnectSaysWhatIsWrong(t *testing.T) {
	s := valkeytest.Start(t, valkeytest.Config("requirepass", "right-secret"))
	refused, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	addr := refused.Addr().String()
	refused.Close()
	for name, x := range map[string]struct {
		option valkey.ClientOption
		want   string
	}{
		"RefusedPort":   {valkey.ClientOption{InitAddress: []string{addr}}, "refused"},
		"WrongPassword": {valkey.ClientOption{InitAddress: []string{s.Addr}, Password: "wrong-secret"}, "WRONGPASS"},
		"NoPassword":    {valkey.ClientOption{InitAddress: []string{s.Addr}}, "NOAUTH"},
		"TLSToPlain":    {valkey.ClientOption{InitAddress: []string{s.Addr}, TLSConfig: &tls.Config{}}, ""},
		"NoSuchHost":    {valkey.ClientOption{InitAddress: []string{"no-such-host.invalid:1"}}, "no-such-host"},
	} {
		t.Run(name, func(t *testing.T) {
			b := remote.Valkey(x.option)
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			c, err := b.Connect(ctx, backend.Options{Prefix: "p", Timeout: time.Second, Events: newInvalidations().events()})
			require.Nil(t, c)
			require.ErrorContains(t, err, x.want)
			require.ErrorContains(t, err, x.option.InitAddress[0])
			require.NotContains(t, err.Error(), "\n", "one line")
			require.NotContains(t, err.Error()+b.String(), "secret")
			require.NoError(t, ctx.Err(), "it did not take the deadline to find out")
		})
	}
	c := connect(t, remote.Valkey(valkey.ClientOption{InitAddress: []string{s.Addr}, Password: "right-secret"}), "p", newInvalidations())
	for name, err := range calls(within(t), c) {
		require.NoError(t, err, name)
	}
}

func TestConnectGivesUpWithItsContext(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0") // accepts, and never answers
	require.NoError(t, err)
	accepted := make(chan net.Conn, 1)
	go func() {
		if c, err := silent.Accept(); err == nil {
			accepted <- c
		}
		close(accepted)
	}()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	begun := time.Now()
	_, err = remote.Valkey(valkey.ClientOption{InitAddress: []string{silent.Addr().String()}}).
		Connect(ctx, backend.Options{Prefix: "p", Timeout: time.Hour, Events: newInvalidations().events()})
	took := time.Since(begun)
	silent.Close()
	for c := range accepted {
		c.Close() // or the attempt would go on
	}
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.Less(t, took, 10*time.Second)
}

func TestAResumedPurgeSkipsWhatIsDone(t *testing.T) {
	s := valkeytest.Start(t)
	c := connect(t, backendOf(s), "p", newInvalidations())
	h := valkeyHarness(t, s)
	for _, k := range []string{"p:d:a:x", "p:d:b:x"} {
		h.Put(k, "v")
	}
	done, err := c.Purge(within(t), backend.PurgeRequest{Prefixes: []string{"p:d:a:", "p:d:b:"}, Resume: "1:0"})
	require.NoError(t, err)
	require.EqualValues(t, 1, done.Removed)
	require.Equal(t, []string{"p:d:a:x"}, h.Keys("p:"))
}

func TestConnectNamesEveryOptionThatContradictsTheCache(t *testing.T) {
	good := valkey.ClientOption{InitAddress: []string{"127.0.0.1:1"}}
	var all []string
	everything := good
	for name, set := range map[string]func(*valkey.ClientOption){
		"OnInvalidations":       func(o *valkey.ClientOption) { o.OnInvalidations = func([]valkey.ValkeyMessage) {} },
		"ClientTrackingOptions": func(o *valkey.ClientOption) { o.ClientTrackingOptions = []string{"NOLOOP"} },
		"SendToReplicas":        func(o *valkey.ClientOption) { o.SendToReplicas = func(valkey.Completed) bool { return true } },
		"ReplicaOnly":           func(o *valkey.ClientOption) { o.ReplicaOnly = true },
		"DisableCache":          func(o *valkey.ClientOption) { o.DisableCache = true },
		"AlwaysRESP2":           func(o *valkey.ClientOption) { o.AlwaysRESP2 = true },
		"DisableAutoPipelining": func(o *valkey.ClientOption) { o.DisableAutoPipelining = true },
		"ConnLifetime":          func(o *valkey.ClientOption) { o.ConnLifetime = time.Hour },
		"InitAddress":           func(o *valkey.ClientOption) { o.InitAddress = nil },
	} {
		o := good
		set(&o)
		set(&everything)
		all = append(all, name)
		_, err := remote.Valkey(o).Connect(within(t), backend.Options{Prefix: "p", Events: newInvalidations().events()})
		require.ErrorContains(t, err, name)
	}
	_, err := remote.Valkey(everything).Connect(within(t), backend.Options{Prefix: "p", Events: newInvalidations().events()})
	for _, name := range all {
		require.ErrorContains(t, err, name, "one error names them all")
	}

	// Without tracking there are no invalidations to silence.
	s := valkeytest.Start(t)
	c, err := remote.Valkey(valkey.ClientOption{InitAddress: []string{s.Addr}, DisableCache: true, DisableAutoPipelining: true}).
		Connect(within(t), backend.Options{Prefix: "p", Timeout: time.Second, NoTracking: true, Events: newInvalidations().events()})
	require.NoError(t, err)
	defer c.Close()
	for name, err := range calls(within(t), c) {
		require.NoError(t, err, name)
	}
}

func TestInfoNamesWhatAnACLWithholds(t *testing.T) {
	s := valkeytest.Start(t)
	for user, want := range map[string]string{"config": "tracking table", "info": "INFO"} {
		s.Do(t, "ACL", "SETUSER", user, "on", "nopass", "~*", "&*", "+@all")
		c := connect(t, remote.Valkey(valkey.ClientOption{InitAddress: []string{s.Addr}, Username: user, Password: "x"}), "p", newInvalidations())
		s.Do(t, "ACL", "SETUSER", user, "-"+user)
		i, err := c.Info(within(t))
		require.NoError(t, err)
		require.Contains(t, i.Unknown, want)
	}
}

func TestOnlyASilentServerIsUnreachable(t *testing.T) {
	require.False(t, remoteerr.Unreachable(nil))
	require.True(t, remoteerr.Unreachable(context.DeadlineExceeded))
	require.True(t, remoteerr.Unreachable(&net.OpError{Op: "dial", Err: errors.New("refused")}))
	require.True(t, remoteerr.Unreachable(backend.ErrClosed))
	s := valkeytest.Start(t)
	client := s.Client(t)
	err := client.Do(within(t), client.B().Arbitrary("NOSUCHCOMMAND").Build()).Error()
	require.Error(t, err)
	require.False(t, remoteerr.Unreachable(err))
	require.False(t, remoteerr.Unreachable(fmt.Errorf("wrapped: %w", err)))
}

// A server that has become a replica still answers scripts that only read, and
// says of its copy of the log that nothing has changed.
func TestAReplicaProvesNothing(t *testing.T) {
	valkeytest.EachVersion(t, func(t *testing.T, s *valkeytest.Server) {
		c := connect(t, backendOf(s), "p", newInvalidations())
		_, err := c.Append(within(t), changelog.Change{Scopes: []invalidation.Scope{"s:x"}, Retention: time.Hour})
		require.NoError(t, err)
		s.Do(t, "REPLICAOF", "127.0.0.1", "1") // no server is there
		_, err = c.Delta(within(t), changelog.DeltaQuery{Limit: 10})
		require.ErrorContains(t, err, "primary")
		s.Do(t, "REPLICAOF", "NO", "ONE")
		_, err = c.Delta(within(t), changelog.DeltaQuery{Limit: 10})
		require.NoError(t, err)
	})
}

// A change whose connection is lost before the answer came is sent again:
//
//	Append is sent, and reaches the server
//	the connection is cut before the answer
//	Append is sent again, on the next connection
func TestAChangeIsRecordedOverANewConnection(t *testing.T) {
	valkeytest.EachVersion(t, func(t *testing.T, s *valkeytest.Server) {
		p, err := faultproxy.Start(s.Addr, 1)
		require.NoError(t, err)
		t.Cleanup(p.Close)
		c := connect(t, remote.Valkey(valkey.ClientOption{InitAddress: []string{p.Addr()}}), "p", newInvalidations())
		p.Freeze(faultproxy.ToClient)
		before, failed := p.Stats().Passed[faultproxy.Request], make(chan error, 1)
		go func() {
			_, err := c.Append(within(t), changelog.Change{Scopes: []invalidation.Scope{"s:x"}, Retention: time.Hour})
			failed <- err
		}()
		eventually(t, func() bool { return p.Stats().Passed[faultproxy.Request] > before }, "the change is on its way")
		p.Cut()
		p.Heal()
		require.NoError(t, <-failed)
	})
}

// Guard: RetryDelay. Each attempt makes a connection and its buffers, where there
// is a listener that accepts it and ends it.
func TestWhatGetsNoAnswerIsTriedAgainAFewTimes(t *testing.T) {
	s := valkeytest.Start(t)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close()
	go func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			c.Close()
		}
	}()
	var gone atomic.Bool
	var until atomic.Pointer[time.Time] // what is dialled later is not counted: how late this goroutine looks does not matter
	var dials atomic.Int64
	o := valkey.ClientOption{InitAddress: []string{s.Addr}}
	o.DialCtxFn = func(ctx context.Context, address string, d *net.Dialer, _ *tls.Config) (net.Conn, error) {
		if gone.Load() {
			if end := until.Load(); end == nil || time.Now().Before(*end) {
				dials.Add(1)
			}
			address = listener.Addr().String()
		}
		return d.DialContext(ctx, "tcp", address)
	}
	conn, err := remote.Valkey(o).Connect(within(t), backend.Options{Prefix: "p", Timeout: time.Second, Events: newInvalidations().events()})
	require.NoError(t, err)
	defer conn.Close()
	gone.Store(true)
	s.Kill()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	end, _ := ctx.Deadline()
	until.Store(&end)
	before := dials.Load()
	_, err = conn.GetOne(ctx, "k")
	require.Error(t, err)
	require.LessOrEqual(t, dials.Load()-before, int64(6), "for the read and for the subscription; 12 without pauses")
}
