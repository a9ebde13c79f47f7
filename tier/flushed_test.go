package tier_test

import (
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/valkey-io/valkey-go"

	"github.com/tiercache/tiercache/internal/interpose"
	"github.com/tiercache/tiercache/internal/valkeytest"
	"github.com/tiercache/tiercache/remote"
	"github.com/tiercache/tiercache/tier"
)

// imageOf has a server hold an image with k = 0 and go on to k = 1, set by this store.
func imageOf(t *testing.T, srv *valkeytest.Server) (s *tier.Store, c *tier.Cache[int64], hooks *interpose.Backend) {
	w := &world{t, remote.Valkey(valkey.ClientOption{InitAddress: []string{srv.Addr}}), "p", nil}
	s, hooks = w.open(append(quiet, tier.WithRemoteTimeout(10*time.Second))...)
	c = cacheOf[int64](t, s)
	require.NoError(t, c.Set(bg, "k", 0))
	srv.Do(t, "SAVE")
	require.NoError(t, c.Set(bg, "k", 1))
	require.NoError(t, s.Sync(bg))
	return s, c, hooks
}

// loadImage has it go on with the image, under the same history and over the same
// connections, and waits until its flush invalidation was handled.
func loadImage(t *testing.T, srv *valkeytest.Server, s *tier.Store) {
	srv.Do(t, "DEBUG", "RELOAD", "NOSAVE")
	within(t, "the invalidation of everything is applied", func() bool { return s.Health(bg).Staleness > time.Hour })
}

// Guard: Tail.Lost, by which no plain read is judged by what was proven before. The only
// deltas are those of the reads: the heartbeat that the invalidation asks for waits for them.
//
//	A:      Set(k, 1) returns
//	server: loads an image, with k = 0
//	A:      handles the flush invalidation, and reads k
func TestI1AFlushNoticeEndsTheProof(t *testing.T) {
	for way, options := range map[string][]tier.CallOption{"local": nil, "not local": {tier.NoLocal()}, "fresh": {tier.Fresh()}} {
		t.Run(way, func(t *testing.T) {
			srv := valkeytest.Start(t)
			s, c, hooks := imageOf(t, srv)
			goOn := make(chan struct{})
			release := sync.OnceFunc(func() { close(goOn) })
			t.Cleanup(release)
			hooks.Before(func(op interpose.Op) error {
				if op == interpose.Delta {
					<-goOn
				}
				return nil
			})
			loadImage(t, srv, s)
			require.Equal(t, int64(1), lookup(t, c, is[int64](1), options...).Value)
			release()
		})
	}
}

// Guard: connectionChanged. A read without a delta may be answered after the flush invalidation.
//
//	A:      Set(k, 1) returns; A asks for k, without a delta
//	server: loads an image, with k = 0, and answers
//	A:      handles the flush invalidation, and then the answer
func TestI1WhatAFlushNoticeHasOvertakenIsJudgedByADelta(t *testing.T) {
	for _, first := range []bool{false, true} {
		leaseFirst = first
		read := readOp()
		srv := valkeytest.Start(t)
		s, c, hooks := imageOf(t, srv)
		var once sync.Once
		asked := make(chan struct{}) // the read has been answered, and asks for a delta
		release := sync.OnceFunc(func() { close(asked) })
		t.Cleanup(release)
		deltas := 0
		var mu sync.Mutex // guards deltas
		hooks.Before(func(op interpose.Op) error {
			switch op {
			case read:
				once.Do(func() { loadImage(t, srv, s) })
			case interpose.Delta: // of the heartbeat first, and then of the read
				mu.Lock()
				deltas++
				if deltas == 2 {
					release()
				}
				mu.Unlock()
				<-asked
			}
			return nil
		})
		got := lookup(t, c, is[int64](1), tier.NoLocal()).Value
		release()
		require.Equal(t, int64(1), got)
	}
	leaseFirst = false
}
