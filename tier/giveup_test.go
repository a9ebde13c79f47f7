package tier_test

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/valkey-io/valkey-go"

	"github.com/tiercache/tiercache/internal/backend"
	"github.com/tiercache/tiercache/internal/faultproxy"
	"github.com/tiercache/tiercache/internal/interpose"
	"github.com/tiercache/tiercache/internal/valkeytest"
	"github.com/tiercache/tiercache/remote"
	"github.com/tiercache/tiercache/tier"
)

// A write that is given up while it is on its way: all ways to change a key, and all ways to give up. The contract is
// that a write which has returned has been performed, or never will be (G1, G3, G5).

// givenUp are ways in which a caller gives up, or is made to.
var givenUp = map[string]func() (context.Context, context.CancelFunc){
	"a deadline of its own": func() (context.Context, context.CancelFunc) {
		return context.WithTimeout(bg, 5*time.Millisecond)
	},
	"a cancellation": func() (context.Context, context.CancelFunc) {
		ctx, cancel := context.WithCancelCause(bg)
		time.AfterFunc(5*time.Millisecond, func() { cancel(errWentHome) })
		return ctx, func() { cancel(nil) }
	},
	"the remote timeout": func() (context.Context, context.CancelFunc) { return bg, func() {} },
}

var errWentHome = errors.New("the user went home")

// keyWrites are ways in which a key is set to 1, or deleted.
var keyWrites = map[string]func(ctx context.Context, c *tier.Cache[int64]) error{
	"Set": func(ctx context.Context, c *tier.Cache[int64]) error { return c.Set(ctx, "k", 1) },
	"SetMany": func(ctx context.Context, c *tier.Cache[int64]) error {
		return c.SetMany(ctx, map[string]int64{"k": 1, "l": 1})
	},
	"Delete": func(ctx context.Context, c *tier.Cache[int64]) error { return c.Delete(ctx, "k", "l") },
	"Refresh that finds nothing": func(ctx context.Context, c *tier.Cache[int64]) error {
		_, err := c.Refresh(ctx, "k", fails[int64](tier.ErrNotFound))
		return err
	},
}

// giveUp makes a write whose caller's deadline ends while it is on its way. One that ends before anything was sent, as
// on a slow machine, shows nothing: then the next is twice as long.
func giveUp(t *testing.T, timeout time.Duration, write func(ctx context.Context) error) error {
	t.Helper()
	for {
		ctx, cancel := context.WithTimeout(bg, timeout)
		err := write(ctx)
		cancel()
		if timeout *= 2; timeout < time.Minute && errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, tier.ErrUnavailable) {
			continue
		}
		require.ErrorIs(t, err, tier.ErrUnavailable)
		return err
	}
}

// over opens a store of the fleet on another backend than the others, that leads to the same place.
func (f *fleet) over(b backend.Backend, options ...tier.Option) *tier.Store {
	f.t.Helper()
	g := *f
	g.options, g.stores = []tier.Option{tier.WithRemote(b)}, nil
	if !f.tracked {
		g.options = append(g.options, tier.WithoutTracking())
	}
	s := g.process(options...)
	f.stores = append(f.stores, s)
	return s
}

// A: Set(k, 1) is given up
// B: Set(k, 2) is acknowledged
// the first one arrives
func TestI1AWriteThatWasGivenUpNeverUndoesALaterSet(t *testing.T) {
	for how, giveUp := range givenUp {
		for what, write := range keyWrites {
			t.Run(what+", "+how, func(t *testing.T) {
				inBubbles(t, func(t *testing.T, f *fleet) {
					hooks := &interpose.Backend{Inner: f.hub}
					sa, sb := f.over(hooks, tier.WithRemoteTimeout(64*time.Millisecond)), f.process()
					a, b := cacheOf[int64](t, sa, tier.WithNegativeTTL(0)), cacheOf[int64](t, sb)
					require.NoError(t, a.Set(bg, "k", 0))
					f.sync()
					arrive := hooks.Delay(interpose.Write, interpose.Delete)
					ctx, cancel := giveUp()
					defer cancel()
					begun := time.Now()
					require.Error(t, write(ctx, a))
					require.LessOrEqual(t, time.Since(begun), 2*64*time.Millisecond)
					if how == "a deadline of its own" {
						require.Equal(t, 5*time.Millisecond, time.Since(begun))
					}
					require.NoError(t, b.Set(bg, "k", 2))
					arrive()
					f.sync()
					for _, c := range []*tier.Cache[int64]{a, b} {
						require.Equal(t, int64(2), lookup(t, c, none).Value)
						require.Equal(t, int64(2), lookup(t, c, none, tier.Fresh()).Value)
					}
				})
			})
		}
	}
}

