package tier_test

import (
	"context"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/valkey-io/valkey-go"

	"github.com/tiercache/tiercache/internal/embedded"
	"github.com/tiercache/tiercache/internal/interpose"
	"github.com/tiercache/tiercache/internal/valkeytest"
	"github.com/tiercache/tiercache/remote"
	"github.com/tiercache/tiercache/tier"
)

// The invariants of the protocol, each with the schedule that breaks it if the
// guard named beside it is taken out. They run on both remotes.

// Guard: Tail.acknowledge applies the change before Change returns.
//
//	A: holds k in its local tier
//	A: InvalidateSource: recorded; the message to A is lost
//	A: reads k
func TestI1AfterAnInvalidationReturnedNoReadHereSeesTheOldValue(t *testing.T) {
	invalidate := map[string]func(s *tier.Store) error{
		"source":    func(s *tier.Store) error { _, err := s.InvalidateSource(bg, "other", "doc"); return err },
		"namespace": func(s *tier.Store) error { _, err := s.InvalidateNamespace(bg, "docs"); return err },
		"all":       func(s *tier.Store) error { _, err := s.InvalidateAll(bg); return err },
	}
	for name, change := range invalidate {
		t.Run(name, func(t *testing.T) {
			eachRemote(t, func(t *testing.T, w *world) {
				s, b := w.open(quiet...)
				c, o := cacheOf[int64](t, s), &origin{}
				lookup(t, c, o.load)
				require.Equal(t, tier.Local, lookup(t, c, o.load).Origin)
				b.Filter(func(interpose.Event) bool { return false })
				o.version.Add(1)
				require.NoError(t, change(s))
				r := lookup(t, c, o.load)
				require.Equal(t, int64(1), r.Value)
				require.Equal(t, tier.Loaded, r.Origin)
			})
		})
	}
}

// Guard: Tail.markPending before the change is sent, and pending until it is
// acknowledged.
//
//	A: holds k; its change cannot be sent, or its answer is lost
//	A: InvalidateSource returns an error
//	A: reads k
//	A: the connection is back, the change is sent again
//	B: learns of it
func TestI1AChangeThatCouldNotBeRecordedIsDistrustedHereAndSentAgain(t *testing.T) {
	for _, lost := range []string{"question", "answer"} {
		t.Run(lost, func(t *testing.T) {
			eachRemote(t, func(t *testing.T, w *world) {
				a, b := w.open(tier.WithHeartbeat(5*time.Millisecond), tier.WithMaxStaleness(time.Minute), tier.WithRemoteTimeout(10*time.Second))
				other, _ := w.open(quiet...)
				o := &origin{}
				ca, cb := cacheOf[int64](t, a), cacheOf[int64](t, other)
				lookup(t, ca, o.load)
				require.Equal(t, tier.Remote, lookup(t, cb, o.load).Origin)
				cut := func(op interpose.Op) error {
					if op == interpose.Append {
						return errCut
					}
					return nil
				}
				if lost == "question" {
					b.Before(cut)
				} else {
					b.After(cut)
				}
				b.Filter(func(e interpose.Event) bool { return e.Message == "" })
				o.version.Add(1)
				_, err := a.InvalidateSource(bg, "doc")
				require.ErrorIs(t, err, tier.ErrUnavailable)
				require.ErrorIs(t, err, errCut)
				for range 3 { // nor is what a load makes now believed later
					require.Equal(t, int64(1), lookup(t, ca, o.load).Value)
					require.Equal(t, 1, a.Health(bg).Undelivered)
				}
				b.Before(nil)
				b.After(nil)
				within(t, "the change is sent again", func() bool { return a.Health(bg).Undelivered == 0 })
				within(t, "the other store learns of it", func() bool { return lookup(t, cb, o.load).Value == 1 })
				within(t, "values are kept again", func() bool { return lookup(t, ca, o.load).Origin == tier.Local })
			})
		})
	}
}

