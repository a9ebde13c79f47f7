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
func logFails(b backend.Backend, times int64, err error) (failing backend.Backend, reads *atomic.Int64) {
	reads = new(atomic.Int64)
	hooks := &interpose.Backend{Inner: b}
	hooks.Before(func(op interpose.Op) error {
		if op == interpose.Delta && reads.Add(1) <= times {
			return err
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
			b, reads := logFails(remote.NewEmbedded(0), 3, errDialledAnew)
			s, err := tier.Open(t.Context(), tier.WithRemote(inShards{b}))
			require.NoError(t, err)
			require.Greater(t, reads.Load(), int64(3))
			require.NoError(t, s.Close())
		})
	})
	t.Run("cluster", func(t *testing.T) {
		b, reads := logFails(remote.Valkey(valkey.ClientOption{InitAddress: valkeytest.SharedCluster(t).Addrs()}), 1, errDialledAnew)
		s, err := tier.Open(t.Context(), tier.WithRemote(b), tier.WithPrefix(valkeytest.Prefix(t)), tier.WithRemoteTimeout(10*time.Second))
		require.NoError(t, err)
		require.Greater(t, reads.Load(), int64(1))
		require.NoError(t, s.Close())
	})
}

// forGood is an error that no waiting ends.
type forGood struct{}

func (forGood) Error() string { return "never" }
func (forGood) MayPass() bool { return false }

// Open asks again until the caller's context ends, or for 10 s if that has no deadline; and not at all where it is of no use.
func TestOpenWaitsAsLongAsItsContextSays(t *testing.T) {
	for name, c := range map[string]struct {
		cluster  bool
		patience time.Duration // of the caller; 0: no deadline
		err      error
		takes    time.Duration
	}{
		"a cluster":               {true, time.Minute, errDialledAnew, time.Minute},
		"a caller without an end": {false, 0, errDialledAnew, 10 * time.Second},
		"a hasty caller":          {false, 100 * time.Millisecond, errDialledAnew, 100 * time.Millisecond},
		"the only server":         {false, time.Minute, errDialledAnew, time.Minute},
		"for good":                {false, time.Minute, forGood{}, 0},
		"for good, in a cluster":  {true, time.Minute, forGood{}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b, reads := logFails(remote.NewEmbedded(0), 1<<40, c.err)
				if c.cluster {
					b = inShards{b}
				}
				ctx, cancel := t.Context(), func() {}
				if c.patience > 0 {
					ctx, cancel = context.WithTimeout(t.Context(), c.patience)
				}
				defer cancel()
				begun := time.Now()
				_, err := tier.Open(ctx, tier.WithRemote(b))
				require.ErrorIs(t, err, tier.ErrUnavailable)
				require.ErrorIs(t, err, c.err)
				require.Equal(t, c.takes, time.Since(begun))
				require.Equal(t, c.takes > 0, reads.Load() > 1)
			})
		})
	}
}
