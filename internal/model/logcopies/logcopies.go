// Package logcopies models local copies that a lost connection does not suspend (rule V2), since the log tells of all that
// they depend on: copies of WithLocalOnly, which no server has, and all copies WithoutTracking, whose keys are scopes.
//
// There is a server with a log. The truth is what a loader reads or, without tracking, the entry. Process A changes the truth, and has the log record that. Process B
// loads or reads the truth, and keeps a copy, which it judges by the mark of its scope and serves while it has proof. Messages
// are lost, B's connection breaks, the log outgrows a delta, so that B discards its marks, or is deleted; and time passes.
//
// A lost connection ends B's heartbeat and what is on its way, and nothing else: not the copy, and not the proof. So the search
// also shows that the proof need not end: what is believed by it until it is too old is what would be believed had the loss not been noticed.
//
// # What it shows
//
// With all [Guards] no state is reachable in which B serves what is older than a change that was acknowledged longer ago
// than the maximum staleness, within the [Limits]; without any one of them one is. Both are tests.
//
// # What it does not show
//
// There is one scope and one copy. That a copy is of the same log is not compared, since a process that turns to another log discards its
// marks (it is a guard where an entry is judged: see package model). What is begun before marks are discarded and ends after it is not kept, where the
// library asks the log. Copies of which the server tells (V3) are package model's.
package logcopies

import "github.com/tiercache/tiercache/internal/model/search"

// bound is the maximum staleness in steps of time; old is any age beyond it.
const (
	bound      = 1
	old        = bound + 1
	maxVersion = 2
)

// Guards are what the protocol does against old copies.
type Guards struct {
	JudgeMark        bool // R1: a copy is served only if its scope has not changed after its as-of
	AsOfThen         bool // V2, R2: its as-of is the watermark of when it began to be loaded or read, also while the server is away
	Generation       bool // V2: a copy whose mark was discarded is not served
	FromWatermark    bool // V2: the delta over another connection holds what changed since the watermark
	ProofGate        bool // R5: without a recent proof nothing is served
	ProofFromSent    bool // R5: a proof is as old as its question
	RecordAfterWrite bool // R8: without tracking the record in the log comes after the write
}

// Limits bound the search: how often each thing may happen.
type Limits struct {
	Changes     int8
	Loads       int8 // or reads of the entry
	Beats       int8
	Disconnects int8
	Overflows   int8 // of the log, beyond what a delta holds
	LogLosses   int8
	Steps       int8 // of time
}

// Log is the change log, or what a process knows of it: the latest tick, and that of the scope.
type Log struct {
	Inc, Tick, Scope int8
	Long             int8 // on the server: a delta from before is too long
}

// Copy is B's local copy; nothing if Inc is 0.
type Copy struct {
	Version, Inc, Tick int8
	Discarded          bool // its mark was, and is what Mark says for ever
	Mark               int8
}

// State is everything there is. All of it is bytes.
type State struct {
	Log    Log
	Truth  int8
	Acked  [maxVersion + 1]int8 // how long ago the change to the version was acknowledged; 0: not yet, 1: just now
	Change Change

	Know    Log
	Since   int8 // the tick of the log when B's connection was made
	Horizon int8 // what is older is not known
	Proof   int8 // its age
	Copy    Copy
	Load    Load
	Beat    Beat
	Message Message

	Left Limits
}

// Change is what A is doing.
type Change struct{ Begun, Done, Recorded bool }

// Load is a load, or a read of the entry, that B makes.
type Load struct {
	Begun, Read        bool
	Version, Inc, Tick int8
	Discarded          bool // marks were, since it began
}

// Beat is B's heartbeat.
type Beat struct {
	Sent         bool
	Age          int8
	From, Answer Log
	Since        int8
}

// Message is on its way to B; nothing if Tick is 0.
type Message struct{ Inc, Prev, Tick int8 }

// Search looks at every state within the limits.
func Search(g Guards, l Limits, most int) search.Result {
	log := Log{Inc: 1, Tick: 1}
	return search.Run(search.Model[State]{
		Start:     []State{{Log: log, Know: log, Left: l}},
		Next:      g.next,
		Violation: g.violation,
	}, most)
}

func (g Guards) violation(s *State) string {
	if !g.serves(s) {
		return ""
	}
	for v := s.Copy.Version + 1; v <= maxVersion; v++ {
		if s.Acked[v] > old {
			return "B serves what is older than a change that was acknowledged longer ago than the maximum staleness"
		}
	}
	return ""
}

// serves reports whether a read of B would be given the copy.
func (g Guards) serves(s *State) bool {
	c, mark := s.Copy, s.Know.Scope
	if c.Discarded {
		mark = c.Mark
	}
	switch {
	case c.Inc == 0, g.ProofGate && s.Proof > bound, g.Generation && c.Discarded:
		return false
	}
	return !g.JudgeMark || mark <= c.Tick
}

func (g Guards) next(s *State, step search.Step[State]) {
	steps := search.From(s, step)
	g.changes(s, steps)
	g.loads(s, steps)
	g.beats(s, steps)
	if s.Message.Tick != 0 {
		steps.Take("B", "receives the message", func(s *State) { s.receive() })
		steps.Take("B", "its message is lost", func(s *State) { s.Message = Message{} })
	}
	steps.Within(&s.Left.Disconnects, "", "B loses its connection, and makes another", func(s *State) {
		s.Beat, s.Message, s.Since = Beat{}, Message{}, s.Log.Tick
	})
	steps.Within(&s.Left.Overflows, "", "so much else changes that a delta is too long", func(s *State) {
		s.Log.Tick++
		s.Log.Long = s.Log.Tick
	})
	steps.Within(&s.Left.LogLosses, "", "the log is deleted", func(s *State) { s.Log = Log{} })
	steps.Within(&s.Left.Steps, "", "time passes", func(s *State) { s.age() })
}

