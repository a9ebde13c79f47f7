package coherence

import (
	"runtime"
	"sync/atomic"
	"time"
)

// The board's shape is fixed, so that it can lie in memory that processes share.
const (
	MaxSubjects = 96
	MaxMembers  = 8

	ackRing   = 1 << 10
	traceRing = 1 << 8
)

// Board is what all members of a fleet share: the truth, and what was promised of
// it. It holds no pointers, and everything in it is atomic.
type Board struct {
	phase    atomic.Int64
	since    atomic.Int64 // the present phase
	quiet    atomic.Int64
	given    atomic.Int64 // 1 + the subject whose write failed last: see Board.GivenUp
	excusing atomic.Int64
	stop     atomic.Int64
	faults   trace
	members  [MaxMembers]Tally
	subjects [MaxSubjects]Subject
}

// NewBoard returns a board for the members of this process; see [Share] for more.
func NewBoard() *Board { return new(Board) }

// Subject returns the subject with index s.
func (b *Board) Subject(s int) *Subject { return &b.subjects[s] }

// Tally returns the live figures of a member.
func (b *Board) Tally(member int) *Tally { return &b.members[member] }

// Stop asks all members to end, in this process and in others.
func (b *Board) Stop() { b.stop.Store(1) }

// Stopped reports whether the members were asked to end.
func (b *Board) Stopped() bool { return b.stop.Load() != 0 }

// Phase says what is being done to the fleet: staleness is accounted by it.
type Phase int64

// The phases of a run.
const (
	Healthy Phase = iota
	Faulty
	numPhases
)

// SetPhase begins a phase.
func (b *Board) SetPhase(p Phase) {
	b.since.Store(int64(Now()))
	b.phase.Store(int64(p))
}

// HealthyFor reports whether nothing has been done to the fleet for so long.
func (b *Board) HealthyFor(d time.Duration, now Time) bool {
	return Phase(b.phase.Load()) == Healthy && now-Time(b.since.Load()) >= Time(d)
}

// OnlyCells has members change nothing that is told by the change log, until it is
// called with false.
func (b *Board) OnlyCells(only bool) {
	b.quiet.Store(0)
	if only {
		b.quiet.Store(1)
	}
}

// GivenUp notes that a write of the subject has failed: another member is to write
// it soon, since what was given up may be on its way still.
func (b *Board) GivenUp(subject int) { b.given.Store(int64(subject) + 1) }

// LatestGivenUp returns the subject whose write failed last.
func (b *Board) LatestGivenUp() (subject int, ok bool) {
	n := b.given.Load()
	return int(n) - 1, n > 0
}

// Tally is what a member has done so far, for tests that wait for it to do
// something.
type Tally struct {
	Reads, Changes, Syncs, Loads, LocalHits, Failures, Violations atomic.Int64

	// Ended are the calls that failed because their context had ended.
	Ended atomic.Int64

	// Changing is the subject that the member changes, or did last: that is where
	// readers are most likely to find something wrong.
	Changing atomic.Int64

	_ [7]int64 // its own cache lines
}

// Subject is one thing that can change. It has one writer at a time, the member
// that owns it or that holds it; its versions count up from 1, 0 is what there was
// before.
type Subject struct {
	truth  atomic.Int64
	holder atomic.Int64 // 1 + the member, for subjects that several members change
	acks   struct {
		writing atomic.Int64 // a lock for two rare writers: the owner, and Forgive
		count   atomic.Int64
		ring    [ackRing]ack // nth acknowledgement at n%ackRing
	}
	returned  [MaxMembers]atomic.Int64 // versions whose change has returned there
	told      [MaxMembers]atomic.Int64 // versions that member knows of by a Sync
	seen      [MaxMembers]sight
	excused   atomic.Int64 // latest version acknowledged during an Excuse
	suspended atomic.Int64
	wanted    atomic.Int64 // a change is wanted from the owner
	trace     trace
}

// ack says that a change to version was acknowledged to a member by at. It can
// be trusted if nth is the same before and after the other two were read.
type ack struct{ nth, version, at atomic.Int64 }

// sight is the highest version that reads of a member have given, and not later
// than when one first did.
type sight struct{ at, version atomic.Int64 }

// Saw notes that a read of member gave version.
func (s *Subject) Saw(member int, version int64, at Time) {
	seen := &s.seen[member]
	for old := seen.version.Load(); old < version; old = seen.version.Load() {
		if seen.version.CompareAndSwap(old, version) {
			seen.at.Store(int64(at))
		}
	}
}

// Hold makes member the writer, unless there is one.
func (s *Subject) Hold(member int) bool { return s.holder.CompareAndSwap(0, int64(member)+1) }

