package tier_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime/pprof"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/internal/embedded"
	"github.com/tiercache/tiercache/internal/interpose"
	"github.com/tiercache/tiercache/internal/valkeytest"
	"github.com/tiercache/tiercache/tier"
)

// span is what a tracer was told of.
type span struct {
	tier.Op
	tier.Outcome
	parent int // number of the span that it is below; 0: none
	number int
}

// spans is a tracer that keeps what it is told.
type spans struct {
	mu    sync.Mutex
	begun int
	ended []span
	onEnd func(span)
}

type spanKey struct{}

func (o *spans) Start(ctx context.Context, op tier.Op) context.Context {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.begun++
	s := &span{Op: op, number: o.begun}
	if p, ok := ctx.Value(spanKey{}).(*span); ok {
		s.parent = p.number
	}
	return context.WithValue(ctx, spanKey{}, s)
}

func (o *spans) End(ctx context.Context, out tier.Outcome) {
	s := *ctx.Value(spanKey{}).(*span)
	s.Outcome = out
	if o.onEnd != nil {
		o.onEnd(s)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.ended = append(o.ended, s)
}

// of returns the spans of a name that have ended, of requests or not.
func (o *spans) of(name string, remote bool) (out []span) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, s := range o.ended {
		if s.Name == name && s.Remote == remote {
			out = append(out, s)
		}
	}
	return out
}

// open returns how many have not ended.
func (o *spans) open() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.begun - len(o.ended)
}

func TestATracerIsToldOfRequestsLoadsAndChanges(t *testing.T) {
	onEachRemote(t, func(t *testing.T, f *fleet) {
		var seen spans
		s := f.process(tier.WithTracer(&seen))
		c := view[string](t, s, "docs:ü")
		root := &span{number: -1}
		ctx := context.WithValue(t.Context(), spanKey{}, root)
		var inside atomic.Int64
		v, err := c.Get(ctx, "k", func(ctx context.Context, _ *tier.Entry) (string, error) {
			inside.Store(int64(ctx.Value(spanKey{}).(*span).number))
			return "v", nil
		})
		require.NoError(t, err)
		require.Equal(t, "v", v)
		filled(t, s, 1)
		eventually(t, "the fill is told of", func() bool { return len(seen.of("write", true)) == 1 })

		loads := seen.of("load", false)
		require.Len(t, loads, 1)
		assert.Equal(t, span{Op: tier.Op{Name: "load", Namespace: "docs:ü", Keys: 1}, Outcome: tier.Outcome{Took: loads[0].Took}, parent: -1, number: loads[0].number}, loads[0])
		assert.Positive(t, loads[0].Took)
		assert.EqualValues(t, loads[0].number, inside.Load(), "the loader runs under the context of its span")
		asked := slices.Concat(seen.of("get", true), seen.of("lease", true))
		require.NotEmpty(t, asked)
		for _, s := range append(asked, seen.of("write", true)...) {
			assert.Equal(t, "docs:ü", s.Namespace, s.Name)
			assert.Equal(t, -1, s.parent, "%s is under the caller's span", s.Name)
			assert.Equal(t, 1, s.Keys)
			assert.NotEmpty(t, s.Server)
			assert.NoError(t, s.Err)
			assert.Zero(t, s.Found)
		}
		assert.True(t, seen.of("write", true)[0].Background, "its caller has been answered")

		before := seen.begunButHeartbeats()
		_, err = c.Get(ctx, "k", unneeded)
		require.NoError(t, err)
		assert.Equal(t, before, seen.begunButHeartbeats(), "nothing is told of a local hit")

		_, err = c.Get(ctx, "k", unneeded, tier.NoLocal())
		require.NoError(t, err)
		gets := seen.of("get", true)
		assert.Equal(t, 1, gets[len(gets)-1].Found)

		require.NoError(t, c.Set(ctx, "k", "w"))
		sets := seen.of("set", false)
		require.Len(t, sets, 1)
		writes := seen.of("write", true)
		assert.Equal(t, sets[0].number, writes[len(writes)-1].parent, "a request is below its change")
		require.NoError(t, c.Delete(ctx, "k", "l"))
		require.Len(t, seen.of("delete", false), 1)
		assert.Equal(t, 2, seen.of("delete", false)[0].Keys)
		_, err = s.InvalidateSource(ctx, "doc-1", "doc-2")
		require.NoError(t, err)
		changes, appends := seen.of("invalidate source", false), seen.of("append", true)
		require.Len(t, changes, 1)
		assert.Equal(t, changes[0].number, appends[len(appends)-1].parent)
		assert.Equal(t, 2, changes[0].Keys)
		require.NoError(t, s.Close())
		assert.Zero(t, seen.open(), "each has ended once")
	})
}