// changes are the steps of A.
func (g Guards) changes(s *State, steps search.Steps[State]) {
	c := s.Change
	if !c.Begun {
		steps.Within(&s.Left.Changes, "A", "begins a change", func(s *State) { s.Change.Begun = true })
		return
	}
	if !c.Done && (g.RecordAfterWrite || c.Recorded) {
		steps.Take("A", "the truth changes, which is the entry without tracking", func(s *State) {
			s.Truth++
			s.Change.Done = true
			s.acknowledge()
		})
	}
	if !c.Recorded && (c.Done || !g.RecordAfterWrite) {
		steps.Take("A", "the change is recorded", func(s *State) {
			s.begin(s.Know) // by whichever process: its incarnation is another than any before
			prev := s.Log.Tick
			s.Log.Tick++
			s.Log.Scope = s.Log.Tick
			s.Message = Message{s.Log.Inc, prev, s.Log.Tick}
			s.Change.Recorded = true
			s.acknowledge()
		})
	}
}

// acknowledge ends a change that is done and recorded.
func (s *State) acknowledge() {
	if s.Change.Done && s.Change.Recorded {
		s.Acked[s.Truth], s.Change = 1, Change{}
	}
}

// begin begins a log if there is none, after what a process knew of the one before.
func (s *State) begin(known Log) {
	if s.Log.Inc == 0 {
		s.Log = Log{Inc: known.Inc + 1, Tick: known.Tick + 1}
	}
}

// loads are the steps of a load of B, or of its read of the entry.
func (g Guards) loads(s *State, steps search.Steps[State]) {
	switch l := s.Load; {
	case !l.Begun && !g.serves(s):
		steps.Within(&s.Left.Loads, "B", "begins to load or to read", func(s *State) {
			s.Load = Load{Begun: true, Inc: s.Know.Inc, Tick: s.Know.Tick}
		})
	case l.Begun && !l.Read:
		steps.Take("B", "reads the truth", func(s *State) {
			s.Load.Read, s.Load.Version = true, s.Truth
		})
	case l.Read:
		steps.Take("B", "keeps what it has read", func(s *State) {
			l := s.Load
			s.Load = Load{}
			if !g.AsOfThen {
				l.Inc, l.Tick = s.Know.Inc, s.Know.Tick
			}
			if l.Discarded && g.Generation || l.Tick < s.Horizon {
				return
			}
			s.Copy = Copy{Version: l.Version, Inc: l.Inc, Tick: l.Tick}
		})
	}
}

// beats are the steps of B's heartbeat.
func (g Guards) beats(s *State, steps search.Steps[State]) {
	if !s.Beat.Sent {
		steps.Within(&s.Left.Beats, "B", "a heartbeat is sent and answered", func(s *State) {
			s.Beat = Beat{Sent: true, From: s.Know, Answer: s.Log, Since: s.Since}
		})
		return
	}
	steps.Take("B", "the heartbeat's answer is applied", func(s *State) {
		beat := s.Beat
		s.Beat = Beat{}
		if !g.apply(s, beat) {
			return
		}
		if s.Proof = beat.Age; !g.ProofFromSent {
			s.Proof = 0
		}
	})
}

// apply makes an answer known, and reports whether it could be used.
func (g Guards) apply(s *State, b Beat) bool {
	switch {
	case s.Know.Inc != b.From.Inc:
		return false
	case b.Answer.Inc == 0:
		s.begin(b.From)
		return false
	case b.Answer.Inc != b.From.Inc, b.Answer.Long > b.From.Tick:
		s.discard()
		s.Know = Log{Inc: b.Answer.Inc, Tick: max(b.Answer.Tick, s.Know.Tick)}
		if b.Answer.Inc != b.From.Inc {
			s.Know.Tick = b.Answer.Tick
		}
		s.Horizon = s.Know.Tick
		return true
	}
	since := b.From.Tick
	if !g.FromWatermark {
		since = max(since, b.Since)
	}
	if b.Answer.Scope > since {
		s.Know.Scope = max(s.Know.Scope, b.Answer.Scope)
	}
	s.Know.Tick = max(s.Know.Tick, b.Answer.Tick)
	return true
}

// discard discards what B knows of the scope.
func (s *State) discard() {
	if s.Copy.Inc != 0 && !s.Copy.Discarded {
		s.Copy.Discarded, s.Copy.Mark = true, s.Know.Scope
	}
	s.Load.Discarded = s.Load.Begun
}

// receive applies the message that is on its way.
func (s *State) receive() {
	m := s.Message
	s.Message = Message{}
	if m.Inc != s.Know.Inc || m.Tick <= s.Know.Tick {
		return
	}
	s.Know.Scope = m.Tick
	if m.Prev <= s.Know.Tick {
		s.Know.Tick = m.Tick
	}
}

// age lets a step of time pass. Ages beyond the bound are alike.
func (s *State) age() {
	s.Proof = min(s.Proof+1, old)
	if s.Beat.Sent {
		s.Beat.Age = min(s.Beat.Age+1, old)
	}
	for v := range s.Acked {
		if s.Acked[v] > 0 {
			s.Acked[v] = min(s.Acked[v]+1, old+1)
		}
	}
}
