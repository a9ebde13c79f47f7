package coherence

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/internal/valkeytest"
	"github.com/tiercache/tiercache/tier"
)

// kept reads keys that have copies here, or had: none is loaded. It returns when all are local copies again.
func (n *node) kept(keys []string) {
	n.t.Helper()
	loads := n.store.Stats().Loads
	require.Eventually(n.t, func() bool {
		local := 0
		for _, k := range keys {
			r, err := n.cache.Lookup(context.Background(), k, func(_ context.Context, e *tier.Entry) (int64, error) {
				e.DependsOn("doc")
				return 1, nil
			})
			require.NoError(n.t, err)
			if r.Origin == tier.Local {
				local++
			}
		}
		return local == len(keys)
	}, patience, time.Millisecond)
	require.Equal(n.t, loads, n.store.Stats().Loads, "nothing is loaded again")
}

// fill loads keys, and returns when they are stored as well.
func (n *node) fill(count int) (keys []string) {
	n.t.Helper()
	for i := range count {
		keys = append(keys, fmt.Sprint("k", i))
		n.get(keys[i], 1)
	}
	require.Eventually(n.t, func() bool { return n.store.Stats().Fills == int64(count) }, patience, time.Millisecond)
	return keys
}

// Local copies outlive a failover to a replica that lacks nothing, and a restart from what the server has kept. What
// changes from then on is heard, and of a namespace with keys that were set nothing is believed.
func TestCopiesOutliveTheirServer(t *testing.T) {
	for name, begin := range map[string]func(t *testing.T) (addr string, replace func() string){
		"failover": func(t *testing.T) (string, func() string) {
			primary, replica, _ := pair(t)
			return primary.Addr, func() string {
				replica.AwaitReplica(t, primary)
				primary.Kill()
				replica.Follow(t, "")
				return replica.Addr
			}
		},
		"restart": func(t *testing.T) (string, func() string) {
			s := valkeytest.Start(t, valkeytest.Persist(), valkeytest.Config("appendfsync", "always"))
			return s.Addr, func() string {
				s.Kill()
				s.Restart()
				return s.Addr
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			addr, replace := begin(t)
			a, b := newNode(t, addr, "p"), newNode(t, addr, "p")
			keys := b.fill(20)
			set, err := tier.New[int64](a.store, "set")
			require.NoError(t, err)
			require.NoError(t, set.Set(context.Background(), "k", 1))
			read := func(truth int64) int64 {
				c, err := tier.New[int64](b.store, "set")
				require.NoError(t, err)
				v, err := c.Get(context.Background(), "k", func(context.Context, *tier.Entry) (int64, error) { return truth, nil })
				require.NoError(t, err)
				return v
			}
			require.Equal(t, int64(1), read(0))
			addr = replace()
			for _, n := range []*node{a, b} {
				n.moves(addr)
				n.synced()
			}
			b.kept(keys)
			require.Equal(t, int64(2), read(2), "a later Set may have been lost")
			_, err = a.store.InvalidateSource(context.Background(), "doc")
			require.NoError(t, err)
			b.synced()
			require.Equal(t, int64(3), b.get(keys[0], 3))
		})
	}
}
