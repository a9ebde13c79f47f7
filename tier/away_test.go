package tier_test

import (
	"context"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/internal/backend"
	"github.com/tiercache/tiercache/internal/interpose"
	"github.com/tiercache/tiercache/remote"
	"github.com/tiercache/tiercache/tier"
)

// I8: while the server is away, in fake time.

// sentByReads are the requests that callers wait for.
var sentByReads = []interpose.Op{interpose.Get, interpose.Lease, interpose.Write, interpose.Delete, interpose.Extend, interpose.Release}

func TestI8OnlyTheFirstReadsOfAnOutageWaitForTheServer(t *testing.T) {
	partitioned(t, func(t *testing.T, p *partition) {
		c := view[string](t, p.store, "docs")
		p.server.silence()
		for i := range 2 {
			took := elapsed(func() { find(t, c, strconv.Itoa(i), is("v")) })
			assert.GreaterOrEqual(t, took, testTimeout-testTimeout/8)
			assert.Less(t, took, testTimeout, "some of it is left to wake the caller")
		}
		require.True(t, p.away())
		time.Sleep(time.Second) // leases that may have been taken are released, and no local copy is proven any more
		p.server.count(sentByReads...)
		for i := range 1000 {
			key := strconv.Itoa(i % 10)
			assert.Zero(t, elapsed(func() {
				assert.Equal(t, tier.Loaded, find(t, c, key, is("v")).Origin)
				find(t, c, key, is("v"), tier.Fresh())
				find(t, c, key, is("v"), tier.NoLocal())
				for _, options := range [][]tier.CallOption{nil, {tier.NoLocal()}} {
					got, err := c.GetMany(t.Context(), []string{key, "x"}, func(_ context.Context, keys []string, _ tier.Entries) (map[string]string, error) {
						return many(keys...), nil
					}, options...)
					assert.NoError(t, err)
					assert.Len(t, got, 2)
				}
				_, err := c.Refresh(t.Context(), key, is("v"))
				assert.NoError(t, err)
			}))
			time.Sleep(10 * time.Millisecond)
		}
		assert.Zero(t, p.server.count(sentByReads...), "nothing is sent, nor released that was not taken")
		assert.Equal(t, int64(1), tier.Openings(p.store))
	})
}

// What GetMany has asked for past calls is not asked for again by them.
func TestI8AGetManyOfWhatIsNotKeptWaitsOnce(t *testing.T) {
	partitioned(t, func(t *testing.T, p *partition) {
		c := view[string](t, p.store, "docs")
		p.server.silence()
		assert.Less(t, elapsed(func() {
			got, err := c.GetMany(t.Context(), []string{"a", "b"}, func(_ context.Context, keys []string, _ tier.Entries) (map[string]string, error) {
				return many(keys...), nil
			}, tier.NoLocal())
			assert.NoError(t, err)
			assert.Equal(t, many("a", "b"), got)
		}), testTimeout)
		ctx, cancel := context.WithTimeout(t.Context(), testTimeout/4)
		defer cancel()
		_, err := c.GetMany(ctx, []string{"a"}, noStrings, tier.NoLocal())
		assert.ErrorIs(t, err, context.DeadlineExceeded)
	})
}

// Whatever of them asks for the lease along with the read.
func TestI8AReadThatAsksForTheLeaseFirstIsRefusedToo(t *testing.T) {
	partitioned(t, func(t *testing.T, p *partition) {
		p.begin()
		c := view[string](t, p.store, "docs")
		tier.LeaseFirst(c)
		time.Sleep(2 * time.Second)
		p.server.count(sentByReads...)
		for range 10 {
			assert.Zero(t, elapsed(func() { find(t, c, "k", is("v")) }))
			synctest.Wait()
		}
		assert.Zero(t, p.server.count(sentByReads...))
	}, tier.WithMaxStaleness(time.Minute)) // without proof it would not
}

// A caller that reads with Fresh while another loads cannot find out whether that load
// is recent enough, and does not wait for the server to tell.
func TestI8AFreshReadThatSharesDoesNotWaitForTheServer(t *testing.T) {
	partitioned(t, func(t *testing.T, p *partition) {
		p.begin()
		c := view[string](t, p.store, "docs")
		const loading = 100 * time.Millisecond
		slow := func(context.Context, *tier.Entry) (string, error) { time.Sleep(loading); return "v", nil }
		go find(t, c, "k", slow, tier.Fresh())
		synctest.Wait()
		for range 3 {
			go func() {
				assert.LessOrEqual(t, elapsed(func() { find(t, c, "k", slow, tier.Fresh()) }), 4*loading)
			}()
		}
		time.Sleep(5 * loading)
		synctest.Wait()
	})
}

