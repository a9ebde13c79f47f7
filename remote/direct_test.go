package remote

import (
	"bytes"
	"context"
	"crypto/tls"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/valkey-io/valkey-go"

	"github.com/tiercache/tiercache/internal/backend"
	"github.com/tiercache/tiercache/internal/remoteerr"
	"github.com/tiercache/tiercache/internal/valkeytest"
)

// written keeps what is written to a connection.
type written struct {
	net.Conn
	mu  sync.Mutex // guards all
	all []byte
}

func (w *written) Write(b []byte) (int, error) {
	w.mu.Lock()
	w.all = append(w.all, b...)
	w.mu.Unlock()
	return w.Conn.Write(b)
}

func (w *written) contains(what string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return bytes.Index(w.all, []byte(what))
}

// connectDirectly connects to a server of its own, and returns the connections that are
// made.
func connectDirectly(t *testing.T, o valkey.ClientOption) (*valkeyConn, *valkeytest.Server, func() []*written) {
	s := valkeytest.Start(t)
	var mu sync.Mutex // guards conns
	var conns []*written
	o.InitAddress = []string{s.Addr}
	o.DialCtxFn = func(ctx context.Context, address string, d *net.Dialer, _ *tls.Config) (net.Conn, error) {
		c, err := d.DialContext(ctx, "tcp", address)
		if err != nil {
			return nil, err
		}
		w := &written{Conn: c}
		mu.Lock()
		defer mu.Unlock()
		conns = append(conns, w)
		return w, nil
	}
	nothing := func() {}
	opened, err := Valkey(o).Connect(t.Context(), backend.Options{Prefix: "p", Timeout: 10 * time.Second, NoTracking: o.DisableAutoPipelining,
		Events: backend.Events{Changed: func([]string) {}, Lost: nothing, Published: func(string) {}}})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, opened.Close()) })
	return opened.(*valkeyConn), s, func() []*written {
		mu.Lock()
		defer mu.Unlock()
		return append([]*written(nil), conns...)
	}
}

// directly waits until requests go over a connection other than not, and returns it.
func (c *valkeyConn) directly(t *testing.T, not *dialled) (w *dialled) {
	t.Helper()
	require.Eventually(t, func() bool {
		_, err := c.GetOne(t.Context(), "p:k")
		w = c.tracked.(*serverConn).conn.Load()
		return err == nil && w != nil && w != not
	}, time.Minute, time.Millisecond)
	return w
}

// The server would keep a table of what no store keeps, and tell of it.
func TestWhatIsReadUntrackedIsNotTracked(t *testing.T) {
	c, _, _ := connectDirectly(t, valkey.ClientOption{})
	keys := []string{"p:a", "p:b", "p:none"}
	read := func() {
		items, err := c.GetUntracked(t.Context(), keys)
		require.NoError(t, err)
		require.Len(t, items, len(keys))
	}
	tracked := func() int64 {
		i, err := c.Info(t.Context())
		require.NoError(t, err)
		return i.TrackedKeys
	}
	read()
	require.Zero(t, tracked())
	_, _, err := c.Get(t.Context(), keys, nil)
	require.NoError(t, err)
	require.EqualValues(t, len(keys), tracked())
}

// What only reads is asked again, and so it must be known that this does.
func TestWhatIsReadUntrackedIsReadOverTheNextConnection(t *testing.T) {
	c, s, _ := connectDirectly(t, valkey.ClientOption{})
	admin := s.Client(t)
	for range 30 {
		w := c.directly(t, nil)
		require.NoError(t, admin.Do(t.Context(), admin.B().Arbitrary("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes").Build()).Error())
		for c.directly(t, nil) == w {
			_, err := c.GetUntracked(t.Context(), []string{"p:a", "p:b"})
			require.NoError(t, err)
		}
	}
}

// Guard: publish. A connection is greeted, and asked for invalidations, before anything is read
// over it.
func TestNothingIsReadOverAConnectionBeforeItIsTracked(t *testing.T) {
	c, s, conns := connectDirectly(t, valkey.ClientOption{AuthCredentialsFn: func(valkey.AuthCredentialsContext) (valkey.AuthCredentials, error) {
		<-time.After(2 * time.Millisecond) // in which the readers would find it
		return valkey.AuthCredentials{}, nil
	}})
	ctx, cancel := context.WithCancel(t.Context())
	var readers sync.WaitGroup
	defer readers.Wait()
	defer cancel()
	for range 8 {
		readers.Go(func() {
			for ctx.Err() == nil {
				brief, cancel := context.WithTimeout(ctx, time.Millisecond) // they do not wait for the next connection
				_, _ = c.GetOne(brief, "p:k")
				cancel()
			}
		})
	}
	var w *dialled
	for range 20 {
		w = c.directly(t, w)
		s.Do(t, "CLIENT", "KILL", "TYPE", "NORMAL", "SKIPME", "YES")
	}
	for _, conn := range conns() {
		if read := conn.contains("GETRANGE"); read >= 0 {
			tracking := conn.contains("TRACKING")
			require.Positive(t, tracking)
			require.Less(t, tracking, read)
		}
	}
}