// The same by the clocks of real servers: of one, and of those of a cluster, each of which has its own.
func TestI1AWriteThatWasGivenUpNeverUndoesALaterSetOnAServer(t *testing.T) {
	eachWorld(t, func(t *testing.T, w *world) {
		patient := tier.WithRemoteTimeout(10 * time.Second)
		sa, hooks := w.open(patient)
		sb, _ := w.open(patient)
		a, b := cacheOf[int64](t, sa), cacheOf[int64](t, sb)
		for _, what := range []string{"Set", "SetMany", "Delete"} {
			require.NoError(t, a.SetMany(bg, map[string]int64{"k": 0, "l": 0}))
			arrive := hooks.Delay(interpose.Write, interpose.Delete)
			err := giveUp(t, 20*time.Millisecond, func(ctx context.Context) error { return keyWrites[what](ctx, a) })
			require.ErrorIs(t, err, context.DeadlineExceeded)
			require.NoError(t, b.Set(bg, "k", 2))
			arrive()
			require.NoError(t, sa.Sync(bg))
			for _, c := range []*tier.Cache[int64]{a, b} {
				require.Equal(t, int64(2), lookup(t, c, none, tier.Fresh()).Value, what)
			}
		}
	})
}

// G3: the answer to a sent request is awaited, and the caller learns the outcome.
func TestAWriteWhoseCallerGaveUpTellsWhatHappened(t *testing.T) {
	inBubbles(t, func(t *testing.T, f *fleet) {
		hooks := &interpose.Backend{Inner: f.hub}
		sa, sb := f.over(hooks, tier.WithRemoteTimeout(64*time.Millisecond)), f.process()
		a, b := cacheOf[int64](t, sa), cacheOf[int64](t, sb)
		require.NoError(t, a.SetMany(bg, map[string]int64{"k": 0, "l": 0}))
		f.sync()
		find(t, b, "k", unneeded)
		for _, what := range []string{"Set", "SetMany", "Delete"} {
			arrive := hooks.Delay(interpose.Write, interpose.Delete)
			time.AfterFunc(20*time.Millisecond, arrive)
			ctx, cancel := givenUp["a cancellation"]()
			begun := time.Now()
			require.NoError(t, keyWrites[what](ctx, a), what)
			require.Equal(t, 20*time.Millisecond, time.Since(begun), "%s: not before it was performed", what)
			require.Error(t, ctx.Err())
			cancel()
			f.sync()
			for _, c := range []*tier.Cache[int64]{a, b} {
				v, there, err := c.Peek(bg, "k")
				require.NoError(t, err)
				require.Equal(t, what != "Delete", there, what)
				require.Equal(t, what != "Delete", v == 1, what)
			}
		}
		require.Zero(t, sa.Stats().RemoteErrors)
	})
}

func TestAWriteThatGetsNoAnswerIsWaitedForNoLongerThanTheRemoteTimeout(t *testing.T) {
	inBubbles(t, func(t *testing.T, f *fleet) {
		hooks := &interpose.Backend{Inner: f.hub}
		const timeout = 64 * time.Millisecond
		s := f.over(hooks, tier.WithRemoteTimeout(timeout))
		c := cacheOf[int64](t, s)
		require.NoError(t, c.Set(bg, "k", 0))
		for _, what := range []string{"Set", "Delete"} {
			time.Sleep(timeout)
			arrive := hooks.Delay(interpose.Write, interpose.Delete)
			ctx, cancel := givenUp["a cancellation"]()
			begun := time.Now()
			err := keyWrites[what](ctx, c)
			cancel()
			took := time.Since(begun)
			assert.ErrorIs(t, err, tier.ErrUnavailable, what)
			assert.ErrorIs(t, err, context.Canceled, what)
			assert.ErrorIs(t, err, errWentHome, what)
			assert.GreaterOrEqual(t, took, timeout-timeout/8, what)
			assert.LessOrEqual(t, took, timeout, what)
			arrive()
		}
	})
}