// begunButHeartbeats returns how many have begun.
func (o *spans) begunButHeartbeats() int {
	deltas := len(o.of("delta", true))
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.begun - deltas
}

func TestATracerIsToldWhichLoadAnsweredAWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var seen spans
		s, err := tier.Open(t.Context(), tier.WithTracer(&seen))
		require.NoError(t, err)
		c := view[string](t, s, "docs")
		release := make(chan struct{})
		load := func(context.Context, *tier.Entry) (string, error) { <-release; return "", errOrigin }
		for range 3 {
			go func() { _, _ = c.Get(context.Background(), "k", load) }()
		}
		synctest.Wait()
		ctx, cancel := context.WithCancel(t.Context())
		cancelled := make(chan struct{})
		go func() { _, _ = c.Get(ctx, "k", load); close(cancelled) }()
		synctest.Wait()
		cancel()
		<-cancelled
		close(release)
		synctest.Wait()
		waits, loads := seen.of("wait", false), seen.of("load", false)
		require.Len(t, waits, 3)
		require.Len(t, loads, 1)
		assert.ErrorIs(t, loads[0].Err, errOrigin)
		assert.ErrorIs(t, waits[0].Err, context.Canceled)
		assert.Nil(t, waits[0].Leader)
		for _, w := range waits[1:] {
			assert.ErrorIs(t, w.Err, errOrigin)
			assert.Equal(t, loads[0].number, w.Leader.Value(spanKey{}).(*span).number)
		}
		require.NoError(t, s.Close())
		require.Zero(t, seen.open())
	})
}

func TestWhatIsDoneInTheBackgroundIsToldAsThat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var seen spans
		var observed events
		hooks := &interpose.Backend{Inner: embedded.New(0)}
		s, err := tier.Open(context.WithValue(t.Context(), spanKey{}, &span{number: -1}), tier.WithRemote(hooks), tier.WithTracer(&seen), tier.WithObserver(observed.observe))
		require.NoError(t, err)
		c := view[string](t, s, "docs", tier.WithTTL(time.Minute), tier.WithStaleWhileRevalidate(time.Hour))
		ctx := context.WithValue(t.Context(), spanKey{}, &span{number: -2})
		nested := func(ctx context.Context, _ *tier.Entry) (string, error) { return c.Get(ctx, "inner", is("i")) }
		_, err = c.Get(ctx, "k", nested)
		require.NoError(t, err)
		time.Sleep(2 * time.Minute)
		hooks.Before(func(op interpose.Op) error {
			if op == interpose.Lease {
				return errOrigin
			}
			return nil
		})
		_, err = c.Get(ctx, "k", nested)
		require.NoError(t, err)
		synctest.Wait()
		loads := seen.of("load", false)
		require.Len(t, loads, 4)
		told := func(i int) string { return fmt.Sprint(loads[i].Background, loads[i].parent == -2) }
		assert.ElementsMatch(t, []string{"false false", "false true"}, []string{told(0), told(1)})
		assert.ElementsMatch(t, []string{"true false", "true true"}, []string{told(2), told(3)}, "the inner value is past its TTL, too")
		var background []bool
		for _, e := range observed.of(tier.EventLoad) {
			background = append(background, e.Background)
		}
		assert.Equal(t, []bool{false, false, true, true}, background)
		failed := observed.of(tier.EventRemote)
		require.NotEmpty(t, failed)
		assert.True(t, failed[0].Background)
		for _, f := range observed.of(tier.EventFill)[:2] {
			assert.False(t, f.Background)
		}
		heartbeats := 0
		for _, d := range seen.of("delta", true) {
			if d.Background {
				heartbeats++
				assert.Zero(t, d.parent, "a heartbeat is not part of what opened the store")
			}
		}
		assert.Positive(t, heartbeats)
		require.NoError(t, s.Close())
	})
}

