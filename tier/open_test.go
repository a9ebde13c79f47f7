package tier_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"runtime/pprof"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/valkey-io/valkey-go"

	"github.com/tiercache/tiercache/internal/backend"
	"github.com/tiercache/tiercache/internal/changelog"
	"github.com/tiercache/tiercache/internal/embedded"
	"github.com/tiercache/tiercache/internal/valkeytest"
	"github.com/tiercache/tiercache/tier"
)

// dialer counts the connections that were made with it and are open.
type dialer struct{ open, dialled atomic.Int64 }

func (d *dialer) dial(ctx context.Context, address string, nd *net.Dialer, t *tls.Config) (conn net.Conn, err error) {
	if t != nil {
		conn, err = (&tls.Dialer{NetDialer: nd, Config: t}).DialContext(ctx, "tcp", address)
	} else {
		conn, err = nd.DialContext(ctx, "tcp", address)
	}
	if err != nil {
		return nil, err
	}
	d.open.Add(1)
	d.dialled.Add(1)
	return &countedConn{Conn: conn, d: d}, nil
}

type countedConn struct {
	net.Conn
	d    *dialer
	once sync.Once
}

func (c *countedConn) Close() error {
	c.once.Do(func() { c.d.open.Add(-1) })
	return c.Conn.Close()
}

// fakeServer accepts connections and has serve speak on each. It returns its address.
func fakeServer(t *testing.T, serve func(c net.Conn)) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var all sync.WaitGroup
	var mu sync.Mutex
	open := make(map[net.Conn]bool)
	all.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open[c] = true
			mu.Unlock()
			all.Go(func() {
				serve(c)
				_ = c.Close()
				mu.Lock()
				delete(open, c)
				mu.Unlock()
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		mu.Lock()
		for c := range open {
			_ = c.Close()
		}
		mu.Unlock()
		all.Wait()
	})
	return l.Addr().String()
}

// serveAnswers serves commands with what answer returns for each, in upper case; "" is nothing.
func serveAnswers(answer func(cmd string) string) func(net.Conn) {
	return func(c net.Conn) {
		r := bufio.NewReader(c)
		for {
			var n, size int
			if _, err := fmt.Fscanf(r, "*%d\r\n", &n); err != nil {
				return
			}
			var words []string
			for range n {
				if _, err := fmt.Fscanf(r, "$%d\r\n", &size); err != nil {
					return
				}
				b := make([]byte, size+2)
				if _, err := io.ReadFull(r, b); err != nil {
					return
				}
				words = append(words, string(b[:size]))
			}
			if _, err := io.WriteString(c, answer(strings.ToUpper(strings.Join(words, " ")))); err != nil {
				return
			}
		}
	}
}

// hello is how a server greets that then says text to all but the rest of the greeting.
func hello(text string) func(net.Conn) {
	return serveAnswers(func(cmd string) string {
		switch {
		case strings.HasPrefix(cmd, "HELLO"):
			return "%3\r\n+server\r\n+valkey\r\n+version\r\n+8.0.1\r\n+proto\r\n:3\r\n"
		case strings.HasPrefix(cmd, "CLIENT"):
			return "+OK\r\n"
		case strings.HasPrefix(cmd, "PING"): // a client that ends its subscriptions waits for it
			return "+PONG\r\n"
		}
		return text
	})
}