// Guard: Table.InvalidateKey (changing a key marks what is being read of it), and the
// count of invalidations in accepts.
//
//	A1: GET k is answered with the old value, A1 sleeps
//	A2: Set(k, new) returns; its invalidations are late
//	A3: reads k: may not share A1's call
//	A1: wakes up: may not keep the old value
func TestI1AfterASetOrDeleteReturnedNoReadHereSeesTheOldValue(t *testing.T) {
	for _, how := range []string{"set", "delete"} {
		t.Run(how, func(t *testing.T) {
			eachRemote(t, func(t *testing.T, w *world) { readAroundAWrite(t, w, how, func() {}) })
			t.Run("in a bubble", func(t *testing.T) { // where it is certain that A3 waits
				synctest.Test(t, func(t *testing.T) {
					readAroundAWrite(t, &world{t, embedded.New(0), "test", nil}, how, synctest.Wait)
				})
			})
		})
	}
}

func readAroundAWrite(t *testing.T, w *world, how string, settled func()) {
	s, b := w.open(quiet...)
	c := cacheOf[int64](t, s)
	require.NoError(t, c.Set(bg, "k", 0))
	b.Filter(func(e interpose.Event) bool { return e.Changed == nil })
	held, goOn := stopAt(b.After, readOp(), 1)
	loadNew := func(context.Context, *tier.Entry) (int64, error) { return 1, nil }
	old := make(chan int64)
	go func() { old <- lookup(t, c, loadNew, tier.NoLocal()).Value }()
	<-held
	if how == "set" {
		require.NoError(t, c.Set(bg, "k", 1))
	} else {
		require.NoError(t, c.Delete(bg, "k"))
	}
	late := make(chan int64)
	go func() { late <- lookup(t, c, loadNew).Value }()
	go func() { late <- lookup(t, c, loadNew, tier.NoLocal()).Value }()
	settled()
	close(goOn)
	require.Equal(t, int64(0), <-old) // it began before the change
	require.Equal(t, int64(1), <-late)
	require.Equal(t, int64(1), <-late)
	require.Equal(t, int64(1), lookup(t, c, loadNew).Value)
}

// Guard: the age of the proof in Store.isValid.
//
//	B: holds k
//	B: is cut off: its heartbeats fail, messages and invalidations are lost
//	A: invalidates
//	B: reads k more than the maximum staleness later
func TestI2AProcessThatIsCutOffStopsBelievingItsCopies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{t, embedded.New(0), "test", nil}
		a, _ := w.open()
		b, hooks := w.open()
		o := &origin{}
		ca, cb := cacheOf[int64](t, a), cacheOf[int64](t, b)
		lookup(t, ca, o.load)
		synctest.Wait() // it is stored
		lookup(t, cb, o.load)
		require.Equal(t, tier.Local, lookup(t, cb, o.load).Origin)
		hooks.Before(func(interpose.Op) error { return errCut })
		hooks.Filter(func(interpose.Event) bool { return false })
		synctest.Wait()
		o.version.Add(1)
		_, err := a.InvalidateSource(bg, "doc")
		require.NoError(t, err)
		acknowledged := time.Now()
		last := time.Duration(0)
		for time.Since(acknowledged) < 3*time.Second {
			if r := lookup(t, cb, o.load); r.Value == 0 {
				last = time.Since(acknowledged)
			} else {
				require.Equal(t, tier.Loaded, r.Origin)
			}
			time.Sleep(time.Millisecond) // fake time
		}
		require.LessOrEqual(t, last, time.Second)
		require.Greater(t, last, 500*time.Millisecond, "copies are believed for as long as they may be")
		require.False(t, b.Health(bg).ServesLocal)
	})
}

// Guard: the heartbeat's delta read.
//
//	A: invalidates; the message to B is lost
//	B: its next heartbeat reads the log
func TestI2ALostMessageIsMadeGoodByTheNextHeartbeat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{t, embedded.New(0), "test", nil}
		a, _ := w.open()
		b, hooks := w.open()
		o := &origin{}
		ca, cb := cacheOf[int64](t, a), cacheOf[int64](t, b)
		lookup(t, ca, o.load)
		synctest.Wait() // it is stored
		lookup(t, cb, o.load)
		synctest.Wait() // what opening asked for has been answered
		hooks.Filter(func(e interpose.Event) bool { return e.Message == "" })
		o.version.Add(1)
		_, err := a.InvalidateSource(bg, "doc")
		require.NoError(t, err)
		require.Equal(t, int64(0), lookup(t, cb, o.load).Value, "the change is not known yet")
		time.Sleep(300 * time.Millisecond) // fake time: more than a heartbeat
		require.Equal(t, int64(1), lookup(t, cb, o.load).Value)
		require.Equal(t, tier.Local, lookup(t, cb, o.load).Origin)
	})
}

