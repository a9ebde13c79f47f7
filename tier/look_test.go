package tier_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/internal/mono"
	"github.com/tiercache/tiercache/remote"
	"github.com/tiercache/tiercache/tier"
)

// lookedAt is a backend that counts how often its connection was to look.
type lookedAt struct {
	remote.Backend
	times atomic.Int64
}

type lookedConn struct {
	remote.Conn
	times *atomic.Int64
}

func (l *lookedAt) Connect(ctx context.Context, o remote.Options) (remote.Conn, error) {
	c, err := l.Backend.Connect(ctx, o)
	return lookedConn{c, &l.times}, err
}

func (c lookedConn) Look(mono.Time) { c.times.Add(1) }

// Whoever shares what another asks for has the connection look whether that has come.
func TestWhoSharesALoadHasTheConnectionLook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := &lookedAt{Backend: remote.NewEmbedded(0)}
		s, err := tier.Open(t.Context(), tier.WithRemote(server))
		require.NoError(t, err)
		defer s.Close()
		c := view[string](t, s, "docs")
		loads := make(chan struct{})
		var all sync.WaitGroup
		get := func() {
			v, err := c.Get(t.Context(), "k", func(context.Context, *tier.Entry) (string, error) { <-loads; return "v", nil })
			require.NoError(t, err)
			require.Equal(t, "v", v)
		}
		all.Go(get)
		synctest.Wait()
		require.Zero(t, server.times.Load(), "who asks reads")
		all.Go(get)
		all.Go(func() {
			vs, err := c.GetMany(t.Context(), []string{"k"}, func(context.Context, []string, tier.Entries) (map[string]string, error) { return nil, nil })
			require.NoError(t, err)
			require.Len(t, vs, 1)
		})
		synctest.Wait()
		require.EqualValues(t, 2, server.times.Load())
		close(loads)
		all.Wait()
	})
}