// A reply says the same whether the client has read it or not.
func TestAReplyIsTheSameEitherWay(t *testing.T) {
	c, _, _ := connectDirectly(t, valkey.ClientOption{})
	c.directly(t, nil)
	commands := func() *batch {
		b := newBatch()
		for _, words := range [][]string{
			{"SET", "p:k", "v"}, {"GET", "p:k"}, {"GET", "p:none"}, {"EXISTS", "p:k"}, {"LPUSH", "p:k", "x"}, {"MGET", "p:k", "p:none"},
			{"EVAL", "return {1, 'a', {'b', false}}", "0"}, {"NONE"},
		} {
			b.add(words...)
		}
		return b
	}
	direct, client := c.tracked.ask(t.Context(), commands()), c.plain.ask(t.Context(), commands())
	for i := range direct {
		require.Equal(t, client[i].Reply, direct[i].Reply, i)
		require.Equal(t, client[i].err == nil, direct[i].err == nil, i)
		require.Equal(t, client[i].err == errNull, direct[i].err == errNull, i)
		if client[i].err != nil {
			require.Equal(t, client[i].err.Error(), direct[i].err.Error())
			require.Equal(t, remoteerr.Unreachable(client[i].err), remoteerr.Unreachable(direct[i].err))
		}
	}
}

// Guard: link.reach, which is asked before anything is written.
func TestNothingIsSentWhileALinkIsInDoubt(t *testing.T) {
	c, s, _ := connectDirectly(t, valkey.ClientOption{})
	b := newBatch()
	b.add("GET", "p:k")
	c.plain.suspect.Store(true)
	require.NoError(t, c.plain.reach(t.Context(), b), "the server answers")
	s.Stop()
	c.plain.suspect.Store(true)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	require.True(t, remoteerr.NotSent(c.plain.reach(ctx, b)))
}

// Nor does a request wait longer than its context while another dials, though the client would have it wait for that.
func TestNothingIsSentWhileALinkDials(t *testing.T) {
	s := valkeytest.Start(t)
	var hold atomic.Bool
	dialling, goOn := make(chan struct{}, 16), make(chan struct{})
	l := newLink(nil)
	defer l.Close()
	require.NoError(t, l.connect(t.Context(), valkey.ClientOption{InitAddress: []string{s.Addr}, ForceSingleClient: true, DisableCache: true,
		DialCtxFn: func(ctx context.Context, address string, d *net.Dialer, _ *tls.Config) (net.Conn, error) {
			if hold.Load() {
				dialling <- struct{}{}
				<-goOn
			}
			return d.DialContext(ctx, "tcp", address)
		}}))
	get := func(ctx context.Context) error { return l.Do(ctx, l.B().Exists().Key("k").Build()).Error() }
	require.NoError(t, get(t.Context()))
	hold.Store(true)
	s.Do(t, "CLIENT", "KILL", "TYPE", "NORMAL", "SKIPME", "YES")
	first, second := make(chan error, 1), make(chan error, 1)
	go func() { first <- get(t.Context()) }()
	<-dialling
	l.suspect.Store(true)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	go func() { second <- get(ctx) }()
	select {
	case err := <-second:
		require.ErrorIs(t, err, context.DeadlineExceeded)
	case <-time.After(20 * time.Second):
		t.Error("it waits for the connection")
	}
	close(goOn)
	require.NoError(t, <-first)
}

// Its caller has others that wait for it, whatever is to be stored: what the connection takes at once, and what is sent ahead.
func TestWriteLaterDoesNotWaitForTheServer(t *testing.T) {
	c, s, _ := connectDirectly(t, valkey.ClientOption{})
	c.directly(t, nil)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for _, length := range []int{1, 4 * firstRead} {
		returned, told := make(chan struct{}), make(chan error, 1)
		s.Pause()
		go func() {
			defer close(returned)
			c.WriteLater(ctx, []backend.Write{{Key: "p:k", Envelope: make([]byte, length), Expires: time.Now().Add(time.Hour)}},
				func(_ []backend.Written, err error) { told <- err })
		}()
		select {
		case <-returned:
		case <-time.After(20 * time.Second):
			t.Errorf("%d bytes: it waits", length)
		}
		s.Resume()
		<-returned
		require.NoError(t, <-told)
	}
}