// Guard: the check of prev in Tail.recordLocked (rule R4).
//
//	A: changes doc (message 1, lost), then other (message 2)
//	B: receives message 2 alone: it may not believe that it knows all before it
func TestI2AMessageAfterAGapMakesTheLogBeRead(t *testing.T) {
	eachRemote(t, func(t *testing.T, w *world) {
		a, _ := w.open(quiet...)
		b, hooks := w.open(quiet...)
		subscribed(t, a, hooks)
		require.NoError(t, b.Sync(bg))
		o := &origin{}
		ca, cb := cacheOf[int64](t, a), cacheOf[int64](t, b)
		lookup(t, ca, o.load)
		lookup(t, cb, o.load)
		hooks.Filter(func(e interpose.Event) bool { return e.Message == "" || strings.Contains(e.Message, "any") })
		o.version.Add(1)
		_, err := a.InvalidateSource(bg, "doc")
		require.NoError(t, err)
		asOf, err := a.InvalidateSource(bg, "other")
		require.NoError(t, err)
		within(t, "both messages came", func() bool { return hooks.Held() == 2 })
		hooks.Filter(nil)
		hooks.Deliver(1)
		within(t, "the log was read", func() bool { return b.AsOf() == asOf })
		require.Equal(t, int64(1), lookup(t, cb, o.load).Value)
	})
}

// Guard: Delta.Connection moves the epoch before the proof (Tail.apply).
//
//	B: holds k, which it reads by tracking alone
//	B: its connection is replaced; the client's word of that is late
//	A: Set(k): the invalidation went to the old connection
//	B: a heartbeat on the new connection would prove that all is well
func TestI2AnotherConnectionEndsTheTrustInCopies(t *testing.T) {
	w := &world{t, embedded.New(0), "test", nil}
	w.raw = embeddedRaw{w.inner.(*embedded.Remote)}
	a, _ := w.open(quiet...)
	b, hooks := w.open(quiet...)
	ca, cb := cacheOf[int64](t, a), cacheOf[int64](t, b)
	fail := func(context.Context, *tier.Entry) (int64, error) { return 0, errCut }
	require.NoError(t, ca.Set(bg, "k", 0))
	lookup(t, cb, fail)
	require.Equal(t, tier.Local, lookup(t, cb, fail).Origin)
	hooks.Filter(func(interpose.Event) bool { return false })
	w.raw.disconnect()
	require.NoError(t, ca.Set(bg, "k", 1))
	require.NoError(t, b.Sync(bg)) // what a heartbeat does
	require.Equal(t, int64(1), lookup(t, cb, fail).Value)
}

// Guard: Session.ConnectionChanged, and what revalidate does then.
//
//	B: sends GET k over a new connection, to a server of another history
//	A: finds that first, and has k's namespace change
//	B: the answer is judged by what the connection before had proven
func TestI6WhatAnotherServerGaveIsJudgedByWhatItKnows(t *testing.T) {
	for _, way := range []bool{false, true} {
		leaseFirst = way
		w := &world{t, embedded.New(0), "test", nil}
		w.raw = embeddedRaw{w.inner.(*embedded.Remote)}
		a, _ := w.open(quiet...)
		b, hooks := w.open(quiet...)
		o := &origin{}
		ca, cb := cacheOf[int64](t, a), cacheOf[int64](t, b)
		lookup(t, ca, o.load)
		hooks.Filter(func(e interpose.Event) bool { return e.Message == "" })
		// The heartbeat that the loss wakes up is answered once the reader has asked
		// as well, or has ended.
		var asked atomic.Int64
		var ended atomic.Bool
		hooks.Before(func(op interpose.Op) error {
			if op == interpose.Delta {
				for asked.Add(1); asked.Load() < 2 && !ended.Load(); {
					runtime.Gosched()
				}
			}
			return nil
		})
		var once sync.Once
		read := readOp()
		hooks.After(func(op interpose.Op) error {
			if op == read {
				once.Do(func() {
					o.version.Add(1)
					_, err := a.InvalidateSource(bg, "doc")
					require.NoError(t, err)
					w.raw.disconnect()
					within(t, "B finds the loss", func() bool { return b.Health(bg).Staleness > time.Hour })
				})
			}
			return nil
		})
		got := lookup(t, cb, o.load)
		ended.Store(true)
		require.Equal(t, int64(1), got.Value)
	}
	leaseFirst = false
}