// What was not sent is not waited for, and is no answer of the remote tier.
func TestAWriteThatWasNotSentFailsAtOnce(t *testing.T) {
	inBubbles(t, func(t *testing.T, f *fleet) {
		hooks := &interpose.Backend{Inner: f.hub}
		c := cacheOf[int64](t, f.over(hooks))
		require.NoError(t, c.Set(bg, "k", 0))
		hooks.Before(func(op interpose.Op) error {
			if op == interpose.Write || op == interpose.Delete {
				return errCut
			}
			return nil
		})
		begun := time.Now()
		for _, what := range []string{"Set", "Delete"} {
			err := keyWrites[what](bg, c)
			require.ErrorIs(t, err, tier.ErrUnavailable)
			require.ErrorIs(t, err, errCut)
			ctx, cancel := context.WithCancel(bg)
			cancel()
			err = keyWrites[what](ctx, c)
			require.ErrorIs(t, err, context.Canceled)
			require.NotErrorIs(t, err, tier.ErrUnavailable, "it is known what became of it: nothing")
		}
		require.Zero(t, time.Since(begun))
	})
}

// cutRoad loses the connection of each write and deletion once it was sent: it arrives when arrive is closed.
type cutRoad struct {
	backend.Backend
	arrive  chan struct{}
	arrived chan struct{}
}

func (r cutRoad) Connect(ctx context.Context, o backend.Options) (backend.Conn, error) {
	c, err := r.Backend.Connect(ctx, o)
	return cutConn{c, r}, err
}

type cutConn struct {
	backend.Conn
	r cutRoad
}

func (c cutConn) lose(f func(context.Context) error) error {
	go func() {
		<-c.r.arrive
		_ = f(context.Background())
		c.r.arrived <- struct{}{}
	}()
	return errCut
}

func (c cutConn) Write(_ context.Context, w []backend.Write) ([]backend.Written, error) {
	return nil, c.lose(func(ctx context.Context) error { _, err := c.Conn.Write(ctx, w); return err })
}

func (c cutConn) Delete(_ context.Context, d []backend.Deletion) ([]backend.Deleted, error) {
	return nil, c.lose(func(ctx context.Context) error { _, err := c.Conn.Delete(ctx, d); return err })
}

// A connection that is lost has delivered what was sent, or does so yet.
//
//	A: Set(k, 1) loses its connection
//	B: Set(k, 2) is acknowledged
//	server: reads what the lost connection has brought
func TestI1AWriteWhoseConnectionWasLostIsOverWhenItReturns(t *testing.T) {
	for _, what := range []string{"Set", "SetMany", "Delete"} {
		t.Run(what, func(t *testing.T) {
			inBubbles(t, func(t *testing.T, f *fleet) {
				road := cutRoad{f.hub, make(chan struct{}), make(chan struct{}, 1)}
				sa, sb := f.over(road, tier.WithRemoteTimeout(64*time.Millisecond)), f.process()
				a, b := cacheOf[int64](t, sa), cacheOf[int64](t, sb)
				require.ErrorIs(t, keyWrites[what](bg, a), tier.ErrUnavailable)
				require.NoError(t, b.Set(bg, "k", 2))
				close(road.arrive)
				<-road.arrived
				f.sync()
				require.Equal(t, int64(2), lookup(t, b, none, tier.Fresh()).Value)
				require.Equal(t, int64(2), lookup(t, a, none, tier.Fresh()).Value)
			})
		})
	}
}