// unreliable is a tracer that panics, or returns nothing.
type unreliable struct{ start, end bool }

func (u unreliable) Start(context.Context, tier.Op) context.Context {
	if u.start {
		panic("a secret value")
	}
	return nil
}

func (u unreliable) End(context.Context, tier.Outcome) {
	if u.end {
		panic("a secret value")
	}
}

func TestAPanicOfATracerIsLogged(t *testing.T) {
	for name, u := range map[string]unreliable{"start": {start: true}, "end": {end: true}, "nil": {}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var log journal
				s, err := tier.Open(t.Context(), tier.WithTracer(u), tier.WithLogger(log.logger()))
				require.NoError(t, err)
				c := view[string](t, s, "docs")
				require.Equal(t, "v", find(t, c, "k", is("v")).Value)
				require.NoError(t, c.Set(t.Context(), "k", "w"))
				require.Equal(t, "w", find(t, c, "k", unneeded).Value)
				synctest.Wait()
				require.Zero(t, s.Stats().Panics)
				require.NoError(t, s.Close())
				if u.start || u.end {
					require.Contains(t, log.String(), "the tracer panicked")
				}
				require.NotContains(t, log.String(), "secret")
			})
		})
	}
}

// The reader goroutine of the connection calls no tracer: that may be slow.
func TestASlowTracerOfAFillDoesNotHoldUpTheConnection(t *testing.T) {
	srv := valkeytest.Shared(t)
	release := make(chan struct{})
	seen := spans{onEnd: func(s span) {
		if s.Name == "write" && s.Background {
			<-release
		}
	}}
	s, err := tier.Open(t.Context(), tier.WithValkey(srv.URL()), tier.WithPrefix(valkeytest.Prefix(t)), tier.WithRemoteTimeout(5*time.Second), tier.WithTracer(&seen))
	require.NoError(t, err)
	defer s.Close()
	defer close(release)
	c := view[string](t, s, "docs")
	for i := range 3 {
		find(t, c, fmt.Sprint(i), is("v"))
	}
	filled(t, s, 3)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	require.NoError(t, s.Sync(ctx))
	require.Equal(t, tier.Remote, find(t, c, "0", unneeded, tier.NoLocal()).Origin)
}

