package remote_test

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/valkey-io/valkey-go"

	"github.com/tiercache/tiercache/internal/backend"
	"github.com/tiercache/tiercache/internal/changelog"
	"github.com/tiercache/tiercache/internal/recovery"
	"github.com/tiercache/tiercache/internal/valkeytest"
	"github.com/tiercache/tiercache/remote"
)

// wildConn is a connection that panics, in whatever goroutine uses it.
type wildConn struct {
	net.Conn
	reads, writes *atomic.Int64 // how often
}

func (c wildConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if c.reads.Add(-1) >= 0 {
		panic("reading")
	}
	return n, err
}

func (c wildConn) Write(b []byte) (int, error) {
	if c.writes.Add(-1) >= 0 {
		panic("writing")
	}
	return c.Conn.Write(b)
}

// What panics in the client's goroutines that read, write and dial ends the connection
// that they use. The next request makes another.
func TestAPanicInTheClientsGoroutinesEndsTheConnection(t *testing.T) {
	for name, addresses := range map[string][]string{
		"standalone": {valkeytest.Shared(t).Addr},
		"cluster":    valkeytest.SharedCluster(t).Addrs(),
	} {
		t.Run(name, func(t *testing.T) {
			panics := recovery.New(slog.New(slog.DiscardHandler))
			var reads, writes, dials, lost atomic.Int64
			b := remote.Valkey(valkey.ClientOption{InitAddress: addresses,
				DialCtxFn: func(ctx context.Context, address string, d *net.Dialer, _ *tls.Config) (net.Conn, error) {
					if dials.Add(-1) >= 0 {
						panic("dialling")
					}
					c, err := d.DialContext(ctx, "tcp", address)
					return wildConn{c, &reads, &writes}, err
				}})
			c, err := b.Connect(within(t), backend.Options{Prefix: valkeytest.Prefix(t), Timeout: time.Second, Panics: panics,
				Events: backend.Events{Changed: func([]string) {}, Lost: func() { lost.Add(1) }, Moved: func() { lost.Add(1) }, Published: func(string) {}}})
			require.NoError(t, err)
			ask := func() (err error) {
				defer func() { // the caller's own goroutine may be the one that reads or writes
					if p := recover(); p != nil {
						err = recovery.ErrPanicked
					}
				}()
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				_, err = c.Delta(ctx, changelog.DeltaQuery{Limit: 10})
				return err
			}
			works := func() { require.Eventually(t, func() bool { return ask() == nil }, time.Minute, time.Millisecond) }
			works()
			for _, n := range []*atomic.Int64{&reads, &writes, &dials} {
				for range 3 {
					n.Store(1)
					if n == &dials { // which happens when a connection is lost
						reads.Store(1)
					}
					require.Eventually(t, func() bool { _ = ask(); return n.Load() <= 0 }, time.Minute, time.Millisecond)
					works()
				}
			}
			require.Positive(t, lost.Load())
			require.Positive(t, panics.Count())
			require.NoError(t, c.Close())
		})
	}
}

// Nor does what the options call with each connection end what keeps one.
func TestAPanicOfTheOptionsIsSurvived(t *testing.T) {
	s := valkeytest.Start(t)
	for name, bad := range map[string]func(o *valkey.ClientOption, now *atomic.Bool){
		"credentials": func(o *valkey.ClientOption, now *atomic.Bool) {
			o.AuthCredentialsFn = func(valkey.AuthCredentialsContext) (valkey.AuthCredentials, error) {
				if now.Swap(false) {
					panic("credentials")
				}
				return valkey.AuthCredentials{}, nil
			}
		},
		// The client would have other goroutines wait for ever for a connection of which the credentials panicked.
		"credentials of each connection": func(o *valkey.ClientOption, now *atomic.Bool) {
			var times atomic.Int64
			o.AuthCredentialsFn = func(valkey.AuthCredentialsContext) (valkey.AuthCredentials, error) {
				if now.Load() {
					now.Store(times.Add(1) < 6)
					panic("credentials")
				}
				return valkey.AuthCredentials{}, nil
			}
		},
		"pauses": func(o *valkey.ClientOption, now *atomic.Bool) {
			o.RetryDelay = func(int, valkey.Completed, error) time.Duration {
				if now.Swap(false) {
					panic("pauses")
				}
				return time.Millisecond
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			panics := recovery.New(slog.New(slog.DiscardHandler))
			var now atomic.Bool
			var conns sync.Map // that were dialled
			o := valkey.ClientOption{InitAddress: []string{s.Addr}, DialCtxFn: func(ctx context.Context, address string, d *net.Dialer, _ *tls.Config) (net.Conn, error) {
				c, err := d.DialContext(ctx, "tcp", address)
				conns.Store(c, nil)
				return c, err
			}}
			bad(&o, &now)
			var lost, subscribed atomic.Int64
			c, err := remote.Valkey(o).Connect(within(t), backend.Options{Prefix: "p", Timeout: 10 * time.Second, Panics: panics,
				Events: backend.Events{Changed: func([]string) {}, Lost: func() { lost.Add(1) }, Published: func(m string) {
					if m == "" {
						subscribed.Add(1)
					}
				}}})
			require.NoError(t, err)
			defer func() {
				closed := make(chan error, 1)
				go func() { closed <- c.Close() }()
				select {
				case err := <-closed:
					require.NoError(t, err)
				case <-time.After(time.Minute):
					t.Error("Close waits for a connection that is made no more")
				}
			}()
			_, err = c.GetOne(within(t), "p:k")
			require.NoError(t, err)
			before := lost.Load()
			now.Store(true)
			require.Eventually(t, func() bool {
				conns.Range(func(k, _ any) bool { _ = k.(net.Conn).Close(); conns.Delete(k); return true })
				return panics.Count() > 0 && !now.Load()
			}, time.Minute, time.Millisecond)
			require.Eventually(t, func() bool { _, err := c.GetOne(within(t), "p:k"); return err == nil }, time.Minute, time.Millisecond)
			require.Greater(t, lost.Load(), before)
			again := subscribed.Load()
			require.Eventually(t, func() bool {
				conns.Range(func(k, _ any) bool { _ = k.(net.Conn).Close(); conns.Delete(k); return true })
				return subscribed.Load() > again
			}, time.Minute, 20*time.Millisecond, "messages of changes come again")
		})
	}
}

// A dialer that panics while a connection is made for the first time is an error.
func TestAPanicOfADialerIsAnErrorOfConnect(t *testing.T) {
	panics := recovery.New(slog.New(slog.DiscardHandler))
	b := remote.Valkey(valkey.ClientOption{InitAddress: []string{"127.0.0.1:1"},
		DialCtxFn: func(context.Context, string, *net.Dialer, *tls.Config) (net.Conn, error) { panic("dialling") }})
	_, err := b.Connect(within(t), backend.Options{Prefix: "p", Timeout: time.Second, Panics: panics,
		Events: backend.Events{Changed: func([]string) {}, Lost: func() {}, Published: func(string) {}}})
	require.ErrorIs(t, err, recovery.ErrPanicked)
	require.Positive(t, panics.Count())
}