// G6: what loads do is bound to the lease, which a Set takes away, and so may come at any time.
func TestG6WhatALoadSendsLateChangesNothingThatWasSetSince(t *testing.T) {
	inBubbles(t, func(t *testing.T, f *fleet) {
		hooks := &interpose.Backend{Inner: f.hub}
		sa, sb := f.over(hooks, tier.WithRemoteTimeout(64*time.Millisecond)), f.process()
		a, b := cacheOf[int64](t, sa), cacheOf[int64](t, sb)
		loads := map[string]func() error{
			"a fill":    func() error { _, err := a.Get(bg, "k", is(int64(1))); return err },
			"a refresh": func() error { _, err := a.Refresh(bg, "k", is(int64(1))); return err },
			"an extension": func() error {
				_, err := a.Refresh(bg, "k", func(context.Context, *tier.Entry) (int64, error) {
					time.Sleep(5 * time.Second)
					return 0, errOrigin
				})
				return err
			},
			"a release": func() error { _, err := a.Refresh(bg, "k", fails[int64](errOrigin)); return err },
		}
		for what, load := range loads {
			arrive := hooks.Delay(interpose.Write, interpose.Extend, interpose.Release)
			_ = load()
			synctest.Wait() // a fill is on its way when its caller has been answered
			require.NoError(t, b.Set(bg, "k", 2))
			running, goOn, ended := make(chan struct{}), make(chan struct{}), make(chan struct{})
			go func() { // another's load has the lease
				defer close(ended)
				_, err := b.Refresh(bg, "k", func(context.Context, *tier.Entry) (int64, error) {
					close(running)
					<-goOn
					return 3, nil
				})
				assert.NoError(t, err)
			}()
			<-running
			name := explained(t, b, "k").RemoteKey
			lease := f.read(name + "!")
			require.NotEmpty(t, lease)
			arrive()
			require.Equal(t, int64(2), lookup(t, cacheOf[int64](t, f.process()), none).Value, what)
			require.Equal(t, lease, f.read(name+"!"), "%s: the lease is another's", what)
			close(goOn)
			<-ended
			require.NoError(t, b.Delete(bg, "k"))
		}
	})
}

func explained[V any](t *testing.T, c *tier.Cache[V], key string) tier.Explanation {
	t.Helper()
	e, err := c.Explain(bg, key)
	require.NoError(t, err)
	return e
}

// throughProxy opens two stores on a server, the first through a proxy.
func throughProxy(t *testing.T, s *valkeytest.Server, options ...tier.Option) (p *faultproxy.Proxy, a, b *tier.Store) {
	t.Helper()
	p, err := faultproxy.Start(s.Addr, 1)
	require.NoError(t, err)
	t.Cleanup(p.Close)
	open := func(addr string) *tier.Store {
		all := []tier.Option{tier.WithValkey("valkey://" + addr), tier.WithPrefix("p"), tier.WithHeartbeat(time.Hour), tier.WithMaxStaleness(10 * time.Hour)}
		store, err := tier.Open(bg, append(all, options...)...)
		require.NoError(t, err)
		t.Cleanup(func() { store.Close() })
		return store
	}
	return p, open(p.Addr()), open(s.Addr)
}

// runs returns how many scripts that write the server has run.
func runs(t *testing.T, s *valkeytest.Server) (n int64) {
	t.Helper()
	info, err := s.Do(t, "INFO", "commandstats").ToString()
	require.NoError(t, err)
	for _, m := range regexp.MustCompile(`cmdstat_eval(?:sha)?:calls=(\d+)`).FindAllStringSubmatch(info, -1) {
		calls, err := strconv.ParseInt(m[1], 10, 64)
		require.NoError(t, err)
		n += calls
	}
	return n
}

// On the wire: the request of a Set is held, and arrives after the Set has returned.
func TestI1ASetThatIsHeldOnTheWayIsRefused(t *testing.T) {
	valkeytest.EachVersion(t, func(t *testing.T, s *valkeytest.Server) {
		p, sa, sb := throughProxy(t, s, tier.WithRemoteTimeout(time.Minute))
		a, b := cacheOf[int64](t, sa), cacheOf[int64](t, sb)
		require.NoError(t, a.Set(bg, "k", 0))
		p.Freeze(faultproxy.ToServer)
		_ = giveUp(t, 50*time.Millisecond, func(ctx context.Context) error { return a.Set(ctx, "k", 1) })
		require.NoError(t, b.Set(bg, "k", 2))
		p.Thaw()
		require.NoError(t, sa.Sync(bg)) // which comes after it
		require.Equal(t, int64(2), lookup(t, b, none, tier.Fresh()).Value)
		require.Equal(t, int64(2), lookup(t, a, none, tier.Fresh()).Value)
	})
}

