package tier_test

import (
	"context"
	"log/slog"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/remote"
	"github.com/tiercache/tiercache/tier"
)

// Loads that are kept while the server is away, in fake time.

const outageTTL = 10 * time.Second

func outageView(p *partition, options ...tier.CacheOption) *tier.Cache[string] {
	return view[string](p.t, p.store, "docs", append([]tier.CacheOption{tier.WithOutageTTL(outageTTL)}, options...)...)
}

func TestWithOutageTTLAnOutageIsNoStormAtTheOrigin(t *testing.T) {
	partitioned(t, func(t *testing.T, p *partition) {
		c := outageView(p)
		p.beginUnproven()
		var loads atomic.Int64
		load := counted(&loads, is("v", "doc"))
		for i := range 1000 { // 100 s
			began := time.Now()
			r := find(t, c, "k", load)
			assert.Zero(t, time.Since(began))
			assert.Equal(t, r.Outage, r.Origin == tier.Local)
			assert.LessOrEqual(t, r.TTL, tier.UserData)
			if r.Outage {
				assert.LessOrEqual(t, r.TTL, outageTTL)
				assert.LessOrEqual(t, r.Age, outageTTL)
				assert.Equal(t, []string{"doc"}, r.Sources)
			}
			if i%10 == 1 {
				v, ok, err := c.Peek(t.Context(), "k")
				assert.NoError(t, err)
				assert.True(t, ok)
				assert.Equal(t, "v", v)
				got, err := c.GetMany(t.Context(), []string{"k"}, noStrings)
				assert.NoError(t, err)
				assert.Equal(t, map[string]string{"k": "v"}, got)
				e, err := c.Explain(t.Context(), "k")
				assert.ErrorIs(t, err, tier.ErrUnavailable)
				assert.True(t, e.Local.Valid)
				assert.True(t, e.Local.Outage)
				assert.Contains(t, e.Local.String(), "while the remote tier is away")
			}
			time.Sleep(100*time.Millisecond - time.Since(began))
		}
		assert.InDelta(t, 10, loads.Load(), 2)
		st := p.store.Stats()
		assert.Equal(t, st.LocalHits, st.OutageHits)
		assert.Positive(t, st.OutageHits)
	})
}

func TestWithoutTheOptionNothingIsKeptDuringAnOutage(t *testing.T) {
	partitioned(t, func(t *testing.T, p *partition) {
		with, without := outageView(p), view[string](t, p.store, "docs")
		short := view[string](t, p.store, "docs", tier.WithOutageTTL(time.Second))
		p.beginUnproven()
		find(t, without, "k", is("v"))
		assert.Equal(t, tier.Loaded, find(t, with, "k", is("v")).Origin, "nothing was kept")
		assert.Equal(t, tier.Loaded, find(t, without, "k", is("v")).Origin, "a view serves no other's copies")
		find(t, with, "k", is("v"))
		assert.Equal(t, tier.Local, find(t, short, "k", unneeded).Origin)
		time.Sleep(time.Second)
		assert.Equal(t, tier.Loaded, find(t, short, "k", is("v")).Origin, "nor longer than its own")
		assert.Equal(t, tier.Loaded, find(t, with, "other", is("v"), tier.NoLocal()).Origin)
		assert.Equal(t, tier.Loaded, find(t, with, "other", is("v")).Origin)
		assert.Equal(t, tier.Loaded, find(t, with, "other", is("v"), tier.Fresh()).Origin, "a fresh read asks")
	})
}

