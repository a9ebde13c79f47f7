package tier_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/valkey-io/valkey-go"

	"github.com/tiercache/tiercache/internal/backend"
	"github.com/tiercache/tiercache/internal/interpose"
	"github.com/tiercache/tiercache/internal/valkeytest"
	"github.com/tiercache/tiercache/remote"
	"github.com/tiercache/tiercache/tier"
)

// Where a namespace mostly misses, a lease is taken along with the read, also of
// what turns out to be there.
func TestALeaseThatWasTakenAlongWithTheReadIsPutToUse(t *testing.T) {
	s := valkeytest.Shared(t)
	for name, c := range map[string]struct {
		spoilt bool
		loads  int64
	}{"a value that is good ends it": {false, 0}, "a value that is not is loaded under it": {true, 1}} {
		t.Run(name, func(t *testing.T) {
			f := &fleet{t: t, server: s, prefix: valkeytest.Prefix(t), tracked: true}
			wire := newFickle(remote.Valkey(valkey.ClientOption{InitAddress: []string{s.Addr}}))
			a, b := f.process(tier.WithRemote(wire)), f.process(tier.WithValkey(s.URL()))
			ca, cb := view[string](t, a, "docs"), view[string](t, b, "docs")
			find(t, cb, "k", is("of b", "doc"))
			filled(t, b, 1)
			for i := range 10 {
				find(t, ca, string(rune('0'+i)), is("missing"))
			}
			if c.spoilt {
				_, err := b.InvalidateSource(t.Context(), "doc")
				require.NoError(t, err)
			}
			eventually(t, "all is stored", func() bool { return a.Stats().Fills == 10 })
			f.sync()
			wire.count(interpose.Get, interpose.Lease)
			before := a.Stats().Loads
			want := map[bool]string{false: "of b", true: "anew"}[c.spoilt]
			require.Equal(t, want, find(t, ca, "k", is("anew", "doc")).Value)
			require.Equal(t, c.loads, a.Stats().Loads-before)
			require.Equal(t, 1, wire.count(interpose.Lease))
			require.Zero(t, wire.count(interpose.Get))
			if !c.spoilt {
				eventually(t, "it is given up", func() bool { return wire.count(interpose.Release) == 1 })
			}
			eventually(t, "no lease is left", func() bool { return len(f.keys()) == 11 })
		})
	}
}

// unread grants leases, and refuses to read the key.
type unread struct {
	*interpose.Backend
	released atomic.Int64
}

func (d *unread) Connect(ctx context.Context, o backend.Options) (backend.Conn, error) {
	c, err := d.Backend.Connect(ctx, o)
	return &unreadConn{c, d}, err
}

type unreadConn struct {
	backend.Conn
	of *unread
}

func (c *unreadConn) Lease(ctx context.Context, reqs []backend.LeaseRequest) ([]backend.Lease, error) {
	leases, err := c.Conn.Lease(ctx, reqs)
	for i := range leases {
		leases[i].Err = remote.ErrFull // an error of the server, and no sign that it is away
	}
	return leases, err
}

func (c *unreadConn) Release(ctx context.Context, keys []string, token string) error {
	c.of.released.Add(int64(len(keys)))
	return c.Conn.Release(ctx, keys, token)
}

// Others need not wait until a lease expires that cannot be used.
func TestALeaseThatCameWithAnErrorIsGivenUp(t *testing.T) {
	d := &unread{Backend: &interpose.Backend{Inner: remote.NewEmbedded(0)}}
	s, err := tier.Open(t.Context(), tier.WithRemote(d), tier.WithRemoteTimeout(10*time.Second))
	require.NoError(t, err)
	defer s.Close()
	c := view[string](t, s, "docs")
	for i := range 20 { // from the tenth on, leases are asked for along with the read
		require.Equal(t, "loaded", find(t, c, fmt.Sprint(i), is("loaded")).Value)
		eventually(t, "it is given up", func() bool { return d.released.Load() == int64(i+1) })
	}
}