// G4: neither we nor the client send a write again whose connection was lost.
//
//	A: Set(k, 1) is performed; its answer is lost with the connection
//	B: Set(k, 2) is acknowledged
//	A: sends the first once more
func TestI1AWriteWhoseAnswerWasLostIsNotSentAgain(t *testing.T) {
	t.Parallel()
	s := valkeytest.Start(t)
	p, sa, sb := throughProxy(t, s, tier.WithRemoteTimeout(2*time.Second))
	a, b := cacheOf[int64](t, sa), cacheOf[int64](t, sb)
	require.NoError(t, a.Set(bg, "k", 0))
	require.NoError(t, b.Set(bg, "k", 0))
	for _, what := range []string{"Set", "Delete"} {
		require.NoError(t, sa.Sync(bg))
		before := runs(t, s)
		p.Freeze(faultproxy.ToClient)
		told := make(chan error, 1)
		go func() { told <- keyWrites[what](bg, a) }()
		want := before + 1
		if what == "Delete" {
			want++ // a key each
		}
		within(t, "it was performed", func() bool { return runs(t, s) == want })
		require.NoError(t, b.Set(bg, "k", 2))
		p.Cut()
		p.Thaw()
		require.ErrorIs(t, <-told, tier.ErrUnavailable)
		require.Equal(t, int64(2), lookup(t, b, none, tier.Fresh()).Value)
		require.Equal(t, want+1, runs(t, s), "beside that of B")
	}
}

// G2: the lower bound. A clock that is set back would else give a write that was given up its time once more.
//
//	A: Set(k, 1) is given up
//	the server's clock is set back by an hour
//	B: Set(k, 2) is acknowledged
//	the first one arrives
func TestI1AStepBackOfTheServersClockRevivesNoWrite(t *testing.T) {
	valkeytest.NeedSteppedClock(t)
	s := valkeytest.Start(t, valkeytest.SteppedClock())
	p, sa, sb := throughProxy(t, s, tier.WithRemoteTimeout(time.Minute))
	a, b := cacheOf[int64](t, sa), cacheOf[int64](t, sb)
	for _, what := range []string{"Set", "Delete"} {
		require.NoError(t, sa.Sync(bg)) // it knows of the step before
		require.NoError(t, a.SetMany(bg, map[string]int64{"k": 0, "l": 0}))
		p.Freeze(faultproxy.ToServer)
		_ = giveUp(t, 50*time.Millisecond, func(ctx context.Context) error { return keyWrites[what](ctx, a) })
		s.StepClock(-time.Hour)
		require.NoError(t, sb.Sync(bg)) // else its Set would be before its time
		require.NoError(t, b.Set(bg, "k", 2))
		p.Thaw()
		require.NoError(t, sa.Sync(bg))
		require.Equal(t, int64(2), lookup(t, b, none, tier.Fresh()).Value, what)
		s.StepClock(0)
		require.NoError(t, sa.Sync(bg))
		require.NoError(t, sb.Sync(bg))
	}
}

// After a step in either direction the first write may be refused, which is an error, and has the clock read.
func TestAStepOfTheServersClockCostsOneWrite(t *testing.T) {
	valkeytest.NeedSteppedClock(t)
	s := valkeytest.Start(t, valkeytest.SteppedClock())
	// No heartbeat reads the clock before the write.
	_, sa, _ := throughProxy(t, s, tier.WithRemoteTimeout(10*time.Second), tier.WithHeartbeat(time.Hour), tier.WithMaxStaleness(3*time.Hour))
	c := cacheOf[int64](t, sa)
	for i, step := range []time.Duration{time.Hour, -time.Hour} {
		require.NoError(t, c.Set(bg, "k", int64(i)))
		s.StepClock(step)
		within(t, "the server goes by it", func() bool { // the first command after it may not
			at, err := s.Do(t, "TIME").AsIntSlice()
			return err == nil && time.Until(time.Unix(at[0], 0).Add(-step)).Abs() < time.Minute
		})
		require.ErrorIs(t, c.Set(bg, "k", -1), tier.ErrUnavailable)
		within(t, "the clock is read", func() bool { return c.Delete(bg, "k") == nil })
	}
}