// The leave counts from when the load began, and the entry's own TTL holds.
func TestAnOutageCopyLivesNoLongerThanItsTTLs(t *testing.T) {
	partitioned(t, func(t *testing.T, p *partition) {
		p.begin()
		c := outageView(p)
		slow := func(context.Context, *tier.Entry) (string, error) { time.Sleep(outageTTL / 2); return "v", nil }
		find(t, c, "slow", slow)
		time.Sleep(outageTTL/2 - time.Millisecond)
		assert.True(t, find(t, c, "slow", unneeded).Outage)
		time.Sleep(time.Millisecond)
		assert.Equal(t, tier.Loaded, find(t, c, "slow", is("v")).Origin)

		short := outageView(p, tier.WithTTL(time.Second), tier.WithStaleOnError(time.Hour), tier.WithStaleWhileRevalidate(time.Hour))
		find(t, short, "short", is("v"))
		time.Sleep(time.Second - time.Millisecond)
		assert.True(t, find(t, short, "short", unneeded).Outage)
		time.Sleep(time.Millisecond)
		assert.Equal(t, tier.Loaded, find(t, short, "short", is("v")).Origin)

		_, err := c.Get(t.Context(), "no", fails[string](tier.ErrNotFound))
		assert.ErrorIs(t, err, tier.ErrNotFound)
		r, err := c.Lookup(t.Context(), "no", unneeded)
		assert.ErrorIs(t, err, tier.ErrNotFound, "that there is nothing is kept as well")
		assert.True(t, r.Outage)
		find(t, c, "discarded", func(_ context.Context, e *tier.Entry) (string, error) { e.DoNotStore(); return "v", nil })
		assert.Equal(t, tier.Loaded, find(t, c, "discarded", is("v")).Origin)
	})
}

// While this process is cut off, another sets the key. Its value is stored, so
// it is found; what was kept here is not served again, then or ever.
func TestOutageCopiesAreDroppedWhenTheServerIsBack(t *testing.T) {
	partitioned(t, func(t *testing.T, p *partition) {
		a, b := outageView(p), view[string](t, p.other, "docs")
		find(t, a, "before", is("v"))
		synctest.Wait()
		p.beginUnproven()
		for _, k := range []string{"set", "deleted", "before"} {
			find(t, a, k, is("old"), tier.Fresh())
			require.True(t, find(t, a, k, unneeded).Outage)
		}
		require.NoError(t, b.Set(t.Context(), "set", "new"))
		require.NoError(t, b.Delete(t.Context(), "deleted"))
		if p.tracked { // else a message tells
			require.Equal(t, "old", find(t, a, "set", unneeded).Value, "no process here can know")
		}
		p.end()
		assert.Equal(t, "new", find(t, a, "set", unneeded).Value)
		assert.Equal(t, "loaded", find(t, a, "deleted", is("loaded")).Value)
		before := find(t, a, "before", unneeded).Value
		if p.tracked {
			assert.Equal(t, "v", before, "the remote tier still has it")
		} else {
			assert.Equal(t, "old", before, "the log tells of all that could have changed it")
		}
		find(t, a, "left", is("w"))
		synctest.Wait()

		// Another outage brings none of the first back.
		p.beginUnproven()
		find(t, a, "left2", is("old"))
		p.end()
		p.beginUnproven()
		assert.Equal(t, tier.Loaded, find(t, a, "left2", is("new")).Origin)
		p.end()
		e, err := a.Explain(t.Context(), "left2")
		assert.NoError(t, err)
		assert.False(t, e.Local.Outage)
		assert.Equal(t, !p.tracked, e.Local.Valid)
		if p.tracked {
			assert.Contains(t, e.Local.Why, "outage that is over")
		}
	})
}

func TestI1AnOutageCopyIsNeverServedForWhatWasChangedHere(t *testing.T) {
	for what, change := range map[string]func(s *tier.Store, c *tier.Cache[string]) error{
		"source": func(s *tier.Store, _ *tier.Cache[string]) error { _, err := s.InvalidateSource(bg, "doc"); return err },
		"namespace": func(s *tier.Store, _ *tier.Cache[string]) error {
			_, err := s.InvalidateNamespace(bg, "docs")
			return err
		},
		"all":    func(s *tier.Store, _ *tier.Cache[string]) error { _, err := s.InvalidateAll(bg); return err },
		"set":    func(_ *tier.Store, c *tier.Cache[string]) error { return c.Set(bg, "k", "v2") },
		"delete": func(_ *tier.Store, c *tier.Cache[string]) error { return c.Delete(bg, "k") },
	} {
		t.Run(what, func(t *testing.T) {
			partitioned(t, func(t *testing.T, p *partition) {
				c := outageView(p, tier.WithStaleOnError(time.Hour))
				p.beginUnproven()
				find(t, c, "k", is("v1", "doc"))
				require.True(t, find(t, c, "k", unneeded).Outage)
				require.ErrorIs(t, change(p.store, c), tier.ErrUnavailable)
				_, err := c.Get(t.Context(), "k", fails[string](errOrigin))
				assert.ErrorIs(t, err, errOrigin, "not stale either")
				_, ok, _ := c.Peek(t.Context(), "k")
				assert.False(t, ok)
				for range 3 {
					assert.Equal(t, "v2", find(t, c, "k", is("v2", "doc")).Value)
				}
				// A load that was under way is given to its caller and not kept.
				loading, goOn := make(chan struct{}), make(chan struct{})
				go find(t, c, "k", func(_ context.Context, e *tier.Entry) (string, error) {
					e.DependsOn("doc")
					close(loading)
					<-goOn
					return "v2", nil
				}, tier.Fresh())
				<-loading
				require.ErrorIs(t, change(p.store, c), tier.ErrUnavailable)
				close(goOn)
				synctest.Wait()
				assert.Equal(t, "v3", find(t, c, "k", is("v3", "doc")).Value)
				p.end()
				assert.NotEqual(t, "v1", find(t, c, "k", is("v4", "doc")).Value)
			})
		})
	}
}

