package remotetest

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"sort"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/internal/backend"
	"github.com/tiercache/tiercache/internal/changelog"
	"github.com/tiercache/tiercache/invalidation"
)

// appendWith records a change with what the caller knows of the log.
func (s *store) appendWith(t testing.TB, c changelog.Change) changelog.Appended {
	t.Helper()
	c.Retention = cmp.Or(c.Retention, time.Hour)
	a, err := s.Append(s.ctx, c)
	require.NoError(t, err)
	return a
}

// numbered are n scopes.
func numbered(n int) []invalidation.Scope {
	scopes := make([]invalidation.Scope, n)
	for i := range scopes {
		scopes[i] = invalidation.Scope(fmt.Sprintf("s:%d", i))
	}
	return scopes
}

var logs = []test{
	{"WithoutALogThereIsNoIncarnation", func(t *testing.T, h Harness) {
		s := h.open(t, prefix())
		d, err := s.Delta(s.ctx, changelog.DeltaQuery{Since: 7, Limit: 10, Scopes: []invalidation.Scope{"s:x"}})
		require.NoError(t, err)
		require.Zero(t, d.Incarnation)
		require.Zero(t, d.Tick)
		require.Empty(t, d.Changes)
		require.NotZero(t, d.Connection)
		require.Empty(t, h.Keys(s.prefix), "reading makes none")
	}},

	{"TheFirstChangeMakesTheLog", func(t *testing.T, h Harness) {
		s := h.open(t, prefix())
		a := s.append(t, "s:x", "n:y")
		require.NotZero(t, a.Incarnation)
		require.Greater(t, a.Tick, a.Prev)
		d := s.delta(t, "s:x", "n:y", "s:z")
		require.Equal(t, a.Incarnation, d.Incarnation)
		require.Equal(t, a.Tick, d.Tick)
		require.Equal(t, []invalidation.Tick{a.Tick, a.Tick, 0}, d.Known)
		require.Equal(t, a.Prev, d.Floor, "nothing of before the log is valid")
		require.InDelta(t, float64(time.Now().Unix()), float64(d.ServerTime.Unix()), 10)
	}},

	{"ALogTellsAfterWhatItBegan", func(t *testing.T, h Harness) {
		known := invalidation.AsOf{Incarnation: 7, Tick: 42}
		for name, begin := range map[string]func(s *store){
			"by a change": func(s *store) {
				s.appendWith(t, changelog.Change{Scopes: []invalidation.Scope{"s:x"}, Known: known})
			},
			"by renewal": func(s *store) { require.NoError(t, s.Renew(s.ctx, changelog.Loss{Known: known})) },
		} {
			s := h.open(t, prefix())
			begin(s)
			ask := func(inc uint64) invalidation.AsOf {
				d, err := s.Delta(s.ctx, changelog.DeltaQuery{Limit: 10, Incarnation: inc})
				require.NoError(t, err)
				return d.After
			}
			require.Equal(t, known, ask(7), name)
			require.Zero(t, ask(s.delta(t).Incarnation), "to a store that follows it already it says nothing")
			s.append(t, "s:y")
			require.Equal(t, known, ask(0), name)
		}
	}},

	{"TicksStrictlyIncreaseAndEachNamesTheOneBefore", func(t *testing.T, h Harness) {
		p := prefix()
		conns := []*store{h.open(t, p), h.open(t, p)}
		start := conns[0].append(t, "s:first")
		var mu sync.Mutex
		var got []changelog.Appended
		var all sync.WaitGroup
		for i := range 8 {
			s := conns[i%2]
			all.Go(func() {
				for j := range 100 {
					a, err := s.Append(s.ctx, changelog.Change{Scopes: []invalidation.Scope{invalidation.Source(fmt.Sprint(i, j))}, Retention: time.Hour})
					if err != nil {
						t.Error(err)
						return
					}
					mu.Lock()
					got = append(got, a)
					mu.Unlock()
				}
			})
		}
		all.Wait()
		sort.Slice(got, func(i, j int) bool { return got[i].Tick < got[j].Tick })
		last := start
		for _, a := range got {
			require.Equal(t, last.Tick, a.Prev)
			require.Greater(t, a.Tick, a.Prev)
			require.Equal(t, start.Incarnation, a.Incarnation)
			last = a
		}
		require.Len(t, conns[0].deltaSince(t, start.Tick).Changes, 800)
	}},

	{"AllScopesOfOneChangeGetOneTick", func(t *testing.T, h Harness) {
		s := h.open(t, prefix())
		before := s.append(t, "s:0", "s:old")
		scopes := numbered(5000)
		a := s.append(t, scopes...)
		d := s.deltaSince(t, before.Tick)
		require.Len(t, d.Changes, len(scopes))
		for _, c := range d.Changes {
			require.Equal(t, a.Tick, c.Tick)
		}
		require.Len(t, s.delta(t).Changes, len(scopes)+1, "one member per scope")
	}},

	{"AChangeOfEverythingRaisesTheFloor", func(t *testing.T, h Harness) {
		s := h.open(t, prefix())
		a := s.append(t, "s:x")
		floor := s.delta(t).Floor
		require.Less(t, floor, a.Tick)
		all := s.appendWith(t, changelog.Change{All: true})
		require.Greater(t, all.Tick, a.Tick)
		d := s.delta(t, "s:x")
		require.Equal(t, all.Tick, d.Floor)
		require.Equal(t, all.Tick, d.Tick)
		require.Contains(t, []invalidation.Tick{a.Tick, 0}, d.Known[0], "it may be forgotten")
		both := s.appendWith(t, changelog.Change{All: true, Scopes: []invalidation.Scope{"s:y"}})
		require.Equal(t, both.Tick, s.delta(t).Floor)
		require.Contains(t, []invalidation.Tick{both.Tick, 0}, s.delta(t, "s:y").Known[0])
		eventually(t, func() bool { d = s.delta(t, "s:x"); return d.Known[0] == 0 }, "what lies below the floor is forgotten")
		require.Equal(t, both.Tick, d.Tick)
		require.Equal(t, both.Tick, d.Floor)
	}},

	{"ChangesArePublishedToEveryStoreOfThePrefix", func(t *testing.T, h Harness) {
		p := prefix()
		a, b := h.open(t, p).listening(t), h.open(t, p).listening(t)
		first := a.append(t, "s:x", "n:ns")
		second := a.appendWith(t, changelog.Change{All: true})
		third := b.appendWith(t, changelog.Change{Scopes: []invalidation.Scope{"s:\x00\r\n \xff"}})
		for _, s := range []*store{a, b} {
			find := func(tick invalidation.Tick) changelog.Message { return s.messagesTo(t, tick-1, tick)[0] }
			require.Equal(t, changelog.Message{Incarnation: first.Incarnation, Prev: first.Prev, Tick: first.Tick,
				Scopes: []invalidation.Scope{"s:x", "n:ns"}}, find(first.Tick))
			require.Equal(t, changelog.Message{Incarnation: first.Incarnation, Prev: first.Tick, Tick: second.Tick, All: true}, find(second.Tick))
			require.Equal(t, changelog.Message{Incarnation: first.Incarnation, Prev: second.Tick, Tick: third.Tick,
				Scopes: []invalidation.Scope{"s:\x00\r\n \xff"}}, find(third.Tick))
		}
	}},

	{"ALongChangeIsPublishedInPart", func(t *testing.T, h Harness) {
		s := h.open(t, prefix()).listening(t)
		for _, n := range []int{1024, 1025} {
			scopes := numbered(n)
			a := s.append(t, scopes...)
			m := s.messagesTo(t, a.Tick-1, a.Tick)[0]
			require.Equal(t, a.Tick, m.Tick)
			require.Equal(t, n > 1024, m.Partial)
			if n > 1024 {
				require.Empty(t, m.Scopes)
			} else {
				require.Equal(t, scopes, m.Scopes)
			}
		}
	}},

	{"OldChangesAreForgottenAndRaiseTheFloor", func(t *testing.T, h Harness) {
		s := h.open(t, prefix())
		old := s.append(t, "s:old", "s:again")
		again := s.append(t, "s:again")
		var d changelog.Delta
		eventually(t, func() bool {
			now := s.delta(t).ServerTime
			// Long enough for old to be forgotten, short enough for again to stay.
			keep := now.Sub(time.UnixMicro(int64(again.Tick)))
			s.appendWith(t, changelog.Change{Scopes: []invalidation.Scope{"s:new"}, Retention: keep + 50*time.Millisecond})
			d = s.delta(t, "s:again")
			if d.ServerTime.Sub(now) >= 50*time.Millisecond { // it was not, by then
				again = s.append(t, "s:again")
				return false
			}
			require.Equal(t, again.Tick, d.Known[0], "younger than the retention")
			s.appendWith(t, changelog.Change{Scopes: []invalidation.Scope{"s:new"}, Retention: time.Millisecond})
			d = s.delta(t, "s:old", "s:again", "s:new")
			return d.Known[1] == 0
		}, "the old changes are forgotten")
		require.Zero(t, d.Known[0])
		require.GreaterOrEqual(t, d.Floor, again.Tick, "what is older than a forgotten change is not valid")
		require.Greater(t, d.Floor, old.Tick)
		require.LessOrEqual(t, d.Floor, d.Tick)
		require.Equal(t, old.Incarnation, d.Incarnation)
	}},

	{"ALogTellsAfterWhichLagsChangesSettle", func(t *testing.T, h Harness) {
		s := h.open(t, prefix())
		scope := func(lag time.Duration, name string) invalidation.Scope {
			return invalidation.Scope("z" + strconv.FormatInt(lag.Milliseconds(), 36) + ":" + name)
		}
		long, short := scope(time.Hour, "AAAAAAAAAAAAAAAAAAAAAA"), scope(time.Millisecond, "BBBBBBBBBBBBBBBBBBBBBB")
		ask := func(q changelog.DeltaQuery) (all []changelog.Lag) {
			d, err := s.Delta(s.ctx, q)
			require.NoError(t, err)
			require.False(t, d.Damaged)
			slices.SortFunc(d.Lags, func(a, b changelog.Lag) int { return cmp.Compare(a.Lag, b.Lag) })
			return d.Lags
		}
		require.Empty(t, ask(changelog.DeltaQuery{Limit: 10}))
		a := s.append(t, "s:x", long, short)
		s.append(t, "s:x", long, short)
		s.append(t, "s:y")
		both := []changelog.Lag{{Lag: time.Millisecond}, {Lag: time.Hour}}
		require.Equal(t, both, ask(changelog.DeltaQuery{Limit: 10}), "to a store that starts")
		require.Equal(t, both, ask(changelog.DeltaQuery{Incarnation: a.Incarnation, Limit: 2}), "which has missed some")
		require.Equal(t, both, ask(changelog.DeltaQuery{Incarnation: a.Incarnation, Limit: 10, Scopes: []invalidation.Scope{long}}), "which asks")
		require.Empty(t, ask(changelog.DeltaQuery{Incarnation: a.Incarnation, Limit: 10, Scopes: []invalidation.Scope{"s:x"}}))
		known := s.delta(t, long, short).Known
		require.Equal(t, known[0], known[1])
		require.NotZero(t, known[0])
		eventually(t, func() bool { return s.delta(t).ServerTime.UnixMicro() > int64(known[0])+2000 }, "the shorter has passed")
		eventually(t, func() bool {
			s.appendWith(t, changelog.Change{All: true, Retention: time.Millisecond})
			s.appendWith(t, changelog.Change{Scopes: []invalidation.Scope{"s:new"}, Retention: time.Millisecond})
			return s.delta(t, long).Known[0] == 0
		}, "the scopes are forgotten")
		both[1].Trimmed = known[0]
		require.Equal(t, both, ask(changelog.DeltaQuery{Limit: 10}), "what had not settled when it was forgotten may have been of anything")
		again := s.append(t, long)
		require.Equal(t, both, ask(changelog.DeltaQuery{Limit: 10}))
		eventually(t, func() bool {
			s.appendWith(t, changelog.Change{All: true, Retention: time.Millisecond})
			return s.delta(t, long).Known[0] == 0
		}, "it is forgotten too")
		both[1].Trimmed = again.Tick
		require.Equal(t, both, ask(changelog.DeltaQuery{Limit: 10}))
	}},

	{"WithoutRetentionNothingIsKeptTwice", func(t *testing.T, h Harness) {
		s := h.open(t, prefix())
		for i := range 300 {
			s.append(t, invalidation.Scope(fmt.Sprintf("s:%d", i%3)))
		}
		d := s.delta(t)
		require.Len(t, d.Changes, 3)
		last := d.Changes[0].Tick
		for _, c := range d.Changes {
			require.GreaterOrEqual(t, c.Tick, last, "in the order of their ticks")
			last = c.Tick
		}
	}},

	{"ALostLogBeginsAnewUnderAnotherIncarnation", func(t *testing.T, h Harness) {
		s := h.open(t, prefix())
		before := s.append(t, "s:x")
		h.Delete(h.log(t, s.prefix))
		require.Zero(t, s.delta(t).Incarnation)
		after := s.appendWith(t, changelog.Change{Scopes: []invalidation.Scope{"s:y"},
			Known: invalidation.AsOf{Incarnation: before.Incarnation, Tick: before.Tick}})
		require.NotEqual(t, before.Incarnation, after.Incarnation)
		require.Greater(t, after.Prev, before.Tick)
		d := s.delta(t, "s:x", "s:y")
		require.Equal(t, []invalidation.Tick{0, after.Tick}, d.Known)
		require.Equal(t, after.Prev, d.Floor)
	}},

	{"ALogThatEndsTooEarlyIsReplacedBeforeTheChange", func(t *testing.T, h Harness) {
		s := h.open(t, prefix())
		before := s.append(t, "s:x")
		ahead := before.Tick + 3_600_000_000
		known := invalidation.AsOf{Incarnation: before.Incarnation, Tick: ahead}
		same := s.appendWith(t, changelog.Change{Scopes: []invalidation.Scope{"s:y"},
			Known: invalidation.AsOf{Incarnation: before.Incarnation, Tick: before.Tick}})
		require.Equal(t, before.Incarnation, same.Incarnation, "a log that ends where the caller is, is whole")
		after := s.appendWith(t, changelog.Change{Scopes: []invalidation.Scope{"s:z"}, Known: known})
		require.NotEqual(t, before.Incarnation, after.Incarnation)
		require.Greater(t, after.Prev, ahead)
		require.Greater(t, after.Tick, after.Prev)
		d := s.delta(t, "s:x", "s:y", "s:z")
		require.Equal(t, []invalidation.Tick{0, 0, after.Tick}, d.Known)
		require.Equal(t, after.Prev, d.Floor)
		next := s.append(t, "s:z")
		require.Equal(t, after.Tick, next.Prev)
		require.Greater(t, next.Tick, after.Tick, "ticks increase though the clock is behind them")
	}},

	{"RenewActsOnceForAllThatAsk", func(t *testing.T, h Harness) {
		p := prefix()
		conns := []*store{h.open(t, p), h.open(t, p)}
		before := conns[0].append(t, "s:x")
		lost := invalidation.AsOf{Incarnation: before.Incarnation, Tick: before.Tick}
		require.NoError(t, conns[0].Renew(conns[0].ctx, changelog.Loss{Known: lost}))
		require.Equal(t, before.Incarnation, conns[0].delta(t).Incarnation, "nothing was lost")
		for round := range 20 {
			if round%2 == 0 {
				h.Delete(h.log(t, p))
			} else {
				lost.Tick = conns[0].delta(t).Tick + 1000
			}
			var all sync.WaitGroup
			got := make([]uint64, 8)
			for i := range got {
				s := conns[i%2]
				all.Go(func() {
					if err := s.Renew(s.ctx, changelog.Loss{Known: lost}); err != nil {
						t.Error(err)
					}
					d, err := s.Delta(s.ctx, changelog.DeltaQuery{Limit: 10})
					if err != nil {
						t.Error(err)
					}
					got[i] = d.Incarnation
				})
			}
			all.Wait()
			for _, inc := range got {
				require.Equal(t, got[0], inc)
				require.NotZero(t, inc)
			}
			d := conns[0].delta(t)
			require.Greater(t, d.Tick, lost.Tick)
			require.Equal(t, d.Tick, d.Floor)
			require.Empty(t, d.Changes)
			lost.Tick = d.Tick
		}
	}},

	{"AForkedLogIsReplacedOnceThoughItIsAhead", func(t *testing.T, h Harness) {
		s := h.open(t, prefix())
		forked := s.append(t, "s:x")
		lost := changelog.Loss{Known: invalidation.AsOf{Incarnation: forked.Incarnation, Tick: forked.Tick - 10}, Forked: forked.Incarnation}
		require.NoError(t, s.Renew(s.ctx, lost))
		d := s.delta(t)
		require.NotEqual(t, forked.Incarnation, d.Incarnation)
		require.Empty(t, d.Changes)
		require.Equal(t, d.Tick, d.Floor)
		require.NoError(t, s.Renew(s.ctx, lost))
		require.Equal(t, d.Incarnation, s.delta(t).Incarnation)
	}},

	{"ADeltaHoldsWhatCameAfterUpToItsLimit", func(t *testing.T, h Harness) {
		s := h.open(t, prefix())
		var ticks []invalidation.Tick
		for i := range 10 {
			ticks = append(ticks, s.append(t, invalidation.Scope(fmt.Sprintf("s:%d", i))).Tick)
		}
		read := func(since invalidation.Tick, limit int) changelog.Delta {
			d, err := s.Delta(s.ctx, changelog.DeltaQuery{Since: since, Limit: limit, Scopes: []invalidation.Scope{"s:3"}})
			require.NoError(t, err)
			require.Equal(t, ticks[9], d.Tick)
			require.Equal(t, []invalidation.Tick{ticks[3]}, d.Known)
			return d
		}
		for i := range ticks {
			d := read(ticks[i], 100)
			require.Len(t, d.Changes, 9-i)
			require.False(t, d.Overflow)
			if i < 9 {
				require.Equal(t, changelog.ScopeTick{Scope: invalidation.Scope(fmt.Sprintf("s:%d", i+1)), Tick: ticks[i+1]}, d.Changes[0])
			}
		}
		for since, left := range map[invalidation.Tick]int{0: 10, ticks[4]: 5} {
			d := read(since, left)
			require.False(t, d.Overflow, "as many as the limit are no overflow")
			require.Len(t, d.Changes, left)
			d = read(since, left-1)
			require.True(t, d.Overflow)
			require.Empty(t, d.Changes)
		}
		require.Empty(t, read(ticks[9]+1000, 1).Changes, "a reader that is ahead is told where the log ends")
	}},

	{"ANewConnectionHasAnotherIdentity", func(t *testing.T, h Harness) {
		s, other := h.pair(t)
		first := s.delta(t).Connection
		require.Equal(t, first, s.delta(t).Connection)
		require.NotEqual(t, first, other.delta(t).Connection)
		lost := s.lost()
		h.Disconnect()
		var again changelog.Delta
		eventually(t, func() bool {
			var err error
			again, err = s.Delta(s.ctx, changelog.DeltaQuery{Limit: 10})
			return err == nil && again.Connection != first
		}, "another connection answers")
		eventually(t, func() bool { return s.lost() > lost }, "the loss is told")
	}},

	{"MessagesComeAgainAfterADisconnect", func(t *testing.T, h Harness) {
		s := h.open(t, prefix()).listening(t)
		s.mu.Lock()
		n := len(s.messages)
		s.mu.Unlock()
		h.Disconnect()
		eventually(t, func() bool {
			s.mu.Lock()
			defer s.mu.Unlock()
			return slices.Contains(s.messages[n:], "")
		}, "the store is told that it is subscribed anew")
		eventually(t, func() bool {
			a, err := s.Append(s.ctx, changelog.Change{Scopes: []invalidation.Scope{"s:x"}, Retention: time.Hour})
			if err != nil {
				return false // the connection may have to be made
			}
			m := s.published()
			return len(m) > 0 && m[len(m)-1].Tick == a.Tick
		}, "a message after the disconnect")
	}},

	{"InvalidationsOwedAreTakenBackByALoss", func(t *testing.T, h Harness) {
		s := h.open(t, prefix())
		k := s.key("k")
		s.get(t, k)
		lost := s.lost()
		h.Disconnect()
		eventually(t, func() bool { return s.lost() > lost }, "the loss is told")
		eventually(t, func() bool { _, err := s.GetOne(s.ctx, k); return err == nil }, "reads work again")
		before := s.invalidationsOf(k)
		h.Put(k, "new")
		s.hears(t, before+1, k)
	}},

	{"ADamagedLogIsNoLog", func(t *testing.T, h Harness) {
		if h.PutMember == nil {
			t.Skip("this backend's log cannot be tampered with")
		}
		s := h.open(t, prefix())
		before := s.append(t, "s:x")
		log := h.log(t, s.prefix)
		incarnation := changelog.FormatIncarnation(before.Incarnation)

		h.DeleteMember(log, "i"+incarnation)
		require.Zero(t, s.delta(t).Incarnation, "without its incarnation")
		after := s.append(t, "s:x")
		require.NotEqual(t, before.Incarnation, after.Incarnation)

		h.PutMember(log, -5, "s:before everything")
		require.Zero(t, s.delta(t).Incarnation, "with something before its incarnation")
		last := s.append(t, "s:x")
		require.NotEqual(t, after.Incarnation, last.Incarnation)

		h.Delete(log)
		h.PutList(log)
		require.Zero(t, s.delta(t).Incarnation, "of another type")
		require.NoError(t, s.Renew(s.ctx, changelog.Loss{}))
		require.NotZero(t, s.delta(t).Incarnation)
		h.Delete(log)
		h.PutList(log)
		require.NotZero(t, s.append(t, "s:x").Incarnation)

		h.DeleteMember(log, "f")
		require.Zero(t, s.delta(t).Floor)
		a := s.append(t, "s:y")
		require.Equal(t, a.Tick, s.delta(t).Tick)
	}},

	{"AnImpossibleTickIsDamage", func(t *testing.T, h Harness) {
		if h.PutMember == nil {
			t.Skip("this backend's log cannot be tampered with")
		}
		s := h.open(t, prefix())
		s.append(t, "s:x")
		log := h.log(t, s.prefix)
		century := float64(time.Now().AddDate(101, 0, 0).UnixMicro())
		for _, tick := range []float64{9e18, century, 1<<53 - 1, math.Inf(1), math.Floor(century/2) + 0.5} {
			a := s.append(t, "s:x")
			h.PutMember(log, tick, "s:far")
			require.Zero(t, s.delta(t).Incarnation, "a log with the tick %v is none", tick)
			require.NotEqual(t, a.Incarnation, s.append(t, "s:x").Incarnation)
		}
		for _, tick := range []float64{0.5, 5.5} { // the latest is a good one
			s.append(t, "s:x")
			h.PutMember(log, tick, "s:old")
			require.True(t, s.delta(t).Damaged)
			h.DeleteMember(log, "s:old")
			require.False(t, s.delta(t).Damaged)
			h.PutMember(log, tick, "f")
			require.True(t, s.delta(t).Damaged)
			h.DeleteMember(log, "f")
		}
	}},

	{"ReadsAndChangesOfAStoreWithoutTrackingGoOn", func(t *testing.T, h Harness) {
		s := h.open(t, prefix(), func(o *backend.Options) { o.NoTracking = true })
		a := s.append(t, "s:x")
		require.Equal(t, a.Tick, s.delta(t).Tick)
		require.NotZero(t, s.delta(t).Connection)
	}},
}
