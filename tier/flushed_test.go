package tier_test

import (
	"context"
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
func TestI1AFlushPushEndsTheProof(t *testing.T) {
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
func TestI1WhatAFlushPushHasOvertakenIsJudgedByADelta(t *testing.T) {
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

// Guard: what comes with a lease is judged by what is proven when it is asked for, as what is read alone is. The only
// deltas are those of the reads.
//
//	A:      Delete(k) returns
//	B:      holds the lease of k; A waits for it
//	server: loads an image, with k = 0
//	A:      handles the flush invalidation, asks for the lease once more, and is given what is there
func TestI1WhatComesWithALeaseIsJudgedByAProof(t *testing.T) {
	srv := valkeytest.Start(t)
	_, c, hooks := imageOf(t, srv)
	require.NoError(t, c.Delete(bg, "k"))
	w := &world{t, remote.Valkey(valkey.ClientOption{InitAddress: []string{srv.Addr}}), "p", nil}
	other, _ := w.open(append(quiet, tier.WithRemoteTimeout(10*time.Second))...)
	loads, goOn := make(chan struct{}), make(chan struct{})
	var running sync.WaitGroup
	running.Go(func() {
		_, _ = cacheOf[int64](t, other).Get(bg, "k", func(context.Context, *tier.Entry) (int64, error) {
			close(loads)
			<-goOn
			return 1, nil
		})
	})
	release := sync.OnceFunc(func() { close(goOn) })
	t.Cleanup(func() { release(); running.Wait() })
	<-loads
	asked := make(chan struct{}, 100)
	hooks.After(func(op interpose.Op) error {
		if op == interpose.Lease {
			asked <- struct{}{}
		}
		return nil
	})
	hooks.Reach(func(ctx context.Context, op interpose.Op) error {
		if op == interpose.Delta && len(asked) < 2 { // the heartbeat's, or A's if the image comes before it has begun to wait
			select {
			case <-goOn:
			case <-ctx.Done():
			}
		}
		return ctx.Err()
	})
	read := make(chan int64)
	running.Go(func() { read <- lookup(t, c, is[int64](1)).Value })
	within(t, "the lease is asked for", func() bool { return len(asked) > 0 })
	srv.Do(t, "DEBUG", "RELOAD", "NOSAVE")
	require.Equal(t, int64(1), <-read)
}
