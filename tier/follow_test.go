package tier_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/valkey-io/valkey-go"

	"github.com/tiercache/tiercache/internal/backend"
	"github.com/tiercache/tiercache/internal/interpose"
	"github.com/tiercache/tiercache/internal/valkeytest"
	"github.com/tiercache/tiercache/remote"
	"github.com/tiercache/tiercache/tier"
)

// inShards is a remote tier of which a store believes that it is a cluster.
type inShards struct{ backend.Backend }

func (b inShards) Connect(ctx context.Context, o backend.Options) (backend.Conn, error) {
	c, err := b.Backend.Connect(ctx, o)
	if err != nil {
		return nil, err
	}
	return shardedConn{c}, nil
}

type shardedConn struct{ backend.Conn }

func (shardedConn) Shard(string) *backend.Shard { return new(backend.Shard) }

var errDialledAnew = errors.New("the client has made another connection")

// logFails returns a remote tier whose change log cannot be read the first times.
func logFails(b backend.Backend, times int64) (failing backend.Backend, reads *atomic.Int64) {
	reads = new(atomic.Int64)
	hooks := &interpose.Backend{Inner: b}
	hooks.Before(func(op interpose.Op) error {
		if op == interpose.Delta && reads.Add(1) <= times {
			return errDialledAnew
		}
		return nil
	})
	return hooks, reads
}

// Regression: one Open of some hundred in a cluster failed, with no primary for a slot: the client made another
// connection to a server while the log was asked for over the one before.
func TestOpenInAClusterAsksAgainForALogThatDidNotAnswer(t *testing.T) {
	t.Run("embedded", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b, reads := logFails(remote.NewEmbedded(0), 3)
			s, err := tier.Open(t.Context(), tier.WithRemote(inShards{b}))
			require.NoError(t, err)
			require.Greater(t, reads.Load(), int64(3))
			require.NoError(t, s.Close())
		})
	})
	t.Run("cluster", func(t *testing.T) {
		b, reads := logFails(remote.Valkey(valkey.ClientOption{InitAddress: valkeytest.SharedCluster(t).Addrs()}), 1)
		s, err := tier.Open(t.Context(), tier.WithRemote(b), tier.WithPrefix(valkeytest.Prefix(t)))
		require.NoError(t, err)
		require.Greater(t, reads.Load(), int64(1))
		require.NoError(t, s.Close())
	})
}

// It does so for a second, or until the caller gives up; and where there is one server its first answer counts.
func TestOpenDoesNotAskForALogForEver(t *testing.T) {
	for name, c := range map[string]struct {
		cluster         bool
		patience        time.Duration // of the caller
		atLeast, atMost time.Duration
	}{
		"a cluster":                     {true, time.Minute, time.Second, 1100 * time.Millisecond},
		"a cluster, and a caller's end": {true, 100 * time.Millisecond, 100 * time.Millisecond, 100 * time.Millisecond},
		"the only server":               {false, time.Minute, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b, reads := logFails(remote.NewEmbedded(0), 1<<40)
				if c.cluster {
					b = inShards{b}
				}
				ctx, cancel := context.WithTimeout(t.Context(), c.patience)
				defer cancel()
				begun := time.Now()
				_, err := tier.Open(ctx, tier.WithRemote(b))
				require.ErrorIs(t, err, tier.ErrUnavailable)
				require.ErrorIs(t, err, errDialledAnew)
				took := time.Since(begun)
				require.GreaterOrEqual(t, took, c.atLeast)
				require.LessOrEqual(t, took, c.atMost)
				require.Equal(t, c.cluster, reads.Load() > 1)
			})
		})
	}
}