// The lower bound: the question that was answered with the clock may have been long on its way.
//
//	A: asks what the server's clock says; the question takes 20 ms, and the answer no time
//	A: Set(k, 1) is given up after 5 ms
//	B: Set(k, 2) is acknowledged
//	the first one arrives; its time is over by A's clock, and by the server's
func TestI1AWriteThatWasGivenUpIsOverHoweverLateTheClockWasHeard(t *testing.T) {
	inBubbles(t, func(t *testing.T, f *fleet) {
		hooks := &interpose.Backend{Inner: f.hub}
		sa, sb := f.over(hooks), f.process()
		a, b := cacheOf[int64](t, sa), cacheOf[int64](t, sb)
		require.NoError(t, a.Set(bg, "k", 0))
		time.Sleep(time.Millisecond) // later than the first delta was asked for
		hooks.Before(func(op interpose.Op) error {
			if op == interpose.Delta {
				time.Sleep(20 * time.Millisecond)
			}
			return nil
		})
		require.NoError(t, sa.Sync(bg))
		require.NoError(t, a.Set(bg, "k", 0), "nor is it refused before its time")
		arrive := hooks.Delay(interpose.Write)
		ctx, cancel := givenUp["a deadline of its own"]()
		defer cancel()
		require.ErrorIs(t, a.Set(ctx, "k", 1), tier.ErrUnavailable)
		require.NoError(t, b.Set(bg, "k", 2))
		arrive()
		require.Equal(t, int64(2), lookup(t, b, none, tier.Fresh()).Value)
	})
}

// Callers that give up do not hide that the server is silent: the answer was waited for all the same.
func TestI8WritesWhoseCallersGaveUpTellThatTheServerIsAway(t *testing.T) {
	inBubbles(t, func(t *testing.T, f *fleet) {
		hooks := &interpose.Backend{Inner: f.hub}
		s := f.over(hooks, tier.WithHeartbeat(time.Hour), tier.WithMaxStaleness(2*time.Hour), tier.WithRemoteTimeout(64*time.Millisecond))
		c := cacheOf[int64](t, s)
		require.NoError(t, c.Set(bg, "k", 0))
		synctest.Wait()
		for outages, how := range []string{"a deadline of its own", "a cancellation"} {
			arrive := hooks.Delay(interpose.Write, interpose.Append, interpose.Delta)
			for range 2 {
				ctx, cancel := givenUp[how]()
				require.Error(t, c.Set(ctx, "k", 1))
				cancel()
			}
			require.Equal(t, int64(outages), tier.Openings(s), how)
			arrive()
			require.NoError(t, s.Sync(bg))
		}
	})
}

// lateRoad has deletions arrive when their time is over.
type lateRoad struct{ backend.Backend }

type lateConn struct{ backend.Conn }

func (r lateRoad) Connect(ctx context.Context, o backend.Options) (backend.Conn, error) {
	c, err := r.Backend.Connect(ctx, o)
	return lateConn{c}, err
}

func (c lateConn) Delete(ctx context.Context, keys []backend.Deletion) ([]backend.Deleted, error) {
	keys[0].Before = keys[0].Before.Add(-time.Hour)
	return c.Conn.Delete(ctx, keys)
}

// G5: each key has an outcome.
func TestADeleteThatCameTooLateIsAnErrorAndTheOthersAreDone(t *testing.T) {
	inBubbles(t, func(t *testing.T, f *fleet) {
		c := cacheOf[int64](t, f.over(lateRoad{f.hub}))
		require.NoError(t, c.SetMany(bg, map[string]int64{"late": 1, "k": 1}))
		begun := time.Now()
		require.ErrorIs(t, c.Delete(bg, "late", "k"), tier.ErrUnavailable)
		require.Zero(t, time.Since(begun), "it is known what became of it")
		for key, stays := range map[string]bool{"late": true, "k": false} {
			_, there, err := c.Peek(bg, key)
			require.NoError(t, err)
			require.Equal(t, stays, there, key)
		}
	})
}