// An as-of from before what this process remembers would have to be asked about.
func TestI8AnOldAsOfIsNotAskedAboutWhileTheServerIsAway(t *testing.T) {
	partitioned(t, func(t *testing.T, p *partition) {
		c := outageView(p)
		old := p.store.AsOf()
		ids := make([]string, 70_000)
		for i := range ids {
			ids[i] = strconv.Itoa(i)
		}
		_, err := p.other.InvalidateSource(t.Context(), ids...)
		require.NoError(t, err)
		require.NoError(t, p.store.Sync(t.Context()))
		p.begin()
		assert.Zero(t, elapsed(func() { find(t, c, "k", is("v", "doc"), tier.WithAsOf(old)) }))
	})
}

func TestI8OneLoadPerKeyWhileTheServerIsAway(t *testing.T) {
	partitioned(t, func(t *testing.T, p *partition) {
		p.begin()
		c := view[string](t, p.store, "docs")
		var loads atomic.Int64
		for i := range 100 {
			go find(t, c, "k", counted(&loads, func(context.Context, *tier.Entry) (string, error) {
				time.Sleep(time.Second)
				return "v", nil
			}), [][]tier.CallOption{nil, {tier.NoLocal()}}[i%2]...)
		}
		time.Sleep(500 * time.Millisecond)
		synctest.Wait()
		assert.Equal(t, int64(1), loads.Load())
		time.Sleep(time.Second)
	})
}

func TestI8LocalHitsAreBackWithinASecondOfTheServer(t *testing.T) {
	// The heartbeat is of no help here.
	rarely := []tier.Option{tier.WithHeartbeat(time.Hour), tier.WithMaxStaleness(2 * time.Hour)}
	for name, options := range map[string][]tier.Option{"default": nil, "rare heartbeats": rarely} {
		t.Run(name, func(t *testing.T) {
			partitioned(t, func(t *testing.T, p *partition) {
				c := view[string](t, p.store, "docs", tier.WithTTL(tier.StaticFacts))
				find(t, c, "k", is("v"))
				synctest.Wait()
				for _, away := range []time.Duration{0, 10 * time.Millisecond, 3 * time.Second, time.Hour} {
					p.begin()
					time.Sleep(away)
					p.end()
					assert.Contains(t, []tier.Origin{tier.Remote, tier.Local}, find(t, c, "k", unneeded).Origin)
					assert.Equal(t, tier.Local, find(t, c, "k", unneeded).Origin)
				}
			}, options...)
		})
	}
}

func TestI8ProbesAreFewAndOutOfStep(t *testing.T) {
	rarely := []tier.Option{tier.WithHeartbeat(time.Hour), tier.WithMaxStaleness(2 * time.Hour)}
	partitioned(t, func(t *testing.T, p *partition) {
		p.server.refuse(errUnreachable)
		p.notice()
		p.server.count(interpose.Delta)
		time.Sleep(100 * time.Second)
		n := p.server.count(interpose.Delta)
		assert.Greater(t, n, 200, "one in 250 to 500 ms")
		assert.Less(t, n, 410)
		assert.NotContains(t, []int{200, 400}, n, "not all of one length")
	}, rarely...)
}

func TestI8ASlowCommandOfAnotherClientDoesNotMakeTheServerAway(t *testing.T) {
	partitioned(t, func(t *testing.T, p *partition) {
		c := view[string](t, p.store, "docs")
		time.Sleep(testHeartbeat / 10)
		p.server.silence()
		for i := range 100 {
			go find(t, c, strconv.Itoa(i), is("v"))
		}
		time.Sleep(testTimeout + 10*time.Millisecond)
		p.server.work()
		find(t, c, "k", is("v"))
		synctest.Wait()
		assert.Zero(t, tier.Openings(p.store))
		assert.Equal(t, int64(100), p.store.Stats().Unleased)
	})
}

