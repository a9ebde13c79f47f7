package breaker

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/internal/backend"
	"github.com/tiercache/tiercache/internal/remoteerr"
	"github.com/tiercache/tiercache/remote"
)

// answering answers writes and leases with an error for each key, by its first letter, which names its server too.
type answering struct {
	backend.Conn
	errs  map[byte]error
	moved atomic.Bool // another server has all keys
}

func (a *answering) Shard(key string) *backend.Shard {
	if a.moved.Load() {
		return &backend.Shard{Addr: "other"}
	}
	return &backend.Shard{Addr: key[:1]}
}

func (a *answering) Write(_ context.Context, writes []backend.Write) ([]backend.Written, error) {
	out := make([]backend.Written, len(writes))
	for i, w := range writes {
		out[i].Err = a.errs[w.Key[0]]
	}
	return out, nil
}

func (a *answering) Lease(_ context.Context, reqs []backend.LeaseRequest) ([]backend.Lease, error) {
	out := make([]backend.Lease, len(reqs))
	for i, r := range reqs {
		out[i].Err = a.errs[r.Key[0]]
		out[i].Acquired = out[i].Err == nil
		if r.Key[0] == 'v' {
			out[i] = backend.Lease{Item: backend.Item{Raw: "value", Present: true}}
		}
	}
	return out, nil
}

// told has what a connection tells of refusals, and ends them as a session does. It is to be called in a bubble.
func told(t *testing.T, a *answering) (g *Conn, lines func() []string) {
	nothing := func(*Outage) {}
	g = NewConn(a, 50*time.Millisecond, time.Second, nothing, nothing)
	var mu sync.Mutex
	var all []string
	tell := func(what string, k Kind, server string) {
		mu.Lock()
		defer mu.Unlock()
		all = append(all, fmt.Sprintf("%s: %v %s", what, k, server))
	}
	g.Refusals.Begun = func(k Kind, server string, err error) {
		tell("begun", k, server)
		go func() {
			for left := Brief; left > 0; left = g.EndRefusal(k, server) {
				select {
				case <-t.Context().Done():
					return
				case <-time.After(left):
				}
			}
			tell("ended", k, server)
		}()
	}
	return g, func() []string {
		synctest.Wait()
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(all)
	}
}

var errFull = fmt.Errorf("%w: %w", remote.ErrFull, remoteerr.Refusal("OOM command not allowed"))

func TestAnEntryThatIsReplacedWhileItIsReadIsNoRefusal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, _ := told(t, &answering{})
		read := func(it backend.Item, err error) {
			g.noteReads(Reads, []string{"k"}, []backend.Item{it}, err)
		}
		read(backend.Item{}, remoteerr.OfRest{Err: remoteerr.ErrReplaced})
		require.Empty(t, g.Refusals.Now())
		read(backend.Item{}, remoteerr.OfRest{Err: remoteerr.Refusal("NOPERM no")})
		require.Contains(t, g.Refusals.Now(), "reading a large entry")
		read(backend.Item{Raw: "small"}, nil)
		time.Sleep(3 * Brief)
		require.Contains(t, g.Refusals.Now(), "reading a large entry", "a small one was read")
		read(backend.Item{Raw: string(make([]byte, backend.LargeLen+1))}, nil)
		time.Sleep(3 * Brief)
		require.Empty(t, g.Refusals.Now())
	})
}

// A server that is as full as it may be refuses a write, and performs the next when something has expired.
func TestARefusalIsOneUntilTheKindWasPerformedForASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &answering{errs: map[byte]error{}}
		g, lines := told(t, a)
		for range 50 {
			for _, err := range []error{errFull, nil} {
				a.errs['k'] = err
				_, _ = g.Write(t.Context(), []backend.Write{{Key: "k"}})
				require.ErrorIs(t, g.Refusals.Now()["setting a value"], remote.ErrFull)
				time.Sleep(100 * time.Millisecond)
			}
		}
		require.Equal(t, []string{"begun: setting a value "}, lines())
		time.Sleep(2 * Brief)
		require.Empty(t, g.Refusals.Now())
		require.Equal(t, []string{"begun: setting a value ", "ended: setting a value "}, lines())
		require.False(t, g.Refusals.concerns(Sets))
	})
}