// An observer reads the very key that it is told of, whatever it is told.
func TestAnObserverMayReadTheKeyOfWhichAnErrorIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := embedded.New(0)
		hooks := &interpose.Backend{Inner: hub}
		var c, floats atomic.Pointer[tier.Cache[float64]]
		var told [6]atomic.Int64
		var tells atomic.Bool // each step tells once: what the observer does is observed too
		s, err := tier.Open(t.Context(), tier.WithRemote(hooks), tier.WithPrefix("test"), tier.WithObserver(func(e tier.Event) {
			if e.Err == nil || !tells.Swap(false) {
				return
			}
			told[e.Kind].Add(1)
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			defer cancel()
			for _, view := range []*tier.Cache[float64]{c.Load(), floats.Load()} {
				if _, err := view.Get(ctx, "k", is(2.0)); err != nil {
					t.Error(e.Kind, err)
				}
			}
		}))
		require.NoError(t, err)
		c.Store(view[float64](t, s, "docs"))
		floats.Store(view[float64](t, s, "floats"))
		for _, op := range []interpose.Op{interpose.Get, interpose.Lease, interpose.Write} {
			begun := time.Now()
			tells.Store(true)
			var failed atomic.Bool // more would be an outage
			hooks.Before(func(o interpose.Op) error {
				if o == op && !failed.Swap(true) {
					return errOrigin
				}
				return nil
			})
			_, err := c.Load().Get(t.Context(), "k", is(1.0))
			require.NoError(t, err)
			synctest.Wait()
			require.Less(t, time.Since(begun), time.Second, op)
			hooks.Before(func(interpose.Op) error { return nil })
			require.NoError(t, c.Load().Delete(t.Context(), "k"))
			synctest.Wait()
		}
		require.NoError(t, floats.Load().Delete(t.Context(), "k"))
		begun := time.Now()
		tells.Store(true)
		_, err = floats.Load().Get(t.Context(), "k", func(context.Context, *tier.Entry) (float64, error) { return nan(), nil })
		require.NoError(t, err)
		synctest.Wait()
		require.Less(t, time.Since(begun), time.Second)
		require.Positive(t, s.Stats().EncodeErrors)
		find(t, c.Load(), "k", is(1.0))
		synctest.Wait()
		for _, key := range hub.Keys() {
			hub.Put(key, "damaged")
		}
		begun = time.Now()
		tells.Store(true)
		_, err = c.Load().Get(t.Context(), "k", is(1.0), tier.NoLocal())
		require.NoError(t, err)
		synctest.Wait()
		require.Less(t, time.Since(begun), time.Second)
		assert.GreaterOrEqual(t, told[tier.EventRemote].Load(), int64(2))
		assert.GreaterOrEqual(t, told[tier.EventFill].Load(), int64(1))
		assert.Equal(t, int64(1), told[tier.EventBadEntry].Load())
		require.NoError(t, s.Close())
	})
}

func nan() float64 { var zero float64; return zero / zero }

func TestTheGoroutineOfALoaderIsLabelledWithItsNamespace(t *testing.T) {
	s, err := tier.Open(t.Context(), tier.WithRemoteTimeout(10*time.Second))
	require.NoError(t, err)
	defer s.Close()
	c := view[string](t, s, "docs:technical")
	labels := func(ctx context.Context) string {
		v, err := c.Get(ctx, "k", func(context.Context, *tier.Entry) (string, error) {
			var buf bytes.Buffer
			err := pprof.Lookup("goroutine").WriteTo(&buf, 1)
			return buf.String(), err
		}, tier.Fresh())
		require.NoError(t, err)
		require.NoError(t, c.Delete(ctx, "k"))
		return v
	}
	for range 2 {
		require.Contains(t, labels(t.Context()), `"tiercache":"docs:technical"`)
	}
	pprof.Do(t.Context(), pprof.Labels("endpoint", "search"), func(ctx context.Context) {
		require.Contains(t, labels(ctx), `{"endpoint":"search", "tiercache":"docs:technical"}`, "the caller's labels are kept")
	})
}

func TestALoadThatItsCallersLeftIsToldToHaveEndedThen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var seen spans
		s, err := tier.Open(t.Context(), tier.WithTracer(&seen))
		require.NoError(t, err)
		c := view[string](t, s, "docs", tier.WithLoadTimeout(time.Second))
		release := make(chan struct{})
		_, err = c.Get(t.Context(), "k", func(ctx context.Context, _ *tier.Entry) (string, error) {
			<-ctx.Done()
			if !errors.Is(context.Cause(ctx), context.DeadlineExceeded) {
				t.Error(context.Cause(ctx))
			}
			<-release
			return "v", nil
		})
		require.ErrorIs(t, err, context.DeadlineExceeded)
		synctest.Wait()
		loads := seen.of("load", false)
		require.Len(t, loads, 1)
		require.ErrorIs(t, loads[0].Err, context.DeadlineExceeded)
		close(release)
		synctest.Wait()
		require.Len(t, seen.of("load", false), 1)
		require.NoError(t, s.Close())
		require.Zero(t, seen.open())
	})
}