// Guard: Tail.Receive.
func TestI3OtherProcessesFollowWithinOnePush(t *testing.T) {
	eachRemote(t, func(t *testing.T, w *world) {
		a, _ := w.open(quiet...)
		b, _ := w.open(quiet...)
		o := &origin{}
		ca, cb := cacheOf[int64](t, a), cacheOf[int64](t, b)
		for i := range int64(20) {
			lookup(t, ca, o.load)
			lookup(t, cb, o.load)
			o.version.Add(1)
			_, err := a.InvalidateSource(bg, "doc")
			require.NoError(t, err)
			within(t, "a push", func() bool { return lookup(t, cb, o.load).Value == i+1 })
		}
	})
}

// Guard: the delta that a fresh read pipelines, and for callers that join a
// call CatchUp in canShare.
//
//	A: invalidates; B does not learn of it
//	B: reads k fresh
func TestI4AFreshReadReflectsEveryAcknowledgedChange(t *testing.T) {
	eachRemote(t, func(t *testing.T, w *world) {
		a, _ := w.open(quiet...)
		b, hooks := w.open(quiet...)
		o := &origin{}
		ca, cb := cacheOf[int64](t, a), cacheOf[int64](t, b)
		lookup(t, ca, o.load)
		lookup(t, cb, o.load)
		hooks.Filter(func(e interpose.Event) bool { return e.Message == "" })
		o.version.Add(1)
		_, err := a.InvalidateSource(bg, "doc")
		require.NoError(t, err)
		require.Equal(t, int64(1), lookup(t, cb, o.load, tier.Fresh()).Value)
		require.Equal(t, int64(1), lookup(t, cb, o.load).Value)
	})
}

// The same for a fresh caller that finds a load under way.
//
//	B1: its load has read the old document
//	A:  changes it; B does not learn of it
//	B2: reads k fresh, and finds B1's load
func TestI4AFreshReadDoesNotShareALoadFromBeforeAChange(t *testing.T) {
	eachRemote(t, func(t *testing.T, w *world) {
		a, _ := w.open(quiet...)
		b, hooks := w.open(quiet...)
		hooks.Filter(func(e interpose.Event) bool { return e.Message == "" })
		o := &origin{}
		cb := cacheOf[int64](t, b)
		reading, goOn := make(chan struct{}), make(chan struct{})
		first := make(chan int64)
		go func() {
			first <- lookup(t, cb, func(ctx context.Context, e *tier.Entry) (int64, error) {
				v, err := o.load(ctx, e)
				close(reading)
				<-goOn
				return v, err
			}).Value
		}()
		<-reading
		o.version.Add(1)
		_, err := a.InvalidateSource(bg, "doc")
		require.NoError(t, err)
		fresh := make(chan int64)
		go func() { fresh <- lookup(t, cb, o.load, tier.Fresh()).Value }()
		close(goOn)
		require.Equal(t, int64(0), <-first)
		require.Equal(t, int64(1), <-fresh)
	})
}

