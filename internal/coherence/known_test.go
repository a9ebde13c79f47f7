package coherence

import (
	"context"
	"io"
	"log/slog"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/internal/backend"
	"github.com/tiercache/tiercache/internal/faultproxy"
	"github.com/tiercache/tiercache/internal/interpose"
	"github.com/tiercache/tiercache/internal/valkeytest"
	"github.com/tiercache/tiercache/remote"
	"github.com/tiercache/tiercache/tier"
)

// Violations that the fault battery led to, each reduced to its schedule. None
// of them happens any more.

// node is one store behind a proxy of its own.
type node struct {
	t     *testing.T
	store *tier.Store
	cache *tier.Cache[int64]
	proxy *faultproxy.Proxy
}

const nodeStaleness = 200 * time.Millisecond

func newNode(t *testing.T, addr, prefix string, options ...tier.Option) *node {
	p, err := faultproxy.Start(addr, 1)
	require.NoError(t, err)
	t.Cleanup(p.Close)
	s, err := tier.Open(context.Background(), append([]tier.Option{tier.WithValkey("valkey://" + p.Addr()), tier.WithPrefix(prefix),
		tier.WithMaxStaleness(nodeStaleness), tier.WithHeartbeat(20 * time.Millisecond), tier.WithRemoteTimeout(10 * time.Second),
		tier.WithLogger(slog.New(slog.NewTextHandler(io.Discard, nil)))}, options...)...)
	require.NoError(t, err)
	t.Cleanup(func() { s.Close() })
	c, err := tier.New[int64](s, "known")
	require.NoError(t, err)
	return &node{t, s, c, p}
}

func (n *node) get(key string, truth int64, options ...tier.CallOption) int64 {
	n.t.Helper()
	v, err := n.cache.Get(context.Background(), key, func(_ context.Context, e *tier.Entry) (int64, error) {
		e.DependsOn("doc")
		return truth, nil
	}, options...)
	require.NoError(n.t, err)
	return v
}

// synced waits until the store has heard the server that it is connected to.
func (n *node) synced() {
	n.t.Helper()
	require.Eventually(n.t, func() bool { return n.store.Sync(context.Background()) == nil }, patience, time.Millisecond)
}

// moves points the node at another server.
func (n *node) moves(addr string) {
	n.proxy.Retarget(addr)
	n.proxy.Cut()
}

// I1, I6 for explicit writes:
//
//	A:       Set(k, 1); the replica has it
//	replica: lags
//	A:       Set(k, 2) returns
//	primary: dies; the replica is promoted
//	A:       reads k
func TestI6ASetThatAFailoverLostIsNotAnOldValue(t *testing.T) {
	primary, replica, link := pair(t)
	a := newNode(t, primary.Addr, "p")
	b := newNode(t, primary.Addr, "p")
	require.NoError(t, a.cache.Set(context.Background(), "k", 1))
	replica.AwaitReplica(t, primary)
	link.Freeze(faultproxy.ToClient)
	require.NoError(t, a.cache.Set(context.Background(), "k", 2))
	require.Equal(t, int64(2), b.get("k", 2))
	primary.Kill()
	replica.Follow(t, "")
	for _, n := range []*node{a, b} {
		n.moves(replica.Addr)
		n.synced()
	}
	require.Equal(t, int64(2), a.get("k", 2), "A has set 2 itself, and read 2 before")
	require.Equal(t, int64(2), b.get("k", 2), "B has read 2 before")
}