// TestAFailedOpenLeavesNothing behind: no connection, no goroutine, no buffers; for every way to fail.
func TestAFailedOpenLeavesNothing(t *testing.T) {
	plain := valkeytest.Shared(t)
	secret := valkeytest.Start(t, valkeytest.Config("requirepass", "secret"))
	guarded := valkeytest.Start(t, valkeytest.TLS())
	second := valkeytest.Start(t)
	replica := valkeytest.Start(t, valkeytest.ReplicaOf(second.Addr))
	full := valkeytest.Start(t)
	admin := full.Client(t)
	require.NoError(t, admin.Do(t.Context(), admin.B().Arbitrary("CONFIG", "SET", "maxclients", "1").Build()).Error())
	sentinels := valkeytest.StartSentinels(t)
	users := valkeytest.Start(t)
	all := []string{"client|tracking", "eval", "evalsha", "evalsha_ro", "zrange", "subscribe", "info"}
	for _, right := range all {
		users.Do(t, "ACL", "SETUSER", strings.ReplaceAll(right, "|", "-"), "on", ">p", "~*", "&*", "+@all", "-"+right)
	}
	to := func(addresses ...string) failure { return failure{o: valkey.ClientOption{InitAddress: addresses}} }
	brief := func(f failure) failure {
		f.timeout = 200 * time.Millisecond
		return f
	}
	hostPort := func(address string) (host, port string) {
		host, port, err := net.SplitHostPort(address)
		require.NoError(t, err)
		return host, port
	}
	hangs := fakeServer(t, func(c net.Conn) { _, _ = io.Copy(io.Discard, c) })
	ways := map[string]failure{
		"no such port":         to("127.0.0.1:99999"),
		"refused":              brief(to("127.0.0.1:1")),
		"refused twice":        brief(to("127.0.0.1:1", "127.0.0.1:2")),
		"no answers":           brief(to(hangs)),
		"no answers, twice":    brief(to(hangs, hangs+"0")),
		"no answer in time":    {o: to(hangs).o, timeout: 1200 * time.Millisecond},
		"wrong password":       {o: valkey.ClientOption{InitAddress: []string{secret.Addr}, Password: "wrongsecret"}},
		"no password":          to(secret.Addr),
		"TLS to a plain one":   {o: valkey.ClientOption{InitAddress: []string{plain.Addr}, TLSConfig: guarded.TLSConfig()}},
		"plain to a TLS one":   to(guarded.Addr),
		"two standalone":       to(plain.Addr, second.Addr),
		"replica and primary":  to(replica.Addr, second.Addr),
		"primary and replica":  to(second.Addr, replica.Addr),
		"one of them refuses":  to(plain.Addr, "127.0.0.1:1"),
		"a replica":            brief(to(replica.Addr)),
		"maxclients":           brief(to(full.Addr)),
		"protected mode":       to(fakeServer(t, func(c net.Conn) { _, _ = io.WriteString(c, "-DENIED Valkey is running in protected mode\r\n") })),
		"closes":               brief(to(fakeServer(t, func(net.Conn) {}))),
		"loading":              brief(to(fakeServer(t, hello("-LOADING Valkey is loading the dataset in memory\r\n")))),
		"hangs after hello":    brief(to(fakeServer(t, hello("")))),
		"never after hello":    {o: to(fakeServer(t, hello(""))).o, timeout: 1200 * time.Millisecond},
		"no RESP3":             to(fakeServer(t, serveAnswers(func(string) string { return "-ERR unknown command\r\n" }))),
		"of an old version":    to(fakeServer(t, hello("-ERR unknown command\r\n"))),
		"not RESP at all":      to(fakeServer(t, serveAnswers(func(string) string { return "HTTP/1.1 400 Bad Request\r\n\r\n" }))),
		"wrong master name":    {o: valkey.ClientOption{InitAddress: sentinels.Addrs(), Sentinel: valkey.SentinelOption{MasterSet: "nobody"}}},
		"no sentinel":          {o: valkey.ClientOption{InitAddress: []string{plain.Addr}, Sentinel: valkey.SentinelOption{MasterSet: "mymaster"}}},
		"silent sentinel":      brief(failure{o: valkey.ClientOption{InitAddress: []string{hangs}, Sentinel: valkey.SentinelOption{MasterSet: "mymaster"}}}),
		"not for the cache":    {o: valkey.ClientOption{InitAddress: []string{plain.Addr}, AlwaysRESP2: true}},
		"the only one, forced": brief(failure{o: valkey.ClientOption{InitAddress: []string{"127.0.0.1:1"}, ForceSingleClient: true}}),
		"cluster of the gone":  to(fakeServer(t, clusterOf("127.0.0.1", "1"))),
		"cluster of the mute":  brief(to(fakeServer(t, clusterOf(hostPort(hangs))))),
		"its own dialer hangs": brief(failure{o: valkey.ClientOption{InitAddress: []string{plain.Addr}, DialCtxFn: func(ctx context.Context, _ string, _ *net.Dialer, _ *tls.Config) (net.Conn, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}}}),
		"its log cannot be read": {timeout: 200 * time.Millisecond, more: []tier.Option{tier.WithRemote(unreadable{embedded.New(0)})}},
	}
	for _, right := range all {
		name := strings.ReplaceAll(right, "|", "-")
		ways["without "+right] = failure{o: valkey.ClientOption{InitAddress: []string{users.Addr}, Username: name, Password: "p"},
			opens: right == "client|tracking" || right == "subscribe" || right == "evalsha_ro"} // it does without
	}
	// Each way ten times, and all at once: most of the time is spent waiting for what was dialled to end.
	const times = 10
	dialers := make(map[string]*dialer)
	before, bytes := runtime.NumGoroutine(), heap()
	var opening sync.WaitGroup
	for name, way := range ways {
		d := new(dialer)
		dialers[name] = d
		for range times {
			opening.Go(func() { failsToOpen(t, name, way, d) })
		}
	}
	opening.Wait()
	left := func() (open string) {
		for name, d := range dialers {
			if n := d.open.Load(); n > 0 {
				open += fmt.Sprintf("%s: %d connections of %d; ", name, n, d.dialled.Load())
			}
		}
		return open
	}
	deadline := time.Now().Add(60 * time.Second)
	for left() != "" || runtime.NumGoroutine() > before {
		if time.Now().After(deadline) {
			var stacks strings.Builder
			_ = pprof.Lookup("goroutine").WriteTo(&stacks, 1)
			t.Fatalf("after %d failures each: %s%d goroutines more\n%s", times, left(), runtime.NumGoroutine()-before, &stacks)
		}
		runtime.Gosched()
		<-time.After(5 * time.Millisecond)
	}
	more := int64(heap()) - int64(bytes)
	for more > 4<<20 && time.Now().Before(deadline) { // what ended last may still be let go of
		<-time.After(5 * time.Millisecond)
		more = int64(heap()) - int64(bytes)
	}
	if more > 4<<20 {
		t.Errorf("after %d failures each: %d KiB of heap more", times, more>>10)
	}
}