// Messages may still arrive while requests are not answered.
func TestAnOutageCopyIsNotServedForAChangeThatWasHeardOf(t *testing.T) {
	partitioned(t, func(t *testing.T, p *partition) {
		c := outageView(p)
		p.begin()
		find(t, c, "k", is("v1", "doc"))
		_, err := p.other.InvalidateSource(t.Context(), "doc")
		require.NoError(t, err)
		synctest.Wait()
		assert.Equal(t, "v2", find(t, c, "k", is("v2", "doc")).Value)
	})
}

// Guard: a copy is judged by marks of the present table.
//
//	A: loads k from doc, and keeps it while the server is slow
//	B: changes more than A remembers; A learns of it late, and begins a new table
//	A: changes doc, which marks it in the new table
func TestI1AnOutageCopyIsJudgedByWhatIsKnownNow(t *testing.T) {
	partitioned(t, func(t *testing.T, p *partition) {
		c := outageView(p)
		p.server.delay(testTimeout + 30*time.Millisecond)
		p.notice()
		find(t, c, "k", is("v1", "doc"))
		require.Equal(t, p.tracked, find(t, c, "k", unneeded).Outage, "without tracking it is proven: the log is read, if late")
		ids := make([]string, 70_000)
		for i := range ids {
			ids[i] = strconv.Itoa(i)
		}
		_, err := p.other.InvalidateSource(t.Context(), ids...)
		require.NoError(t, err)
		time.Sleep(2 * testHeartbeat)
		require.True(t, p.away(), "it learned of it, but late")
		_, err = p.store.InvalidateSource(t.Context(), "doc")
		require.ErrorIs(t, err, tier.ErrUnavailable)
		assert.Equal(t, "v2", find(t, c, "k", is("v2", "doc")).Value)
	})
}

func TestNotFoundEndsAnOutageCopy(t *testing.T) {
	partitioned(t, func(t *testing.T, p *partition) {
		c := outageView(p, tier.WithNegativeTTL(0))
		p.beginUnproven()
		for _, again := range []func() error{
			func() error {
				_, err := c.Get(t.Context(), "k", fails[string](tier.ErrNotFound), tier.Fresh())
				return err
			},
			func() error { _, err := c.Refresh(t.Context(), "k", fails[string](tier.ErrNotFound)); return err },
		} {
			find(t, c, "k", is("v"))
			require.True(t, find(t, c, "k", unneeded).Outage)
			require.ErrorIs(t, again(), tier.ErrNotFound)
			_, err := c.Get(t.Context(), "k", fails[string](tier.ErrNotFound))
			assert.ErrorIs(t, err, tier.ErrNotFound)
		}
		find(t, c, "k", is("v1"))
		v, err := c.Refresh(t.Context(), "k", is("v2"))
		require.NoError(t, err)
		assert.Equal(t, "v2", v)
		assert.Equal(t, "v2", find(t, c, "k", unneeded).Value, "a refresh renews it")
	})
}