// I1, I2, I5 once a split has ended, found by the battery:
//
//	A, B:    know of a change that the replica lacks
//	replica: is promoted, and B turns to it: it lost history, so B renews the log
//	B:       loads k
//	A:       InvalidateSource returns; the old primary has acknowledged it
//	B:       changes something else
//	A:       turns to the new primary, whose log goes further than A's, and knows
//	         nothing of A's change
//	A, B:    read k
func TestI5AChangeOfALogThatIsGivenUpIsNotLost(t *testing.T) {
	primary, replica, link := pair(t)
	a, b := newNode(t, primary.Addr, "p"), newNode(t, primary.Addr, "p")
	link.Freeze(faultproxy.ToClient)
	_, err := a.store.InvalidateSource(context.Background(), "other")
	require.NoError(t, err)
	b.synced()
	replica.Follow(t, "")
	b.moves(replica.Addr)
	b.synced()
	require.Equal(t, int64(1), b.get("k", 1))
	require.Eventually(t, func() bool { return b.store.Stats().Fills == 1 }, patience, time.Millisecond)
	_, err = a.store.InvalidateSource(context.Background(), "doc")
	require.NoError(t, err)
	_, err = b.store.InvalidateSource(context.Background(), "another")
	require.NoError(t, err)
	primary.Kill()
	a.moves(replica.Addr)
	a.synced()
	require.Equal(t, int64(2), a.get("k", 2), "A has changed it itself")
	require.Eventually(t, func() bool { return !a.store.Health(context.Background()).UndeliveredAll }, patience, time.Millisecond)
	require.Equal(t, int64(2), b.get("k", 2, tier.Fresh()))
}

// The same with a restart from an older snapshot:
//
//	A:      Set(k, 1); the server saves; Set(k, 2) returns
//	server: is killed, and restarted from what it had saved
func TestI6ASetThatARestartLostIsNotAnOldValue(t *testing.T) {
	s := valkeytest.Start(t)
	a, b := newNode(t, s.Addr, "p"), newNode(t, s.Addr, "p")
	require.NoError(t, a.cache.Set(context.Background(), "k", 1))
	s.Do(t, "SAVE")
	require.NoError(t, a.cache.Set(context.Background(), "k", 2))
	require.Equal(t, int64(2), b.get("k", 2))
	s.Kill()
	s.Restart()
	kept, err := s.Do(t, "DBSIZE").AsInt64()
	require.NoError(t, err)
	require.Positive(t, kept, "it has what it had saved")
	for _, n := range []*node{a, b} {
		n.synced()
		require.Equal(t, int64(2), n.get("k", 2))
	}
}

// I1, I2, I8 for explicit writes: a Set that failed comes late.
//
//	A: Set(k, 1) is sent on a connection that a router has forgotten
//	A: gives that connection up: ErrUnavailable
//	A: Set(k, 2) returns, on another connection
//	the router remembers: Set(k, 1) reaches the server
//	A: reads k
func TestI1ASetThatFailedDoesNotOverwriteALaterOne(t *testing.T) {
	s := valkeytest.Start(t)
	a := newNode(t, s.Addr, "p", tier.WithRemoteTimeout(time.Second))
	a.synced()
	a.proxy.FreezePresent()
	require.ErrorIs(t, a.cache.Set(context.Background(), "k", 1), tier.ErrUnavailable)
	a.synced() // over a new connection
	require.NoError(t, a.cache.Set(context.Background(), "k", 2))
	require.Equal(t, int64(2), a.get("k", 2))
	a.proxy.Thaw()
	late := time.Now().Add(time.Second)
	for time.Now().Before(late) {
		require.Equal(t, int64(2), a.get("k", 2), "the Set of 1 reached the server after that of 2 had returned")
	}
}