// Free ends a Hold.
func (s *Subject) Free(member int) { s.holder.CompareAndSwap(int64(member)+1, 0) }

// Truth returns the present version.
func (s *Subject) Truth() int64 { return s.truth.Load() }

// Advance begins the next version. Only the writer calls it.
func (s *Subject) Advance() int64 { return s.truth.Add(1) }

// Returned notes that the call of member that changes the subject to version has
// returned: with or without an error, that member's own reads give no less.
func (s *Subject) Returned(member int, version int64) { s.returned[member].Store(version) }

// Acked notes that a change to version had been acknowledged by at. Both go up.
func (s *Subject) Acked(version int64, at Time) {
	for !s.acks.writing.CompareAndSwap(0, 1) {
		runtime.Gosched()
	}
	defer s.acks.writing.Store(0)
	n := s.acks.count.Load()
	if n > 0 && s.acks.ring[n%ackRing].version.Load() >= version {
		return
	}
	n++
	a := &s.acks.ring[n%ackRing]
	a.nth.Store(0)
	a.version.Store(version)
	a.at.Store(int64(at))
	a.nth.Store(n)
	s.acks.count.Store(n)
}

// LatestAck returns the highest version acknowledged to any member.
func (s *Subject) LatestAck() int64 {
	for {
		n := s.acks.count.Load()
		if n == 0 {
			return 0
		}
		if version, _, ok := s.ack(n); ok {
			return version
		}
	}
}

// ack returns the nth acknowledgement unless the ring has overwritten it.
func (s *Subject) ack(n int64) (version int64, at Time, ok bool) {
	a := &s.acks.ring[n%ackRing]
	if a.nth.Load() != n {
		return 0, 0, false
	}
	version, at = a.version.Load(), Time(a.at.Load())
	return version, at, a.nth.Load() == n
}

// Told notes that a Sync of member has returned that began when version had been
// acknowledged.
func (s *Subject) Told(member int, version int64) {
	for old := s.told[member].Load(); old < version; old = s.told[member].Load() {
		if s.told[member].CompareAndSwap(old, version) {
			return
		}
	}
}

// Replaced notes that a member's process died and another took its place: what
// it alone distrusted, had read and was writing has died with it.
func (s *Subject) Replaced(member int) {
	s.returned[member].Store(0)
	s.seen[member].version.Store(0)
	s.Free(member)
}

// Suspend has nothing decided about the subject until Resume, for faults from
// which the cache does not promise to protect it.
func (s *Subject) Suspend() { s.suspended.Add(1) }

// Resume ends a Suspend.
func (s *Subject) Resume() { s.suspended.Add(-1) }

// Want asks the owner for a change that succeeds; Wanted reports whether it is
// still to come.
func (s *Subject) Want() { s.wanted.Store(1) }

// Wanted reports whether a change that Want asked for is still to come.
func (s *Subject) Wanted() bool { return s.wanted.Load() != 0 }

// Excuse begins a time in which the server may acknowledge changes and then lose
// them (a replica that lags is about to be promoted). The cache promises that
// a member that knew of such a change brings it back once it reaches the server again,
// and nothing earlier: members note no acknowledgements meanwhile. In the member
// that made a change it holds at once, excused or not.
func (b *Board) Excuse() { b.excusing.Store(1) }

// Excusing reports whether acknowledgements may be lost.
func (b *Board) Excusing() bool { return b.excusing.Load() != 0 }

// Forgive ends an Excuse, once every member has reached the new server: what was
// acknowledged meanwhile counts as acknowledged at that time.
func (b *Board) Forgive(at Time) {
	b.excusing.Store(0)
	for i := range b.subjects {
		s := &b.subjects[i]
		if v := s.excused.Load(); v > 0 {
			s.Acked(v, at)
		}
	}
}

// Accepted notes that the change to version was acknowledged by at, or that it
// would have been but for an Excuse.
func (b *Board) Accepted(s *Subject, version int64, at Time) {
	if b.Excusing() {
		s.excused.Store(version)
		return
	}
	s.Acked(version, at)
}

// after returns the first acknowledgement of a version above v, looking back
// from the latest one.
func (s *Subject) after(v int64) (at Time, ok bool) {
	for n := s.acks.count.Load(); n > 0; n-- {
		version, t, valid := s.ack(n)
		if !valid || version <= v {
			break
		}
		at, ok = t, true
	}
	return at, ok
}

// bound is how much later than its acknowledgement a change may be unknown.
func bound(maxStaleness time.Duration) Time { return Time(maxStaleness + skew) }
