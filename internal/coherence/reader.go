package coherence

import (
	"fmt"
	"time"
)

// Reader checks the reads of one goroutine of a member. It is not for several
// goroutines at once.
type Reader struct {
	board    *Board
	member   int
	bound    Time
	subjects [MaxSubjects]cursor

	// Calm reports whether nothing since at can excuse that a read is older than
	// one before. Without it that is not judged.
	Calm func(at Time) bool

	// Staleness is how long old values were seen, by phase: a sample for each
	// new version that this reader saw, 0 if it saw no older one after the change
	// was acknowledged.
	Staleness [numPhases]Histogram
}

// cursor is what a reader knows of a subject.
type cursor struct {
	nth     int64 // the latest acknowledgement that is older than the bound
	version int64 // the highest version acknowledged that long ago
	seen    int64 // by this reader, at most
	stale   Time  // for how long, at most, that was read after it had changed
}

// NewReader returns a reader of a member, whose local copies may be believed for
// maxStaleness without proof.
func NewReader(b *Board, member int, maxStaleness time.Duration) *Reader {
	return &Reader{board: b, member: member, bound: bound(maxStaleness)}
}

// Expected is the least version that a read may give, by the reason for it.
type Expected struct {
	At       Time
	Returned int64 // I1
	Bounded  int64 // I2
	Fresh    int64 // I4; 0 for other reads
	Told     int64 // I5
	Seen     int64 // by this member's reads before: I10
	seenAt   Time
	acked    int64
	off      bool
	apart    bool
}

// Apart says that the read is of another key than the subject's others: it neither
// has to give what they gave nor they what it gives.
func (e *Expected) Apart() { e.apart, e.Seen = true, 0 }

// Call takes what a read of the subject that begins now must give.
func (r *Reader) Call(subject int, fresh bool, now Time) Expected {
	s := &r.board.subjects[subject]
	e := Expected{
		At: now, Returned: s.returned[r.member].Load(), Told: s.told[r.member].Load(),
		acked: s.LatestAck(), off: s.suspended.Load() != 0,
	}
	if fresh {
		e.Fresh = e.acked
	}
	if r.Calm != nil { // the time first: a later one would excuse less
		e.seenAt = Time(s.seen[r.member].at.Load())
		e.Seen = s.seen[r.member].version.Load()
	}
	c := &r.subjects[subject]
	c.follow(s, now-r.bound)
	e.Bounded = c.version
	return e
}

// follow moves the cursor to the latest acknowledgement not later than until.
func (c *cursor) follow(s *Subject, until Time) {
	for n := s.acks.count.Load(); c.nth < n; {
		if n-c.nth >= ackRing {
			c.nth = n - ackRing // what is older has been overwritten
		}
		version, at, ok := s.ack(c.nth + 1)
		if !ok {
			n = s.acks.count.Load()
			if n-c.nth >= ackRing {
				continue
			}
			return
		}
		if at > until {
			return
		}
		c.nth, c.version = c.nth+1, version
	}
}

// Return decides about a read that gave version, made by the numbered load; nil
// if it may have.
func (r *Reader) Return(subject int, e Expected, version int64, load int64) *Violation {
	s := &r.board.subjects[subject]
	if e.acked > 0 {
		r.account(subject, s, e, version)
	}
	if !e.apart {
		s.Saw(r.member, version, Now())
	}
	if version >= e.Returned && version >= e.Bounded && version >= e.Told && version >= e.Fresh && version <= s.Truth() {
		if version >= e.Seen || !r.Calm(e.seenAt) { // without Calm, Seen is 0
			return nil
		}
	}
	if e.off || s.suspended.Load() != 0 {
		return nil
	}
	return r.violation(subject, s, e, version, load)
}

// absentEvery is which versions of docs are "not found": one in so many.
const absentEvery = 5

func absent(version int64) bool { return version%absentEvery == absentEvery-1 }

// ReturnAbsent decides about a read that gave "not found": which version that was
// is not known, so the latest one that it can have been counts.
func (r *Reader) ReturnAbsent(subject int, e Expected) *Violation {
	version := r.board.subjects[subject].Truth()
	for version >= 0 && !absent(version) {
		version--
	}
	s := &r.board.subjects[subject]
	if version >= max(e.Returned, e.Bounded, e.Told, e.Fresh) || e.off || s.suspended.Load() != 0 {
		return nil
	}
	return r.violation(subject, s, e, version, 0)
}

// account keeps how stale what was read is.
func (r *Reader) account(subject int, s *Subject, e Expected, version int64) {
	c := &r.subjects[subject]
	if version > c.seen {
		r.Staleness[r.board.phase.Load()].Add(time.Duration(c.stale))
		c.seen, c.stale = version, 0
	}
	if version >= e.acked {
		return
	}
	if at, ok := s.after(version); ok && e.At > at {
		c.stale = max(c.stale, e.At-at)
	}
}

// Violation is a read that gave less than it had to.
type Violation struct {
	Invariant string
	Member    int
	Subject   int
	Version   int64 // that was read
	Least     int64 // that would have been right
	Load      int64 // the load that made the value, 0 if not known
	Called    Time
	Returned  Time
	Schedule  string // what happened to the subject before
}

func (r *Reader) violation(subject int, s *Subject, e Expected, version, load int64) *Violation {
	v := &Violation{Member: r.member, Subject: subject, Version: version, Load: load, Called: e.At, Returned: Now()}
	switch {
	case version > s.Truth():
		v.Invariant, v.Least = "I0 (a version that never was)", s.Truth()
	case version < e.Returned:
		v.Invariant, v.Least = "I1", e.Returned
	case version < e.Fresh:
		v.Invariant, v.Least = "I4", e.Fresh
	case version < e.Told:
		v.Invariant, v.Least = "I5", e.Told
	case version < e.Bounded:
		v.Invariant, v.Least = "I2", e.Bounded
	default:
		v.Invariant, v.Least = "I10 (own reads go back)", e.Seen
	}
	if e.apart {
		v.Invariant += ", for a key apart"
	}
	v.Schedule = r.board.schedule(v)
	return v
}

func (v *Violation) String() string {
	return fmt.Sprintf("%s violated: member %d read version %d of subject %d, but had to be given at least %d\n%s",
		v.Invariant, v.Member, v.Version, v.Subject, v.Least, v.Schedule)
}