// I2: a value that had expired when it was stored.
//
//	A:      loads k, of a TTL that is shorter than a lease
//	server: its clock is set forwards, by more than the TTL
//	A:      stores k with an expiry by the clock it knew: there is nothing to
//	        store, and so no invalidation of it, but A waits for its own
//	B:      Set(k, 2) returns; the invalidation of it passes for A's own
//	A:      reads k, later than the bound
func TestI2AClockThatIsSetForwardsDuringALoadHidesNoChange(t *testing.T) {
	valkeytest.NeedSteppedClock(t)
	s := valkeytest.Start(t, valkeytest.SteppedClock())
	a, b := newNode(t, s.Addr, "p"), newNode(t, s.Addr, "p")
	var err error
	a.cache, err = tier.New[int64](a.store, "known", tier.WithTTL(1500*time.Millisecond))
	require.NoError(t, err)
	_, err = a.cache.Get(context.Background(), "k", func(context.Context, *tier.Entry) (int64, error) {
		a.proxy.Freeze(faultproxy.ToServer) // no heartbeat tells A
		s.StepClock(2 * time.Second)
		return 1, nil
	})
	require.NoError(t, err)
	a.proxy.Thaw()
	require.Eventually(t, func() bool { s := a.store.Stats(); return s.Fills+s.Fenced+s.FillErrors > 0 }, patience, time.Millisecond)
	b.synced()
	require.NoError(t, b.cache.Set(context.Background(), "k", 2))
	acked := time.Now()
	for time.Since(acked) <= nodeStaleness {
		a.get("k", 2)
	}
	require.Equal(t, int64(2), a.get("k", 2), "later than the bound")
}

// I1, I6: what the log knew was trimmed by a clock that was wrong for a while.
//
//	A:      Set(k, 1): the log knows that keys are written
//	server: its clock is set eight days forwards; changes are recorded, and trim the
//	        log; its clock is set right
//	A:      Set(k, 1); the server saves; Set(k, 2) returns
//	server: is killed, and restarted from what it had saved
func TestI6AStepOfDaysDoesNotHideASetThatARestartLost(t *testing.T) {
	valkeytest.NeedSteppedClock(t)
	ctx := context.Background()
	s := valkeytest.Start(t, valkeytest.SteppedClock())
	a, b := newNode(t, s.Addr, "p"), newNode(t, s.Addr, "p")
	require.NoError(t, a.cache.Set(ctx, "k", 1))
	s.StepClock(8 * 24 * time.Hour)
	a.synced()
	b.synced()
	for range 100 {
		_, err := b.store.InvalidateSource(ctx, "other")
		require.NoError(t, err)
	}
	s.StepClock(0)
	a.synced()
	b.synced()
	require.Eventually(t, func() bool { return a.cache.Set(ctx, "k", 1) == nil }, patience, time.Millisecond)
	s.Save(t)
	require.NoError(t, a.cache.Set(ctx, "k", 2))
	require.Equal(t, int64(2), b.get("k", 2))
	s.Kill()
	s.Restart()
	for _, n := range []*node{a, b} {
		n.synced()
		require.Equal(t, int64(2), n.get("k", 2))
		require.Equal(t, int64(2), n.get("k", 2, tier.Fresh()))
	}
}

// I2, I4: a proof by a server that is no primary any more.
//
//	B:           holds k, connected to the primary
//	the replica: is promoted; the primary is told to follow it, and lags
//	A:           is connected to the new primary; InvalidateSource returns
//	B:           its heartbeats are answered by the old primary: proof
//	B:           reads k, later than the maximum staleness
func TestI2AReplicaProvesNothing(t *testing.T) {
	primary, replica, link := pair(t)
	a, b := newNode(t, primary.Addr, "p"), newNode(t, primary.Addr, "p")
	require.Equal(t, int64(1), b.get("k", 1))
	b.synced()
	replica.AwaitReplica(t, primary)
	replica.Follow(t, "")
	link.Freeze(faultproxy.ToServer, faultproxy.ToClient)
	link.Retarget(replica.Addr)
	link.Cut()
	primary.Follow(t, link.Addr()) // and does not get through
	a.moves(replica.Addr)
	require.Eventually(t, func() bool {
		_, err := a.store.InvalidateSource(context.Background(), "doc")
		return err == nil
	}, patience, time.Millisecond)
	acked := time.Now()
	require.Equal(t, int64(2), a.get("k", 2))
	require.Equal(t, int64(2), b.get("k", 2, tier.Fresh()), "fresh")
	for time.Since(acked) <= nodeStaleness {
		b.get("k", 2)
	}
	require.Equal(t, int64(2), b.get("k", 2), "later than the bound")
}