// A server that answers after the budget is of no more use than one that does
// not, though its heartbeats are answered.
func TestI8AServerThatIsTooSlowIsAway(t *testing.T) {
	partitioned(t, func(t *testing.T, p *partition) {
		c := view[string](t, p.store, "docs")
		p.server.delay(testTimeout + 30*time.Millisecond)
		p.notice()
		for range 100 {
			assert.Zero(t, elapsed(func() { find(t, c, "k", is("v")) }))
			time.Sleep(50 * time.Millisecond)
		}
		assert.Equal(t, int64(1), tier.Openings(p.store))
		assert.Zero(t, p.store.Health(t.Context()).FailedHeartbeats)
		p.end()
	})
}

// An idle store finds out by its heartbeats.
func TestI8HeartbeatsFindTheServerAway(t *testing.T) {
	for name, fail := range map[string]func(*fickle){
		"silent":  (*fickle).silence,
		"slow":    func(b *fickle) { b.delay(80 * time.Millisecond) },
		"refused": func(b *fickle) { b.refuse(errUnreachable) },
	} {
		t.Run(name, func(t *testing.T) {
			partitioned(t, func(t *testing.T, p *partition) {
				fail(p.server)
				time.Sleep(4 * testHeartbeat)
				assert.True(t, p.away())
				assert.Zero(t, elapsed(func() { find(t, view[string](t, p.store, "docs"), "k", is("v")) }))
			})
		})
	}
}

// That they were in a hurry says nothing about the server.
func TestI8CallersThatGiveUpSoonerDoNotMakeTheServerAway(t *testing.T) {
	rarely := []tier.Option{tier.WithHeartbeat(time.Hour), tier.WithMaxStaleness(2 * time.Hour)}
	partitioned(t, func(t *testing.T, p *partition) {
		c := view[string](t, p.store, "docs")
		p.server.silence()
		for range 10 {
			ctx, cancel := context.WithTimeout(t.Context(), testTimeout/2)
			_, err := c.Get(ctx, "k", is("v"))
			assert.ErrorIs(t, err, context.DeadlineExceeded)
			assert.ErrorIs(t, c.Set(ctx, "k", "v"), context.DeadlineExceeded)
			assert.Error(t, p.store.Sync(ctx))
			cancel()
			ctx, cancel = context.WithCancel(t.Context())
			time.AfterFunc(testTimeout/2, cancel)
			_, err = c.Get(ctx, "k", is("v"))
			assert.ErrorIs(t, err, context.Canceled)
		}
		assert.Zero(t, tier.Openings(p.store))
	}, rarely...)
}

// Those that could have left, and did not, do.
func TestI8CallersThatWaitForAsLongAsTheyMayMakeTheServerAway(t *testing.T) {
	rarely := []tier.Option{tier.WithHeartbeat(time.Hour), tier.WithMaxStaleness(2 * time.Hour)}
	partitioned(t, func(t *testing.T, p *partition) {
		c := view[string](t, p.store, "docs")
		p.server.silence()
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		for i := range 3 {
			v, err := c.Get(ctx, strconv.Itoa(i), is("v"))
			assert.NoError(t, err)
			assert.Equal(t, "v", v)
		}
		assert.EqualValues(t, 1, tier.Openings(p.store))
	}, rarely...)
}

func TestI8AServerThatRefusesToStoreIsNotAway(t *testing.T) {
	partitioned(t, func(t *testing.T, p *partition) {
		c := view[string](t, p.store, "docs")
		p.server.refuse(fmt.Errorf("writing: %w", remote.ErrFull))
		for range 10 {
			assert.ErrorIs(t, c.Set(t.Context(), "k", "v"), remote.ErrFull)
		}
		assert.Zero(t, tier.Openings(p.store))
	})
}

func TestI8WritesFailAtOnceWhileTheServerIsAway(t *testing.T) {
	partitioned(t, func(t *testing.T, p *partition) {
		c := view[string](t, p.store, "docs")
		p.begin()
		for what, call := range map[string]func() error{
			"set":      func() error { return c.Set(t.Context(), "k", "v") },
			"set many": func() error { return c.SetMany(t.Context(), map[string]string{"k": "v", "l": "w"}) },
			"delete":   func() error { return c.Delete(t.Context(), "k", "l") },
			"peek":     func() error { _, _, err := c.Peek(t.Context(), "k"); return err },
		} {
			assert.Zero(t, elapsed(func() {
				err := call()
				assert.ErrorIs(t, err, tier.ErrUnavailable, what)
				assert.NotErrorIs(t, err, context.DeadlineExceeded, what)
				assert.ErrorContains(t, err, "away since", what)
			}), what)
		}
	})
}