// Guards: the as-of is taken before the loader starts (runLoader), the item is
// judged before it is kept (hold), the waiter's own check (accepts).
//
//	A: its load has read the old document
//	the document changes, and that is invalidated: by A itself or by B
//	A: the load ends late: it is not believed in any tier, on any path
func TestI5ALoadThatOverlapsAChangeIsNotBelieved(t *testing.T) {
	type path struct {
		read    func(c *tier.Cache[int64], load tier.Loader[int64]) (int64, error)
		options []tier.CacheOption
	}
	get := func(c *tier.Cache[int64], load tier.Loader[int64]) (int64, error) { return c.Get(bg, "k", load) }
	paths := map[string]path{
		"foreground": {read: get},
		"refresh": {read: func(c *tier.Cache[int64], load tier.Loader[int64]) (int64, error) {
			return c.Refresh(bg, "k", load)
		}},
		"batch": {read: func(c *tier.Cache[int64], load tier.Loader[int64]) (int64, error) {
			m, err := c.GetMany(bg, []string{"j", "k"}, func(ctx context.Context, keys []string, e tier.Entries) (map[string]int64, error) {
				v, err := load(ctx, e.For("k"))
				return map[string]int64{"k": v}, err
			})
			return m["k"], err
		}},
		"local only": {read: get, options: []tier.CacheOption{tier.WithLocalOnly()}},
	}
	for name, p := range paths {
		for _, where := range []string{"here", "elsewhere"} {
			t.Run(name+" "+where, func(t *testing.T) {
				eachRemote(t, func(t *testing.T, w *world) {
					a, _ := w.open(quiet...)
					b, _ := w.open(quiet...)
					o := &origin{}
					ca, cb := cacheOf[int64](t, a, p.options...), cacheOf[int64](t, b, p.options...)
					reading, goOn := make(chan struct{}), make(chan struct{})
					got := make(chan int64)
					go func() {
						v, err := p.read(ca, func(ctx context.Context, e *tier.Entry) (int64, error) {
							v, err := o.load(ctx, e)
							close(reading)
							<-goOn
							return v, err
						})
						require.NoError(t, err)
						got <- v
					}()
					<-reading
					o.version.Add(1)
					changer := a
					if where == "elsewhere" {
						changer = b
					}
					asOf, err := changer.InvalidateSource(bg, "doc")
					require.NoError(t, err)
					within(t, "the change is known", func() bool { return a.AsOf() == asOf })
					late := make(chan int64)
					go func() { late <- lookup(t, ca, o.load).Value }()
					close(goOn)
					require.Equal(t, int64(0), <-got, "the caller that asked before the change is given what was loaded")
					require.Equal(t, int64(1), <-late, "the caller that asked after it is not")
					require.Equal(t, int64(1), lookup(t, ca, o.load).Value)
					require.Equal(t, int64(1), lookup(t, cb, o.load).Value)
				})
			})
		}
	}
}

// The same for loads that no caller waits for.
func TestI5ABackgroundLoadThatOverlapsAChangeIsNotBelieved(t *testing.T) {
	for name, option := range map[string]tier.CacheOption{
		"stale while revalidate": tier.WithStaleWhileRevalidate(time.Hour),
		"early refresh":          tier.WithEarlyRefresh(0.5),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := &world{t, embedded.New(0), "test", nil}
				s, _ := w.open()
				other, _ := w.open()
				o := &origin{}
				c := cacheOf[int64](t, s, tier.WithTTL(time.Minute), option)
				co := cacheOf[int64](t, other, tier.WithTTL(time.Minute), option)
				lookup(t, c, o.load)
				if name == "early refresh" {
					time.Sleep(45 * time.Second)
				} else {
					time.Sleep(61 * time.Second)
				}
				reading, goOn := make(chan struct{}), make(chan struct{})
				r := lookup(t, c, func(ctx context.Context, e *tier.Entry) (int64, error) {
					v, err := o.load(ctx, e)
					close(reading)
					<-goOn
					return v, err
				})
				require.Equal(t, int64(0), r.Value)
				<-reading
				o.version.Add(1)
				_, err := s.InvalidateSource(bg, "doc")
				require.NoError(t, err)
				close(goOn)
				synctest.Wait()
				require.Equal(t, int64(1), lookup(t, c, o.load).Value)
				synctest.Wait()
				require.Equal(t, int64(1), lookup(t, co, o.load).Value)
			})
		})
	}
}

// Guard: WithAsOf is what an explicit write is judged by (R11).
func TestI5ASetOfWhatWasReadBeforeAChangeIsNotBelieved(t *testing.T) {
	eachRemote(t, func(t *testing.T, w *world) {
		a, _ := w.open(quiet...)
		b, _ := w.open(quiet...)
		o := &origin{}
		ca, cb := cacheOf[int64](t, a), cacheOf[int64](t, b)
		asOf, read := a.AsOf(), o.version.Load()
		o.version.Add(1)
		_, err := b.InvalidateSource(bg, "doc")
		require.NoError(t, err)
		require.NoError(t, ca.Set(bg, "k", read, tier.WithAsOf(asOf), tier.WithSources("doc")))
		require.NoError(t, a.Sync(bg))
		require.Equal(t, int64(1), lookup(t, ca, o.load).Value)
		require.NoError(t, ca.Set(bg, "k", read, tier.WithAsOf(asOf), tier.WithSources("doc")))
		require.Equal(t, int64(1), lookup(t, cb, o.load).Value)
	})
}