// failure is a way in which a store cannot be opened.
type failure struct {
	o       valkey.ClientOption
	more    []tier.Option
	timeout time.Duration // of the context; 0: none
	opens   bool          // it may do
}

// failsToOpen opens a store in a way that fails, over connections that d counts.
func failsToOpen(t *testing.T, name string, way failure, d *dialer) {
	if way.o.DialCtxFn == nil {
		way.o.DialCtxFn = d.dial
	}
	options := way.more
	if len(options) == 0 {
		options = []tier.Option{tier.WithValkeyClient(way.o)}
	}
	ctx, cancel := t.Context(), context.CancelFunc(func() {})
	if way.timeout > 0 {
		ctx, cancel = context.WithTimeout(ctx, way.timeout)
	}
	defer cancel()
	s, err := tier.Open(ctx, options...)
	switch {
	case err != nil:
		assert.NotContains(t, err.Error(), "wrongsecret", name)
	default:
		assert.True(t, way.opens, "%s: it was to fail", name)
		assert.NoError(t, s.Close(), name)
	}
}

// clusterOf serves as a node that knows but one other, which has all slots.
func clusterOf(host, port string) func(net.Conn) {
	slots := fmt.Sprintf("*1\r\n*3\r\n:0\r\n:16383\r\n*3\r\n$%d\r\n%s\r\n:%s\r\n$40\r\n%040d\r\n", len(host), host, port, 1)
	return serveAnswers(func(cmd string) string {
		switch {
		case strings.HasPrefix(cmd, "HELLO"):
			return "%3\r\n+server\r\n+valkey\r\n+version\r\n+8.0.1\r\n+proto\r\n:3\r\n"
		case strings.HasPrefix(cmd, "CLUSTER SLOTS"):
			return slots
		case strings.HasPrefix(cmd, "CLIENT"):
			return "+OK\r\n"
		case strings.HasPrefix(cmd, "PING"): // a client that ends its subscriptions waits for it
			return "+PONG\r\n"
		}
		return "-ERR no\r\n"
	})
}

// unreadable is a remote tier whose log cannot be read.
type unreadable struct{ *embedded.Remote }

func (u unreadable) Connect(ctx context.Context, o backend.Options) (backend.Conn, error) {
	c, err := u.Remote.Connect(ctx, o)
	return mute{c}, err
}

type mute struct{ backend.Conn }

func (mute) Delta(context.Context, changelog.DeltaQuery) (changelog.Delta, error) {
	return changelog.Delta{}, errors.New("no")
}

// A server that is slow from the start is taken to be away while the log is still
// being read. What then asks whether it is back has no log yet to do so with.
func TestAServerThatIsSlowWhileAStoreOpensEndsNothing(t *testing.T) {
	for name, opens := range map[string]bool{"it opens": true, "it does not": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				if !opens {
					cancel()
					ctx, cancel = context.WithTimeout(t.Context(), 900*time.Millisecond)
				}
				defer cancel()
				var log journal
				s, err := tier.Open(ctx, tier.WithRemote(lateLogs{embedded.New(0)}), tier.WithRemoteTimeout(50*time.Millisecond), tier.WithLogger(log.logger()))
				require.Equal(t, opens, err == nil, err)
				require.NoError(t, s.Close())
				require.NotContains(t, log.String(), "panic")
			})
		})
	}
}

// lateLogs is a remote tier whose log takes 200 ms to read, and is missing at first.
type lateLogs struct{ *embedded.Remote }

func (r lateLogs) Connect(ctx context.Context, o backend.Options) (backend.Conn, error) {
	c, err := r.Remote.Connect(ctx, o)
	return &lateLog{Conn: c}, err
}

type lateLog struct {
	backend.Conn
	asked atomic.Int64
}

func (c *lateLog) Delta(ctx context.Context, q changelog.DeltaQuery) (changelog.Delta, error) {
	select {
	case <-ctx.Done():
		return changelog.Delta{}, ctx.Err()
	case <-time.After(200 * time.Millisecond):
	}
	if c.asked.Add(1) < 5 {
		return changelog.Delta{}, nil
	}
	return c.Conn.Delta(ctx, q)
}
