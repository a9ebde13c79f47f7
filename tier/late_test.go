package tier_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/remote"
	"github.com/tiercache/tiercache/tier"
)

// slowRoad has writes without a lease arrive long after they were given up.
type slowRoad struct {
	remote.Backend
	slow *bool
}

type slowConn struct {
	remote.Conn
	slow *bool
}

func (r slowRoad) Connect(ctx context.Context, o remote.Options) (remote.Conn, error) {
	c, err := r.Backend.Connect(ctx, o)
	return slowConn{c, r.slow}, err
}

func (c slowConn) Write(ctx context.Context, writes []remote.Write) ([]remote.Written, error) {
	for i := range writes {
		if *c.slow && !writes[i].Before.IsZero() {
			writes[i].Before = writes[i].Before.Add(-time.Hour)
		}
	}
	return c.Conn.Write(ctx, writes)
}

func TestASetThatCameTooLateIsAnErrorAndKeptNowhere(t *testing.T) {
	hub, slow := remote.NewEmbedded(0), false
	s, err := tier.Open(bg, tier.WithRemote(slowRoad{hub, &slow}))
	require.NoError(t, err)
	defer s.Close()
	c := cacheOf[int64](t, s)
	require.NoError(t, c.Set(bg, "k", 1))
	slow = true
	require.ErrorIs(t, c.Set(bg, "k", 2), tier.ErrUnavailable)
	require.Equal(t, int64(1), lookup(t, c, none).Value)
}
