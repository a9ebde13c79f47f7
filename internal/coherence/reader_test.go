package coherence

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// history is a hand-made one: steps at times that the test chooses.
type history struct {
	t *testing.T
	b *Board
	r *Reader // of member 0
}

const staleness = 100 * time.Millisecond

func newHistory(t *testing.T) *history {
	b := NewBoard()
	return &history{t, b, NewReader(b, 0, staleness)}
}

func at(ms int) Time { return Time(time.Hour) + Time(ms)*Time(time.Millisecond) }

// change is inv.call and, unless it fails, inv.ack of the next version.
func (h *history) change(member, ms int, acked bool) int64 {
	s := h.b.Subject(0)
	v := s.Advance()
	s.Note(Event{At: at(ms - 1), Kind: InvCall, Member: member, Version: v})
	if acked {
		h.b.Accepted(s, v, at(ms))
	}
	s.Returned(member, v)
	s.Note(Event{At: at(ms), Kind: InvAck, Member: member, Version: v})
	return v
}

func (h *history) read(ms int, version int64, fresh bool) *Violation {
	return h.r.Return(0, h.r.Call(0, fresh, at(ms)), version, 7)
}

func (h *history) allowed(ms int, version int64, fresh bool) {
	h.t.Helper()
	if v := h.read(ms, version, fresh); v != nil {
		h.t.Errorf("must be allowed: %v", v)
	}
}

func (h *history) violates(ms int, version int64, fresh bool, invariant string, least int64) {
	h.t.Helper()
	v := h.read(ms, version, fresh)
	require.NotNil(h.t, v, "must violate %s", invariant)
	require.Equal(h.t, invariant, v.Invariant)
	require.Equal(h.t, least, v.Least)
}

func TestI1AReadAfterTheOwnChangeReturned(t *testing.T) {
	h := newHistory(t)
	h.change(0, 10, true)
	h.allowed(11, 1, false)
	h.violates(11, 0, false, "I1", 1)
	h.change(0, 20, false) // its answer was an error: distrusted here all the same
	h.violates(21, 1, false, "I1", 2)
	e := h.r.Call(0, false, at(21))
	h.change(0, 30, true)
	require.Nil(t, h.r.Return(0, e, 2, 0), "the read was called before the change returned")
}

func TestI2AReadLaterThanTheBound(t *testing.T) {
	h := newHistory(t)
	for i := range 5 { // acknowledged at 10, 20, 30, 40, 50
		h.change(1, 10*(i+1), true)
	}
	h.allowed(110, 0, false)
	h.violates(111, 0, false, "I2", 1)
	h.allowed(111, 1, false)
	h.violates(131, 2, false, "I2", 3)
	h.allowed(149, 4, false)
	h.violates(10_000, 4, false, "I2", 5)
	h.allowed(10_000, 5, false)
}

func TestI2AReaderThatWasAwayForLongerThanTheRingRemembers(t *testing.T) {
	h := newHistory(t)
	h.allowed(0, 0, false)
	for i := range 5 * ackRing {
		h.change(1, i, true)
	}
	now := 5 * ackRing
	latest := int64(5 * ackRing)
	// Change v was acknowledged at v-1 ms; older than 100 ms are those up to
	// latest-100.
	h.violates(now, latest-101, false, "I2", latest-100)
	h.allowed(now, latest-100, false)
}

func TestI4AFreshRead(t *testing.T) {
	h := newHistory(t)
	h.change(1, 10, true)
	h.allowed(11, 0, false)
	h.violates(11, 0, true, "I4", 1)
	h.allowed(11, 1, true)
}

func TestI5AValueOfBeforeAChangeThatTheMemberWasToldOf(t *testing.T) {
	h := newHistory(t)
	h.change(1, 10, true)
	h.allowed(11, 0, false)
	h.b.Subject(0).Told(0, 1)
	h.violates(12, 0, false, "I5", 1)
	h.b.Subject(0).Told(0, 0) // an older Sync that returns late takes nothing back
	h.violates(12, 0, false, "I5", 1)
}

// Own reads do not go back, as long as nothing excuses it, whichever member made the
// change.
func TestI10AReadThatGoesBack(t *testing.T) {
	h := newHistory(t)
	h.change(1, 10, false)
	h.change(1, 20, false)
	h.allowed(30, 1, false)
	h.allowed(31, 0, false) // not judged without Calm
	calm := true
	h.r.Calm = func(Time) bool { return calm }
	h.violates(32, 0, false, "I10 (own reads go back)", 1)
	h.allowed(33, 2, false)
	h.violates(34, 1, false, "I10 (own reads go back)", 2)

	e := h.r.Call(0, false, at(35))
	e.Apart()
	require.Nil(t, h.r.Return(0, e, 0, 7), "another key")
	other := NewReader(h.b, 2, staleness)
	other.Calm = h.r.Calm
	require.Nil(t, other.Return(0, other.Call(0, false, at(36)), 0, 7), "another process")
	calm = false
	h.allowed(37, 1, false)
	calm = true
	h.b.Subject(0).Replaced(0)
	h.allowed(38, 0, false)
}

// "Not found" is the latest version that is that.
func TestNotFoundIsJudgedAsTheLatestVersionThatIs(t *testing.T) {
	h := newHistory(t)
	absentAt := func(ms int) *Violation { return h.r.ReturnAbsent(0, h.r.Call(0, false, at(ms))) }
	for h.b.Subject(0).Truth() < absentEvery-2 {
		h.change(0, 1, true)
	}
	v := absentAt(2)
	require.NotNil(t, v, "no version has been not found")
	require.Equal(t, "I1", v.Invariant)
	require.True(t, absent(h.change(0, 3, true)))
	require.Nil(t, absentAt(4))
	e := h.r.Call(0, false, at(5))
	require.False(t, absent(h.change(0, 6, true)))
	require.Nil(t, h.r.ReturnAbsent(0, e), "it was called before")
	require.NotNil(t, absentAt(7))
	h.b.Subject(0).Suspend()
	require.Nil(t, absentAt(8))
}

