package tier_test

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/internal/backend"
	"github.com/tiercache/tiercache/internal/changelog"
	"github.com/tiercache/tiercache/remote"
	"github.com/tiercache/tiercache/tier"
)

// ofServers is a remote tier that can tell that another server may answer.
type ofServers struct {
	backend.Backend
	moved  func()
	within atomic.Bool  // it is told while a read is answered, and the log cannot be read from then on
	plain  atomic.Int64 // reads without a delta
	cut    atomic.Bool
}

func (b *ofServers) Connect(ctx context.Context, o backend.Options) (backend.Conn, error) {
	b.moved = o.Events.Moved
	c, err := b.Backend.Connect(ctx, o)
	return connOfServers{c, b}, err
}

type connOfServers struct {
	backend.Conn
	b *ofServers
}

func (c connOfServers) GetOne(ctx context.Context, key string) (backend.Item, error) {
	c.b.plain.Add(1)
	it, err := c.Conn.GetOne(ctx, key)
	if c.b.within.Load() {
		c.b.cut.Store(true)
		c.b.moved()
	}
	return it, err
}

func (c connOfServers) Delta(ctx context.Context, q changelog.DeltaQuery) (changelog.Delta, error) {
	if c.b.cut.Load() {
		return changelog.Delta{}, errCut
	}
	return c.Conn.Delta(ctx, q)
}

// openOfServers opens a store that has read the keys 1 and 2, and has a copy of 1.
func openOfServers(t *testing.T) (*ofServers, *tier.Cache[int64]) {
	b := &ofServers{Backend: remote.NewEmbedded(0)}
	s, err := tier.Open(t.Context(), tier.WithRemote(b), tier.WithHeartbeat(20*time.Millisecond), tier.WithMaxStaleness(time.Hour))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	c := cacheOf[int64](t, s)
	require.NoError(t, c.Set(t.Context(), "1", 1))
	require.NoError(t, c.Set(t.Context(), "2", 2))
	require.Equal(t, tier.Local, find(t, c, "1", none).Origin)
	return b, c
}

// When another server may answer, copies are believed by the proof that there is, and what is read without a delta is not, until the log was
// read once more:
//
//	heartbeat: is answered by the old primary
//	client:    turns to the new one, of which writes were lost, and has that recorded in the log
//	reader:    reads an older value there, and knows what the old primary's log had
func TestI2WhatAnotherServerAnswersIsJudgedByALaterProof(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, c := openOfServers(t)
		time.Sleep(100 * time.Millisecond)
		plain := func() bool {
			before := b.plain.Load()
			require.Equal(t, int64(2), find(t, c, "2", none, tier.NoLocal()).Value)
			return b.plain.Load() > before
		}
		require.True(t, plain())
		b.moved()
		require.Equal(t, tier.Local, find(t, c, "1", none).Origin, "no invalidation of it is lost")
		require.False(t, plain(), "it is judged by what the server before had said")
		time.Sleep(100 * time.Millisecond)
		require.True(t, plain())
		require.Equal(t, tier.Local, find(t, c, "1", none).Origin)
	})
}

// What was asked for before another server may answer is not judged by the proof of then.
func TestI2AReadThatAMoveOvertakesIsJudgedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, c := openOfServers(t)
		time.Sleep(100 * time.Millisecond)
		b.within.Store(true)
		r := find(t, c, "2", is[int64](3), tier.NoLocal())
		require.Equal(t, tier.Loaded, r.Origin, "it was given out, though the log could not be read")
		require.Equal(t, tier.Local, find(t, c, "1", none).Origin, "copies are believed by the proof that there is")
	})
}
