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

	"github.com/tiercache/tiercache/internal/valkeytest"
	"github.com/tiercache/tiercache/remote"
)

// halved is a connection on which something happens elsewhere between the two
// commands that ask for a lease.
type halved struct {
	net.Conn
	between func() func() // what to do then, once; nil: nothing
}

func (h *halved) Write(b []byte) (int, error) {
	second := bytes.LastIndex(b, []byte("\r\n*")) + 2
	if second < 2 || !bytes.Contains(b, []byte("\r\nNX\r\n")) {
		return h.Conn.Write(b)
	}
	between := h.between()
	if between == nil {
		return h.Conn.Write(b)
	}
	n, err := h.Conn.Write(b[:second])
	if err != nil {
		return n, err
	}
	between()
	m, err := h.Conn.Write(b[second:])
	return n + m, err
}

// Were the value read before the lease is asked for:
//
//	A: reads the key: nothing there
//	B: stores what it has loaded, which ends its lease
//	A: takes the lease, and would load once more
func TestALeaseIsNotTakenForWhatIsThereAlready(t *testing.T) {
	s := valkeytest.Shared(t)
	prefix := valkeytest.Prefix(t)
	k := prefix + ":d:n:{k}"
	b := connect(t, backend(s), prefix, newNotices())
	var mu sync.Mutex // guards between
	var between func()
	option := valkey.ClientOption{InitAddress: []string{s.Addr}}
	option.DialCtxFn = func(ctx context.Context, address string, d *net.Dialer, _ *tls.Config) (net.Conn, error) {
		c, err := d.DialContext(ctx, "tcp", address)
		return &halved{c, func() func() {
			mu.Lock()
			defer mu.Unlock()
			f := between
			between = nil
			return f
		}}, err
	}
	a := connect(t, remote.Valkey(option), prefix, newNotices())
	for name, seen := range map[string]string{"nothing seen": "", "another version seen": "1234567890123bad"} {
		t.Run(name, func(t *testing.T) {
			require.NoError(t, b.Delete(t.Context(), []string{k}))
			theirs, err := b.Lease(t.Context(), []remote.LeaseRequest{{Key: k, Token: "b", TTL: time.Minute}})
			require.NoError(t, err)
			require.True(t, theirs[0].Acquired)
			happened := false
			mu.Lock()
			between = func() {
				for range 2 { // once these are answered, what A had sent before is done
					_, err := b.GetOne(context.Background(), k)
					require.NoError(t, err)
				}
				w, err := b.Write(context.Background(), []remote.Write{{Key: k, Token: "b", Envelope: []byte("loaded by b"), Expires: time.Now().Add(time.Minute)}})
				require.NoError(t, err)
				happened = w[0].Stored
			}
			mu.Unlock()
			ours, err := a.Lease(t.Context(), []remote.LeaseRequest{{Key: k, Token: "a", TTL: time.Minute, Seen: seen}})
			require.NoError(t, err)
			require.True(t, happened)
			require.Equal(t, "loaded by b", ours[0].Item.Envelope())
		})
	}
}