// The first second of a frozen server's outage, when local copies are still
// believed: a failed Set or Delete takes its key out of that.
func TestI8AWriteThatWasRefusedIsDistrustedHere(t *testing.T) {
	for what, write := range map[string]func(c *tier.Cache[string]) error{
		"set":    func(c *tier.Cache[string]) error { return c.Set(bg, "k", "v2") },
		"delete": func(c *tier.Cache[string]) error { return c.Delete(bg, "k") },
	} {
		t.Run(what, func(t *testing.T) {
			partitioned(t, func(t *testing.T, p *partition) {
				c := view[string](t, p.store, "docs")
				find(t, c, "k", is("v1"))
				find(t, c, "other", is("w1"))
				synctest.Wait()
				p.begin()
				require.Equal(t, tier.Local, find(t, c, "k", unneeded).Origin)
				require.ErrorIs(t, write(c), tier.ErrUnavailable)
				assert.Equal(t, "v2", find(t, c, "k", is("v2")).Value)
				assert.Equal(t, tier.Local, find(t, c, "other", unneeded).Origin)
			}, tier.WithMaxStaleness(time.Minute))
		})
	}
}

// It is tried, since nothing else tells the others, but not for long.
func TestI8AChangeIsTriedBrieflyAndRecordedWhenTheServerIsBack(t *testing.T) {
	rarely := []tier.Option{tier.WithHeartbeat(time.Hour), tier.WithMaxStaleness(2 * time.Hour)}
	partitioned(t, func(t *testing.T, p *partition) {
		a, b := view[string](t, p.store, "docs"), view[string](t, p.other, "docs")
		find(t, a, "k", is("v1", "doc"))
		synctest.Wait()
		find(t, b, "k", unneeded)
		p.begin()
		took := elapsed(func() {
			_, err := p.store.InvalidateSource(t.Context(), "doc")
			assert.ErrorIs(t, err, tier.ErrUnavailable)
		})
		assert.LessOrEqual(t, took, testTimeout)
		assert.Equal(t, 1, p.server.count(interpose.Append))
		assert.Equal(t, "v2", find(t, a, "k", is("v2", "doc")).Value)
		p.end() // which no heartbeat tells, nor was Health asked, which has the log read
		assert.Zero(t, p.store.Health(t.Context()).Undelivered)
		assert.Equal(t, "v3", find(t, b, "k", is("v3", "doc")).Value)
		assert.Equal(t, "v3", find(t, a, "k", unneeded).Value)
	}, rarely...)
}

// The newest of each scope wins, and beyond a bound one change of everything
// covers them all.
func TestI8ChangesThatWaitAreBoundedAndNoneIsForgotten(t *testing.T) {
	partitioned(t, func(t *testing.T, p *partition) {
		a, b := view[string](t, p.store, "docs"), view[string](t, p.other, "docs")
		for _, k := range []string{"first", "last", "unrelated"} {
			find(t, a, k, is(k+" v1", "doc "+k))
		}
		synctest.Wait()
		for _, k := range []string{"first", "last", "unrelated"} {
			find(t, b, k, unneeded)
		}
		p.server.refuse(errUnreachable)
		p.notice()
		change := func(source string) {
			_, err := p.store.InvalidateSource(t.Context(), source)
			require.ErrorIs(t, err, tier.ErrUnavailable)
		}
		for range 3 {
			change("doc first")
		}
		assert.Equal(t, 1, p.store.Health(t.Context()).Undelivered, "the newest of one scope")
		const bound = 10_000
		for i := range bound {
			change(strconv.Itoa(i))
		}
		time.Sleep(2 * time.Second) // no stall
		h := p.store.Health(t.Context())
		assert.LessOrEqual(t, h.Undelivered, bound)
		assert.True(t, h.UndeliveredAll, "everything, instead")
		assert.False(t, h.Healthy)
		change("doc last")
		for _, k := range []string{"first", "last"} {
			assert.Equal(t, "v2", find(t, a, k, is("v2", "doc "+k)).Value)
		}
		p.end()
		time.Sleep(2 * testHeartbeat)
		h = p.store.Health(t.Context())
		assert.Zero(t, h.Undelivered)
		assert.False(t, h.UndeliveredAll)
		assert.True(t, h.Healthy)
		for _, k := range []string{"first", "last", "unrelated"} {
			assert.Equal(t, "v3", find(t, b, k, is("v3", "doc "+k)).Value)
		}
	})
}