// Guard: incarnations (View.Covers), and that a missing log is renewed.
//
//	k is stored, its source changes
//	the change log is lost
//	any process: reads k, which is still stored: "no log" is not "never changed"
func TestI6LosingTheChangeLogNeverRevivesAValue(t *testing.T) {
	lose := map[string]func(w *world){
		"log":        func(w *world) { w.raw.remove(w.prefix + ":{" + w.prefix + "}:log") },
		"everything": func(w *world) { w.raw.flush() },
		"each bookkeeping key": func(w *world) {
			for _, k := range w.raw.keys(w.prefix + ":{") {
				w.raw.remove(k)
			}
		},
	}
	next := map[string]func(t *testing.T, s *tier.Store){
		"a heartbeat":    func(t *testing.T, s *tier.Store) { require.NoError(t, s.Sync(bg)) },
		"another change": func(t *testing.T, s *tier.Store) { _, err := s.InvalidateSource(bg, "other"); require.NoError(t, err) },
	}
	for name, loss := range lose {
		for then, step := range next {
			t.Run(name+" then "+then, func(t *testing.T) {
				eachRemote(t, func(t *testing.T, w *world) {
					a, _ := w.open(quiet...)
					b, _ := w.open(quiet...)
					o := &origin{}
					ca, cb := cacheOf[int64](t, a), cacheOf[int64](t, b)
					lookup(t, ca, o.load)
					lookup(t, cb, o.load)
					o.version.Add(1)
					_, err := a.InvalidateSource(bg, "doc")
					require.NoError(t, err)
					loss(w)
					step(t, a)
					c, _ := w.open(quiet...) // a process that knows nothing
					require.Equal(t, int64(1), lookup(t, cacheOf[int64](t, c), o.load).Value)
					require.Equal(t, int64(1), lookup(t, ca, o.load).Value)
					require.NoError(t, b.Sync(bg))
					require.Equal(t, int64(1), lookup(t, cb, o.load).Value)
				})
			})
		}
	}
}

// Guard: an Append or a Delta that finds the log behind the watermark renews it.
//
//	the log is replaced by an older copy of itself, of the same incarnation
//	(a replica that had not caught up was promoted): the change is not in it
func TestI6AnOlderCopyOfTheLogNeverRevivesAValue(t *testing.T) {
	s := valkeytest.Start(t)
	for then, step := range map[string]func(t *testing.T, s *tier.Store){
		"a heartbeat":    func(t *testing.T, s *tier.Store) { require.NoError(t, s.Sync(bg)) },
		"another change": func(t *testing.T, s *tier.Store) { _, err := s.InvalidateSource(bg, "other"); require.NoError(t, err) },
	} {
		t.Run(then, func(t *testing.T) {
			option, err := valkey.ParseURL(strings.Replace(s.URL(), "valkey://", "redis://", 1))
			require.NoError(t, err)
			w := &world{t, remote.Valkey(option), strings.Trim(valkeytest.Prefix(t), ":"), valkeyRaw{t, s}}
			a, _ := w.open(quiet...)
			o := &origin{}
			ca := cacheOf[int64](t, a)
			_, err = a.InvalidateSource(bg, "first")
			require.NoError(t, err)
			lookup(t, ca, o.load)
			log := w.prefix + ":{" + w.prefix + "}:log"
			dump, err := s.Do(t, "DUMP", log).ToString()
			require.NoError(t, err)
			o.version.Add(1)
			_, err = a.InvalidateSource(bg, "doc")
			require.NoError(t, err)
			s.Do(t, "RESTORE", log, "0", dump, "REPLACE")
			step(t, a)
			c, _ := w.open(quiet...) // knows only what the server has
			require.Equal(t, int64(1), lookup(t, cacheOf[int64](t, c), o.load).Value)
			require.Equal(t, int64(1), lookup(t, ca, o.load).Value)
		})
	}
}