// On the wire, past the client and by it: the answer is waited for when the caller has gone.
func TestAWriteWhoseCallerGaveUpTellsWhatHappenedOnTheWire(t *testing.T) {
	s := valkeytest.Start(t)
	p, err := faultproxy.Start(s.Addr, 1)
	require.NoError(t, err)
	defer p.Close()
	for name, pooled := range map[string]bool{"directly": false, "by the client": true} {
		t.Run(name, func(t *testing.T) {
			o := []tier.Option{tier.WithPrefix(name[:2]), tier.WithRemoteTimeout(time.Minute), tier.WithHeartbeat(time.Hour), tier.WithMaxStaleness(10 * time.Hour),
				tier.WithValkeyClient(valkey.ClientOption{InitAddress: []string{p.Addr()}, DisableAutoPipelining: pooled})}
			if pooled {
				o = append(o, tier.WithoutTracking())
			}
			store, err := tier.Open(bg, o...)
			require.NoError(t, err)
			defer store.Close()
			c := cacheOf[int64](t, store)
			require.NoError(t, c.Set(bg, "k", 0))
			require.NoError(t, c.Delete(bg, "k", "l")) // the scripts are known
			for what, scripts := range map[string]int64{"Set": 1, "Delete": 2} {
				before := runs(t, s)
				p.Freeze(faultproxy.ToClient)
				ctx, cancel := context.WithCancel(bg)
				told := make(chan error, 1)
				go func() { told <- keyWrites[what](ctx, c) }()
				within(t, "it was performed", func() bool { return runs(t, s) == before+scripts })
				cancel()
				p.Thaw()
				require.NoError(t, <-told, what)
			}
		})
	}
}

// While no connection can be had nothing of a write is sent, and so it is called off with its caller.
func TestAWriteThatWaitsForAConnectionIsWithdrawn(t *testing.T) {
	s := valkeytest.Start(t)
	p, sa, sb := throughProxy(t, s, tier.WithRemoteTimeout(30*time.Second))
	a, b := cacheOf[int64](t, sa), cacheOf[int64](t, sb)
	require.NoError(t, a.Set(bg, "k", 0))
	p.Freeze(faultproxy.ToServer, faultproxy.ToClient) // new ones are accepted and not served
	p.Cut()
	before := runs(t, s)
	within(t, "the loss is noticed", func() bool {
		ctx, cancel := context.WithTimeout(bg, 20*time.Millisecond)
		defer cancel()
		return !errors.Is(a.Set(ctx, "k", 1), tier.ErrUnavailable)
	})
	ctx, cancel := context.WithCancelCause(bg)
	time.AfterFunc(20*time.Millisecond, func() { cancel(errWentHome) })
	begun := time.Now()
	err := a.Set(ctx, "k", 1)
	require.ErrorIs(t, err, errWentHome)
	require.NotErrorIs(t, err, tier.ErrUnavailable)
	require.Less(t, time.Since(begun), 20*time.Second)
	p.Thaw()
	require.NoError(t, sa.Sync(bg))
	require.Equal(t, before, runs(t, s))
	require.Equal(t, int64(0), lookup(t, b, none, tier.Fresh()).Value)
}

// In a cluster each server has a clock of its own, by which it is asked.
func TestI1InAClusterAWriteIsBoundByTheClockOfItsServer(t *testing.T) {
	t.Parallel()
	valkeytest.NeedSteppedClock(t)
	c := valkeytest.StartCluster(t, 3, valkeytest.SteppedClock(), valkeytest.Config("cluster-node-timeout", "60000"))
	w := &world{t, remote.Valkey(valkey.ClientOption{InitAddress: c.Addrs()}), "p", nil}
	sa, hooks := w.open(tier.WithRemoteTimeout(10 * time.Second))
	sb, _ := w.open(tier.WithRemoteTimeout(10 * time.Second))
	a, b := cacheOf[int64](t, sa), cacheOf[int64](t, sb)
	for i, step := range []time.Duration{3 * time.Second, -3 * time.Second} {
		c.Primaries[i].StepClock(step)
	}
	for _, s := range []*tier.Store{sa, sb} {
		require.NoError(t, s.Sync(bg)) // every server has said what its clock says
	}
	for i := range 30 {
		key := fmt.Sprint(i)
		require.NoError(t, a.Set(bg, key, 0), "in time")
		arrive := hooks.Delay(interpose.Write)
		_ = giveUp(t, time.Millisecond, func(ctx context.Context) error { return a.Set(ctx, key, 1) })
		require.NoError(t, b.Set(bg, key, 2))
		arrive()
		require.NoError(t, sa.Sync(bg))
		v, there, err := b.Peek(bg, key)
		require.NoError(t, err)
		require.True(t, there)
		require.Equal(t, int64(2), v)
	}
}
