package coherence

import (
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

// trace keeps the latest events of a subject. An event that is being overwritten
// while it is read is left out.
type trace struct {
	count  atomic.Int64
	events [traceRing]struct{ nth, at, kind, member, version, load atomic.Int64 }
}

// Kind is what happened.
type Kind int64

// The kinds of events. Reads are noted when the loader answered them, or when
// they violate.
const (
	InvCall Kind = iota + 1
	InvAck
	InvErr
	LoadStart
	LoadEnd
	SyncCall
	SyncRet
	FaultBegin
	FaultEnd
)

var kinds = [...]string{"?", "inv.call", "inv.ack", "inv.err", "load.start", "load.end", "sync.call", "sync.ret", "fault", "healed"}

// Event is one thing that happened.
type Event struct {
	At              Time
	Kind            Kind
	Member          int
	Version, Number int64 // Number is the load's, or the fault's
}

// Note keeps an event of the subject.
func (s *Subject) Note(e Event) { s.trace.add(e) }

// NoteFault keeps an event of all subjects; number says which fault it is.
func (b *Board) NoteFault(k Kind, number int64, at Time) {
	b.faults.add(Event{At: at, Kind: k, Member: -1, Number: number})
}

func (t *trace) add(e Event) {
	n := t.count.Add(1)
	x := &t.events[n%traceRing]
	x.nth.Store(0)
	x.at.Store(int64(e.At))
	x.kind.Store(int64(e.Kind))
	x.member.Store(int64(e.Member))
	x.version.Store(e.Version)
	x.load.Store(e.Number)
	x.nth.Store(n)
}

// list returns the events that are kept, in the order of their times.
func (t *trace) list() (out []Event) {
	for i := range t.events {
		x := &t.events[i]
		nth := x.nth.Load()
		e := Event{Time(x.at.Load()), Kind(x.kind.Load()), int(x.member.Load()), x.version.Load(), x.load.Load()}
		if nth != 0 && x.nth.Load() == nth {
			out = append(out, e)
		}
	}
	return out
}

// scheduleLength is how many events before a violation are worth reading.
const scheduleLength = 48

// schedule is what happened to the subject, in columns, times in ms before the
// read was called.
func (b *Board) schedule(v *Violation) string {
	events := append(b.subjects[v.Subject].trace.list(), b.faults.list()...)
	slices.SortStableFunc(events, func(x, y Event) int { return int(x.At - y.At) })
	events = events[max(0, len(events)-scheduleLength):]
	var out strings.Builder
	line := func(at Time, actor, what string) {
		fmt.Fprintf(&out, "  %+12.3f ms  %-9s %s\n", float64(at-v.Called)/float64(time.Millisecond), actor, what)
	}
	read := func() {
		line(v.Called, fmt.Sprintf("member %d", v.Member), "read.call")
		line(v.Returned, fmt.Sprintf("member %d", v.Member), fmt.Sprintf("read.ret(%d) made by load %d: needed %d", v.Version, v.Load, v.Least))
	}
	shown := false
	for _, e := range events {
		if e.At > v.Called && !shown {
			read()
			shown = true
		}
		line(e.At, e.actor(), e.what())
	}
	if !shown {
		read()
	}
	return out.String()
}

func (e Event) actor() string {
	if e.Member < 0 {
		return ""
	}
	return fmt.Sprintf("member %d", e.Member)
}

func (e Event) what() string {
	kind := kinds[min(max(int(e.Kind), 0), len(kinds)-1)]
	switch e.Kind {
	case FaultBegin, FaultEnd:
		return fmt.Sprintf("%s no. %d", kind, e.Number)
	case LoadStart, LoadEnd:
		return fmt.Sprintf("%s(%d) load %d", kind, e.Version, e.Number)
	}
	return fmt.Sprintf("%s(%d)", kind, e.Version)
}