// I2, found by the model: a caller that shares a remote read is given what that read's
// proof allowed when it began. (L: maximum staleness)
//
//	B1: its proof is nearly L old; sends GET k
//	A:  (before that, after the proof) has changed k's source
//	B2: its proof is older than L by now; shares B1's read, which is not
//	B:  the answer, an entry of before the change, is judged by what was known at
//	    the proof, and given to both
func TestI2ACallerThatSharesAReadIsGivenNothingOlderThanTheBound(t *testing.T) {
	hub := remote.NewEmbedded(0)
	open := func(b backend.Backend) (*tier.Store, *tier.Cache[int64]) {
		s, err := tier.Open(context.Background(), tier.WithRemote(b), tier.WithMaxStaleness(nodeStaleness),
			tier.WithHeartbeat(nodeStaleness/4), tier.WithRemoteTimeout(time.Minute))
		require.NoError(t, err)
		t.Cleanup(func() { s.Close() })
		c, err := tier.New[int64](s, "known")
		require.NoError(t, err)
		return s, c
	}
	a, ca := open(hub)
	hooks := &interpose.Backend{Inner: hub}
	b, cb := open(hooks)
	load := func(version int64) tier.Loader[int64] {
		return func(_ context.Context, e *tier.Entry) (int64, error) {
			e.DependsOn("doc")
			return version, nil
		}
	}
	get := func(ctx context.Context, c *tier.Cache[int64], version int64) int64 {
		v, err := c.Get(ctx, "k", load(version))
		require.NoError(t, err)
		return v
	}
	require.Equal(t, int64(0), get(context.Background(), ca, 0))

	answered, goOn, ended := make(chan struct{}), make(chan struct{}), make(chan struct{})
	release := sync.OnceFunc(func() { close(goOn) })
	var readers sync.WaitGroup
	t.Cleanup(func() { // also if it is skipped
		close(ended)
		release()
		readers.Wait()
	})
	require.NoError(t, b.Sync(context.Background()))
	hooks.Filter(func(interpose.Event) bool { return false })
	hooks.Before(func(op interpose.Op) error {
		if op == interpose.Delta {
			<-ended // no proof any more
		}
		return nil
	})
	var first sync.Once
	hooks.After(func(op interpose.Op) error {
		if op == interpose.Get {
			first.Do(func() {
				close(answered)
				<-goOn
			})
		}
		return nil
	})
	_, err := a.InvalidateSource(context.Background(), "doc")
	require.NoError(t, err)
	acked := time.Now()
	reach := func(d time.Duration) {
		for time.Since(acked) <= d {
			runtime.Gosched()
		}
	}
	reach(nodeStaleness / 2)
	readers.Go(func() { get(context.Background(), cb, 1) })
	<-answered
	if time.Since(acked) > nodeStaleness*3/4 {
		t.Skip("SKIPPED: the machine is too slow for this schedule")
	}
	reach(nodeStaleness)
	shares := &watchedContext{Context: context.Background(), waits: make(chan struct{})}
	var shared int64
	readers.Go(func() { shared = get(shares, cb, 1) })
	<-shares.waits
	release()
	readers.Wait()
	require.Equal(t, int64(1), shared, "it was called later than the bound after the change was acknowledged")
}

// watchedContext tells when a goroutine waits for its end: then a caller has joined
// a flight.
type watchedContext struct {
	context.Context
	once  sync.Once
	waits chan struct{}
}

func (c *watchedContext) Done() <-chan struct{} {
	c.once.Do(func() { close(c.waits) })
	return c.Context.Done()
}

// pair is a primary and its replica, with a link that can be broken.
func pair(t *testing.T) (primary, replica *valkeytest.Server, link *faultproxy.Proxy) {
	fast := valkeytest.Config("repl-diskless-sync-delay", "0")
	primary = valkeytest.Start(t, fast)
	link, err := faultproxy.StartRaw(primary.Addr, 1)
	require.NoError(t, err)
	t.Cleanup(link.Close)
	replica = valkeytest.Start(t, fast, valkeytest.ReplicaOf(link.Addr()))
	replica.AwaitReplica(t, primary)
	return primary, replica, link
}
