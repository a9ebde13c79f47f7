package tier_test

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/internal/backend"
	"github.com/tiercache/tiercache/internal/interpose"
	"github.com/tiercache/tiercache/remote"
	"github.com/tiercache/tiercache/tier"
)

// slowRoad has writes without a lease arrive long after they were given up.
type slowRoad struct {
	backend.Backend
	slow *bool
}

type slowConn struct {
	backend.Conn
	slow *bool
}

func (r slowRoad) Connect(ctx context.Context, o backend.Options) (backend.Conn, error) {
	c, err := r.Backend.Connect(ctx, o)
	return slowConn{c, r.slow}, err
}

func (c slowConn) Write(ctx context.Context, writes []backend.Write) ([]backend.Written, error) {
	for i := range writes {
		if *c.slow && !writes[i].Before.IsZero() {
			writes[i].Before = writes[i].Before.Add(-time.Hour)
		}
	}
	return c.Conn.Write(ctx, writes)
}

func TestASetThatCameTooLateIsAnErrorAndKeptNowhere(t *testing.T) {
	hub, slow := remote.NewEmbedded(0), false
	s, err := tier.Open(bg, tier.WithRemote(slowRoad{hub, &slow}), tier.WithRemoteTimeout(10*time.Second))
	require.NoError(t, err)
	defer s.Close()
	c := cacheOf[int64](t, s)
	require.NoError(t, c.Set(bg, "k", 1))
	slow = true
	require.ErrorIs(t, c.Set(bg, "k", 2), tier.ErrUnavailable)
	require.Equal(t, int64(1), lookup(t, c, none).Value)
}

// A write can be late because the server's clock was set forwards: the store does not
// wait for the heartbeat to find that, or the server would refuse every Set until then.
func TestASetThatCameTooLateHasTheServersClockHeard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := true
		hooks := &interpose.Backend{Inner: remote.NewEmbedded(0)}
		s, err := tier.Open(bg, tier.WithRemote(slowRoad{hooks, &slow}), tier.WithHeartbeat(time.Hour), tier.WithMaxStaleness(2*time.Hour))
		require.NoError(t, err)
		defer s.Close()
		c := cacheOf[int64](t, s)
		synctest.Wait() // it has read all that it reads at the start
		var heard atomic.Int64
		hooks.Before(func(op interpose.Op) error {
			if op == interpose.Delta {
				heard.Add(1)
			}
			return nil
		})
		require.ErrorIs(t, c.Set(bg, "k", 1), tier.ErrUnavailable)
		synctest.Wait()
		require.Equal(t, int64(1), heard.Load())
	})
}

// deafConn sends what is written to it when the caller that wrote it has given up.
type deafConn struct {
	backend.Conn
	deaf    *bool
	written chan backend.Written
}

type deafRoad struct {
	backend.Backend
	deaf    *bool
	written chan backend.Written
}

func (r deafRoad) Connect(ctx context.Context, o backend.Options) (backend.Conn, error) {
	c, err := r.Backend.Connect(ctx, o)
	return deafConn{c, r.deaf, r.written}, err
}

func (c deafConn) Write(ctx context.Context, writes []backend.Write) ([]backend.Written, error) {
	if !*c.deaf {
		return c.Conn.Write(ctx, writes)
	}
	<-ctx.Done()
	written, err := c.Conn.Write(context.WithoutCancel(ctx), writes)
	if err == nil {
		c.written <- written[0]
	}
	return nil, ctx.Err()
}

// Guard: what has been given up is refused. Requests share a context, and so the
// later of them are given up sooner.
//
//	A: Set(k, 2) gets no answer, and is given up
//	A: Set(k, 3) is acknowledged
//	the first one arrives
func TestI1ASetThatWasGivenUpIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const timeout = 64 * time.Millisecond
		deaf, written := false, make(chan backend.Written, 1)
		s, err := tier.Open(bg, tier.WithRemote(deafRoad{remote.NewEmbedded(0), &deaf, written}), tier.WithRemoteTimeout(timeout))
		require.NoError(t, err)
		defer s.Close()
		c := cacheOf[int64](t, s)
		time.Sleep(timeout) // until no caller waits
		require.NoError(t, c.Set(bg, "k", 1))
		time.Sleep(timeout/16 - 1)
		deaf = true
		require.ErrorIs(t, c.Set(bg, "k", 2), tier.ErrUnavailable)
		require.Equal(t, backend.Written{}, <-written)
		deaf = false
		require.Equal(t, int64(1), lookup(t, c, none).Value)
	})
}