func TestI8AnOutageIsSeenInHealthStatsAndTheLogOnce(t *testing.T) {
	var log journal
	partitioned(t, func(t *testing.T, p *partition) {
		log.buf.Reset()
		c := view[string](t, p.store, "docs")
		h := p.store.Health(t.Context())
		assert.Zero(t, h.AwaySince)
		assert.Zero(t, h.Outages)
		for n := range int64(3) {
			began := time.Now()
			p.begin()
			for range 100 {
				find(t, c, "k", is("v"))
				time.Sleep(100 * time.Millisecond)
			}
			h, st := p.store.Health(t.Context()), p.store.Stats()
			assert.WithinRange(t, h.AwaySince, began, began.Add(2*testTimeout))
			assert.Equal(t, h.AwaySince, st.AwaySince)
			assert.Equal(t, n+1, h.Outages)
			assert.Equal(t, n+1, st.Outages)
			assert.False(t, h.Healthy)
			assert.ErrorIs(t, h.RemoteErr, tier.ErrUnavailable)
			assert.LessOrEqual(t, st.RemoteErrors, 10*(n+1), "what was not sent did not fail")
			p.end()
			h, st = p.store.Health(t.Context()), p.store.Stats()
			assert.True(t, h.Healthy)
			assert.Zero(t, h.AwaySince)
			assert.Zero(t, st.AwaySince)
		}
		assert.Equal(t, 3, strings.Count(log.String(), "the remote tier does not answer"))
		assert.Equal(t, 3, strings.Count(log.String(), "the remote tier answers again"))
	}, tier.WithLogger(log.logger()))
}

// A server that is slow, not away, and tells so by its data only.
func TestI8HealthIsNotWellWhileReadsAreRefused(t *testing.T) {
	partitioned(t, func(t *testing.T, p *partition) {
		inTime := testTimeout - testTimeout/8 // what every request waits for
		p.server.delay(inTime)
		assert.True(t, p.store.Health(t.Context()).Healthy)
		p.server.delay(testTimeout + 10*time.Millisecond)
		p.notice()
		h := p.store.Health(t.Context())
		assert.ErrorIs(t, h.RemoteErr, tier.ErrUnavailable)
		assert.True(t, h.Healthy, "as yet it is a stall")
		time.Sleep(1500 * time.Millisecond)
		p.server.delay(inTime)
		h = p.store.Health(t.Context()) // the next probe is yet to come
		assert.False(t, h.Healthy)
		assert.ErrorIs(t, h.RemoteErr, tier.ErrUnavailable)
	})
}

// losing is a backend that can lose acknowledged writes, as a server can.
type losing struct{ backend.Backend }

type losingConn struct{ backend.Conn }

func (l losing) Connect(ctx context.Context, o backend.Options) (backend.Conn, error) {
	c, err := l.Backend.Connect(ctx, o)
	return losingConn{c}, err
}

func (losingConn) LosesWrites() bool { return true }

// The first Set in a namespace has the log know of it, and is not to wait for that.
func TestI8TheFirstSetOfANamespaceFailsAtOnceToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := newFickle(losing{remote.NewEmbedded(0)})
		s, err := tier.Open(t.Context(), tier.WithRemote(server), tier.WithLogger(slog.New(slog.DiscardHandler)))
		require.NoError(t, err)
		defer s.Close()
		p := &partition{t: t, server: server, store: s}
		c := view[string](t, s, "docs")
		p.begin()
		server.count(interpose.Append)
		require.Zero(t, elapsed(func() {
			require.ErrorIs(t, c.Set(t.Context(), "k", "v"), tier.ErrUnavailable)
			require.ErrorIs(t, c.Delete(t.Context(), "k"), tier.ErrUnavailable)
		}))
		require.Zero(t, server.count(interpose.Append))
		p.end()
		require.NoError(t, c.Set(t.Context(), "k", "v"))
		require.Equal(t, 1, server.count(interpose.Append))
		require.NoError(t, c.Set(t.Context(), "k", "w"))
		require.Zero(t, server.count(interpose.Append), "once")
	})
}