// Guard: finishFromLocal.
//
//	A: finds no copy of k, and is about to join the caller that loads it
//	B: has loaded k, keeps it, and its call is over
//	A: leads a call of its own
func TestOneLoadPerKeyAlsoWhereACopyIsBeingKept(t *testing.T) {
	server := newFickle(remote.NewEmbedded(0))
	s, err := tier.Open(t.Context(), tier.WithRemote(server), tier.WithLogger(slog.New(slog.DiscardHandler)))
	require.NoError(t, err)
	defer s.Close()
	server.refuse(errUnreachable)
	c := view[string](t, s, "docs", tier.WithOutageTTL(tier.UserData))
	for i := range 2 {
		find(t, c, "finding out "+strconv.Itoa(i), is("v"))
	}
	const rounds = 5000
	var loads atomic.Int64
	for round := range rounds {
		var readers sync.WaitGroup
		for range 8 {
			readers.Go(func() { find(t, c, strconv.Itoa(round), counted(&loads, is("v"))) })
		}
		readers.Wait()
	}
	assert.Equal(t, int64(rounds), loads.Load())
}

func TestOutageCopiesThatWereMadeTogetherDoNotEndTogether(t *testing.T) {
	partitioned(t, func(t *testing.T, p *partition) {
		c := outageView(p, tier.WithJitter(0.5))
		p.begin()
		const keys = 200
		var loads atomic.Int64
		load := counted(&loads, is("v"))
		read := func() int64 {
			loads.Store(0)
			for i := range keys {
				find(t, c, strconv.Itoa(i), load)
			}
			return loads.Load()
		}
		assert.Equal(t, int64(keys), read())
		time.Sleep(outageTTL/2 - time.Millisecond)
		assert.Zero(t, read())
		time.Sleep(outageTTL / 4)
		assert.InDelta(t, keys/2, read(), keys/4)
	})
}

// Where keys are kept nowhere else, the log tells of all changes: what was
// loaded during the outage is proven afterwards, and stays.
func TestALocalOnlyCopyOutlivesTheOutage(t *testing.T) {
	partitioned(t, func(t *testing.T, p *partition) {
		c := outageView(p, tier.WithLocalOnly())
		p.begin()
		find(t, c, "k", is("v", "doc"))
		find(t, c, "changed", is("v", "other doc"))
		time.Sleep(2 * time.Second)
		assert.True(t, find(t, c, "k", unneeded).Outage)
		_, err := p.other.InvalidateSource(t.Context(), "other doc")
		require.NoError(t, err)
		p.end()
		r := find(t, c, "k", unneeded)
		assert.Equal(t, tier.Local, r.Origin)
		assert.False(t, r.Outage)
		assert.Greater(t, r.TTL, outageTTL)
		assert.Equal(t, "w", find(t, c, "changed", is("w", "other doc")).Value)
	})
}

// WithStaleOnError extends the TTL and never the trust: not for what cannot be
// proven, and not for what was changed here.
func TestStaleOnErrorDuringAnOutage(t *testing.T) {
	partitioned(t, func(t *testing.T, p *partition) {
		c := view[string](t, p.store, "docs", tier.WithTTL(time.Minute), tier.WithStaleOnError(time.Hour))
		for _, k := range []string{"a", "b", "c"} {
			find(t, c, k, is("v", "doc "+k))
		}
		synctest.Wait()
		time.Sleep(time.Minute + testHeartbeat/2)
		p.begin()
		r, err := c.Lookup(t.Context(), "a", fails[string](errOrigin))
		require.NoError(t, err, "it is proven still")
		assert.True(t, r.Stale)
		assert.False(t, r.Outage)
		_, err = p.store.InvalidateSource(t.Context(), "doc b")
		require.ErrorIs(t, err, tier.ErrUnavailable)
		require.ErrorIs(t, c.Set(t.Context(), "c", "v2"), tier.ErrUnavailable)
		for _, k := range []string{"b", "c"} {
			_, err = c.Get(t.Context(), k, fails[string](errOrigin))
			assert.ErrorIs(t, err, errOrigin, k)
		}
		time.Sleep(time.Second)
		_, err = c.Get(t.Context(), "a", fails[string](errOrigin))
		assert.ErrorIs(t, err, errOrigin, "it is not proven any more")
		p.end()
		for k, want := range map[string]error{"a": nil, "b": errOrigin} {
			r, err = c.Lookup(t.Context(), k, fails[string](errOrigin))
			assert.ErrorIs(t, err, want, k)
			assert.Equal(t, want == nil, r.Stale, k)
		}
	})
}
