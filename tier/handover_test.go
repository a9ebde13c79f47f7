package tier_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/internal/backend"
	"github.com/tiercache/tiercache/internal/interpose"
	"github.com/tiercache/tiercache/remote"
	"github.com/tiercache/tiercache/tier"
)

// oneLease grants one lease of each request for several, as if another process had held the others for a moment.
type oneLease struct {
	*interpose.Backend
	mu    sync.Mutex
	asked []int // how many leases each request was for
}

func (d *oneLease) Connect(ctx context.Context, o backend.Options) (backend.Conn, error) {
	c, err := d.Backend.Connect(ctx, o)
	return &oneLeaseConn{c, d}, err
}

type oneLeaseConn struct {
	backend.Conn
	of *oneLease
}

func (c *oneLeaseConn) Lease(ctx context.Context, reqs []backend.LeaseRequest) ([]backend.Lease, error) {
	c.of.mu.Lock()
	c.of.asked = append(c.of.asked, len(reqs))
	c.of.mu.Unlock()
	leases, err := c.Conn.Lease(ctx, reqs[:1])
	for range reqs[1:] {
		leases = append(leases, backend.Lease{Wait: time.Millisecond})
	}
	return leases, err
}

// A run leaves calls to a second, that one to a third, while the first one ends: each asks which calls are its own.
// The race detector watches.
func TestCallsThatAreLeftToOneRunAfterAnotherHaveOneOwner(t *testing.T) {
	d := &oneLease{Backend: &interpose.Backend{Inner: remote.NewEmbedded(0)}}
	s, err := tier.Open(t.Context(), tier.WithRemote(d), tier.WithRemoteTimeout(10*time.Second))
	require.NoError(t, err)
	defer s.Close()
	c := view[string](t, s, "docs")
	got, err := c.GetMany(t.Context(), []string{"a", "b", "c", "d"}, func(_ context.Context, keys []string, _ tier.Entries) (map[string]string, error) {
		values := make(map[string]string, len(keys))
		for _, key := range keys {
			values[key] = "of " + key
		}
		return values, nil
	})
	require.NoError(t, err)
	require.Len(t, got, 4)
	d.mu.Lock()
	defer d.mu.Unlock()
	require.Equal(t, []int{4, 3, 2, 1}, d.asked)
}