func TestASubjectHasOneWriterAtATime(t *testing.T) {
	s := NewBoard().Subject(0)
	require.True(t, s.Hold(1))
	require.False(t, s.Hold(1))
	require.False(t, s.Hold(2))
	s.Free(2) // not its
	require.False(t, s.Hold(2))
	s.Replaced(1) // its process has died
	require.True(t, s.Hold(2))
	s.Free(2)
	require.True(t, s.Hold(0))
}

func TestAVersionThatNeverWas(t *testing.T) {
	h := newHistory(t)
	h.change(1, 10, true)
	v := h.read(11, 2, false)
	require.NotNil(t, v)
	require.Contains(t, v.Invariant, "I0")
}

func TestExcusedAcknowledgementsCountOnceForgiven(t *testing.T) {
	h := newHistory(t)
	h.b.Excuse()
	h.change(1, 10, true)
	h.allowed(500, 0, true)
	h.change(0, 20, true)
	h.violates(500, 1, false, "I1", 2) // in the member itself nothing is excused
	h = newHistory(t)
	h.b.Excuse()
	h.change(1, 10, true)
	h.b.Forgive(at(500))
	h.violates(501, 0, true, "I4", 1)
	h.allowed(599, 0, false)
	h.violates(601, 0, false, "I2", 1)
}

func TestASuspendedSubjectIsNotJudged(t *testing.T) {
	h := newHistory(t)
	h.change(0, 10, true)
	h.b.Subject(0).Suspend()
	h.allowed(11, 0, false)
	e := h.r.Call(0, false, at(12))
	h.b.Subject(0).Resume()
	require.Nil(t, h.r.Return(0, e, 0, 0), "it was called while suspended")
	h.violates(13, 0, false, "I1", 1)
}

func TestAViolationIsPrintedAsASchedule(t *testing.T) {
	h := newHistory(t)
	s := h.b.Subject(0)
	s.Note(Event{At: at(2), Kind: LoadStart, Member: 0, Version: 0, Number: 7})
	h.change(1, 10, true)
	s.Note(Event{At: at(15), Kind: LoadEnd, Member: 0, Version: 0, Number: 7})
	h.b.NoteFault(FaultBegin, 3, at(12))
	v := h.read(200, 0, false)
	require.NotNil(t, v)
	v.Returned = at(201)
	v.Schedule = h.b.schedule(v)
	require.Equal(t, `I2 violated: member 0 read version 0 of subject 0, but had to be given at least 1
      -198.000 ms  member 0  load.start(0) load 7
      -191.000 ms  member 1  inv.call(1)
      -190.000 ms  member 1  inv.ack(1)
      -188.000 ms            fault no. 3
      -185.000 ms  member 0  load.end(0) load 7
        +0.000 ms  member 0  read.call
        +1.000 ms  member 0  read.ret(0) made by load 7: needed 1
`, v.String())
}

// The streaming check says what a naive one says that looks at all of the past.
func TestTheCheckAgreesWithANaiveOne(t *testing.T) {
	for seed := range uint64(20) {
		h := newHistory(t)
		rng := rand.New(rand.NewPCG(seed, 1))
		var acks []struct {
			version int64
			at      int
		}
		for ms := 1; ms < 5000; ms += rng.IntN(5) {
			if rng.IntN(3) == 0 {
				v := h.change(1, ms, true)
				acks = append(acks, struct {
					version int64
					at      int
				}{v, ms})
				continue
			}
			least := int64(0)
			for _, a := range acks {
				// skew makes an acknowledgement count from the next ms on
				if ms-a.at > int(staleness/time.Millisecond) {
					least = a.version
				}
			}
			require.Equal(t, least, h.r.Call(0, false, at(ms)).Bounded, "seed %d at %d", seed, ms)
		}
	}
}

func TestStalenessIsAccountedPerChange(t *testing.T) {
	h := newHistory(t)
	h.change(1, 10, true)
	h.allowed(12, 0, false)
	h.allowed(15, 0, false)
	h.allowed(16, 1, false)
	h.b.SetPhase(Faulty)
	h.change(1, 20, true)
	h.allowed(60, 1, false)
	h.allowed(61, 2, false)
	require.Equal(t, 5*time.Millisecond, h.r.Staleness[Healthy].Max)
	require.Equal(t, 40*time.Millisecond, h.r.Staleness[Faulty].Max)
}

func TestQuantilesAreWithinAnEighth(t *testing.T) {
	var h Histogram
	var all []time.Duration
	rng := rand.New(rand.NewPCG(1, 2))
	for range 10_000 {
		d := time.Duration(rng.ExpFloat64() * 1e6)
		all = append(all, d)
		h.Add(d)
	}
	slices.Sort(all)
	for _, q := range []float64{0.5, 0.99, 0.999, 1} {
		exact := all[int(q*float64(len(all)))-1]
		require.GreaterOrEqual(t, h.Quantile(q), exact)
		require.LessOrEqual(t, float64(h.Quantile(q)), 1.13*float64(exact)+1)
	}
}

func BenchmarkCheck(b *testing.B) {
	board := NewBoard()
	r := NewReader(board, 0, staleness)
	for i := range b.N {
		s := i % 64
		if v := r.Return(s, r.Call(s, false, Now()), 0, 0); v != nil {
			b.Fatal(v)
		}
	}
}