// That one server of a cluster performs what another one refuses ends nothing.
func TestWhatOneServerOfAClusterRefusesIsToldOfThatServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &answering{errs: map[byte]error{'1': errFull}}
		g, lines := told(t, a)
		g.Sharded.Store(true)
		for range 50 {
			_, _ = g.Write(t.Context(), []backend.Write{{Key: "11"}})
			_, _ = g.Write(t.Context(), []backend.Write{{Key: "21"}, {Key: "12"}})
			_, _ = g.Write(t.Context(), []backend.Write{{Key: "22"}})
			time.Sleep(Brief / 2)
		}
		require.Equal(t, []string{"begun: setting a value 1"}, lines())
		require.ErrorContains(t, g.Refusals.Now()["setting a value"], "at 1: the server is out of memory")
		_, _ = g.Write(t.Context(), []backend.Write{{Key: "22"}})
		time.Sleep(5 * Brief)
		require.NotEmpty(t, g.Refusals.Now(), "another server has performed it")
		a.errs = nil
		_, _ = g.Write(t.Context(), []backend.Write{{Key: "11"}})
		time.Sleep(2 * Brief)
		require.Empty(t, g.Refusals.Now())
	})
}

// A server that refuses to write, and so to give a lease, still has the value read that is there.
func TestAValueThatCameInPlaceOfALeaseDoesNotEndARefusal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &answering{errs: map[byte]error{'k': errFull}}
		g, lines := told(t, a)
		lease := func(key string) { _, _ = g.Lease(t.Context(), []backend.LeaseRequest{{Key: key}}) }
		lease("k")
		lease("v")
		time.Sleep(5 * Brief)
		require.Equal(t, []string{"begun: taking a lease "}, lines())
		a.errs = nil
		lease("k")
		time.Sleep(2 * Brief)
		require.Len(t, lines(), 2)
	})
}

// Memory that is full, or a disk, is a state of the server. That it has ended is shown by other kinds of requests, too.
func TestAStateOfTheServerEndsForAllKinds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &answering{errs: map[byte]error{'k': errFull}}
		g, lines := told(t, a)
		large := []backend.Write{{Key: "k", Envelope: make([]byte, backend.LargeLen+1)}}
		_, _ = g.Write(t.Context(), large)
		a.errs = nil
		g.noteChange(nil) // needs no room
		time.Sleep(5 * Brief)
		require.Len(t, lines(), 1)
		_, _ = g.Lease(t.Context(), []backend.LeaseRequest{{Key: "k"}})
		time.Sleep(2 * Brief)
		require.Equal(t, []string{"begun: setting a large value ", "ended: setting a large value "}, lines())
		require.Zero(t, g.Refusals.stated.Load())

		a.errs = map[byte]error{'k': remoteerr.Refusal("NOPERM no")} // which is of the kind
		_, _ = g.Write(t.Context(), large)
		a.errs = nil
		_, _ = g.Lease(t.Context(), []backend.LeaseRequest{{Key: "k"}})
		time.Sleep(5 * Brief)
		require.Len(t, lines(), 3)
	})
}

func TestWhatAServerRefusedThatHasNoKeysAnyMoreIsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &answering{errs: map[byte]error{'1': errFull}}
		g, lines := told(t, a)
		g.Sharded.Store(true)
		_, _ = g.Write(t.Context(), []backend.Write{{Key: "1"}})
		time.Sleep(5 * Brief)
		require.Equal(t, []string{"begun: setting a value 1"}, lines())
		a.moved.Store(true)
		time.Sleep(2 * Brief)
		require.Len(t, lines(), 2)
		require.Empty(t, g.Refusals.Now())
	})
}
