package remote_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/valkey-io/valkey-go"

	"github.com/tiercache/tiercache/internal/backend"
	"github.com/tiercache/tiercache/internal/remotetest"
	"github.com/tiercache/tiercache/internal/valkeytest"
	"github.com/tiercache/tiercache/remote"
)

// interrupted is a connection on which something happens elsewhere before a part
// of what is written is sent.
type interrupted struct {
	net.Conn
	*interruption
}

type interruption struct {
	mu      sync.Mutex // guards both
	at      func(b []byte) int
	happens func()
}

// before has f happen once, before the part of what is written that at finds.
func (i *interruption) before(at func(b []byte) int, f func()) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.at, i.happens = at, f
}

func (i *interruption) find(b []byte) (at int, f func()) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.happens == nil {
		return 0, nil
	}
	if at = i.at(b); at < 0 {
		return 0, nil
	}
	f, i.happens = i.happens, nil
	return at, f
}

func (c *interrupted) Write(b []byte) (int, error) {
	at, f := c.find(b)
	if f == nil {
		return c.Conn.Write(b)
	}
	n, err := c.Conn.Write(b[:at])
	if err != nil {
		return n, err
	}
	ended := make(chan struct{})
	go func() { // which a failed test ends, and not the client's goroutine
		defer close(ended)
		f()
	}()
	<-ended
	m, err := c.Conn.Write(b[at:])
	return n + m, err
}

// interruptible is a connection and what may interrupt it.
func interruptible(t *testing.T, s *valkeytest.Server, prefix string) (backend.Conn, *interruption) {
	i := &interruption{}
	option := valkey.ClientOption{InitAddress: []string{s.Addr}}
	option.DialCtxFn = func(ctx context.Context, address string, d *net.Dialer, _ *tls.Config) (net.Conn, error) {
		c, err := d.DialContext(ctx, "tcp", address)
		return &interrupted{c, i}, err
	}
	return connect(t, remote.Valkey(option), prefix, newInvalidations()), i
}

// ask asks for one lease.
func ask(t *testing.T, c backend.Leaser, r backend.LeaseRequest) backend.Lease {
	t.Helper()
	r.TTL = time.Minute
	l, err := c.Lease(within(t), []backend.LeaseRequest{r})
	require.NoError(t, err)
	return l[0]
}

// done returns when what was sent to the server before is done.
func done(t *testing.T, c backend.Reader) {
	for range 2 {
		_, err := c.GetOne(within(t), "any")
		require.NoError(t, err)
	}
}

func store(t *testing.T, c backend.Writer, key, token, envelope string) {
	w, err := c.Write(within(t), []backend.Write{{Key: key, Token: token, Envelope: []byte(envelope), Expires: time.Now().Add(time.Minute), Unread: token == ""}})
	require.NoError(t, err)
	require.True(t, w[0].Stored)
}

// Were the value read before the lease is asked for:
//
//	A: reads the key: nothing there
//	B: stores what it has loaded, which ends its lease
//	A: takes the lease, and would load once more
func TestALeaseIsNotTakenForWhatIsThereAlready(t *testing.T) {
	s, prefix := valkeytest.Shared(t), valkeytest.Prefix(t)
	k := prefix + ":d:n:{k}"
	a, i := interruptible(t, s, prefix)
	b := connect(t, backendOf(s), prefix, newInvalidations())
	betweenTheCommands := func(w []byte) int {
		if !bytes.Contains(w, []byte("\r\nNX\r\n")) {
			return -1
		}
		return bytes.LastIndex(w, []byte("\r\n*")) + 2
	}
	for name, seen := range map[string]string{"nothing seen": "", "another version seen": "1234567890123bad"} {
		t.Run(name, func(t *testing.T) {
			require.NoError(t, remotetest.Delete(within(t), b, k))
			require.True(t, ask(t, b, backend.LeaseRequest{Key: k, Token: "b"}).Acquired)
			i.before(betweenTheCommands, func() {
				done(t, b)
				store(t, b, k, "b", "loaded by b")
			})
			require.Equal(t, "loaded by b", ask(t, a, backend.LeaseRequest{Key: k, Token: "a", Seen: seen}).Item.Envelope())
		})
	}
}

// Two requests are needed if another version is there than the one seen:
//
//	A: takes the lease, and learns that there is another version
//	B: deletes the key, which ends the lease
//	C: takes the lease
//	A: asks for the version
func TestALeaseThatWentWhileTheValueWasAskedForIsNotOurs(t *testing.T) {
	s, prefix := valkeytest.Shared(t), valkeytest.Prefix(t)
	k := prefix + ":d:n:{k}"
	a, i := interruptible(t, s, prefix)
	b := connect(t, backendOf(s), prefix, newInvalidations())
	store(t, b, k, "", "another version than the one that was seen")
	theScript := func(w []byte) int {
		if !bytes.Contains(w, []byte("EVALSHA")) {
			return -1
		}
		return 0
	}
	i.before(theScript, func() {
		require.NoError(t, remotetest.Delete(within(t), b, k))
		require.True(t, ask(t, b, backend.LeaseRequest{Key: k, Token: "c"}).Acquired)
	})
	l := ask(t, a, backend.LeaseRequest{Key: k, Token: "a", Seen: "1234567890123bad"})
	require.False(t, l.Acquired)
	require.Positive(t, l.Wait)
}

// A server whose memory is full refuses what may take more of it. A lease that a load has is not lost for that.
func TestALeaseIsExtendedInFullMemory(t *testing.T) {
	s := valkeytest.Start(t)
	c := connect(t, backendOf(s), "p", newInvalidations())
	const k = "p:d:n:{k}"
	require.True(t, ask(t, c, backend.LeaseRequest{Key: k, Token: "a"}).Acquired)
	s.Do(t, "CONFIG", "SET", "maxmemory", "1")
	require.NoError(t, c.Extend(within(t), []string{k}, "a", time.Hour))
	left, err := s.Do(t, "PTTL", k+"!").AsInt64()
	require.NoError(t, err)
	require.Greater(t, time.Duration(left)*time.Millisecond, 30*time.Minute)
	require.NoError(t, c.Release(within(t), []string{k}, "a"))
	there, err := s.Do(t, "EXISTS", k+"!").AsInt64()
	require.NoError(t, err)
	require.Zero(t, there)
}
