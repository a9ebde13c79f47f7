// Package declarations models how a lost Set of one key is found out: Set leaves
// no change in the log, so the log knows the namespaces in which keys are written
// (the declaration: scope w, member v) and the histories of the servers that
// answered. The process that finds a history that the log does not know has every
// declared namespace change.
//
// There are two processes. A declares the namespace and sets the key; B makes
// other changes and reads. Appends trim what is older than the retention of the
// process that appends, or than the server's clock says after it was set forwards
// by days; so any append may trim anything that was recorded before it. The server
// saves its data to a file, at any moment, and is restarted from it, as another
// history. A may die.
//
// # What it shows
//
// With [Guards.Keep], that trimming never removes the member v, a fresh read gives
// no value that is older than an acknowledged Set, in any order of events. With
// rule B3 in its place ([AsWritten]: a process that hears of a floor at or
// above its declaration declares again) a Set is lost unnoticed if the server saves its
// file and is restarted from it before that was heard; or, even if A reads the delta
// before each Set, if the restarted server trims before a process has found its
// history. Tests print both.
//
// # What it does not show
//
// Every read brings its delta along, so proofs and heartbeats have no age here;
// invalidations, leases and local copies are package model's. A file of before the
// declaration, of which B has not heard either, is left out: a change of which no
// process that answers has heard is lost.
package declarations

import "github.com/tiercache/tiercache/internal/model/search"

// Guards are what the protocol does against lost declarations.
type Guards struct {
	Declare bool // A declares the namespace before it sets a key
	Admit   bool // a history that the log does not know has declared namespaces change
	Behind  bool // a log that ends before what was applied is replaced
	Adopt   bool // a process that turns to a log that began before what it knows has everything change there
	Floor   bool // trimming raises the floor to what it trimmed
	Keep    bool // trimming never removes the member v
	// Again is rule B3: a declaration is good only while the floor is below it.
	// A process that hears of a higher one declares again, and has the namespace
	// change if the history is another than when it declared.
	Again bool
}

// AsWritten are the guards with B3 as it was first written.
func AsWritten() Guards { return search.Without[Guards]("Keep") }

const a, b = 0, 1

// Log is the change log: the tick of its latest change, the floor, and the ticks
// of the declaration (0 is none) and of the namespace's latest change.
type Log struct {
	Inc, Tick, Floor int8
	W, Change        int8
	V                bool
	Histories        int8 // a bit for each
	AfterInc, After  int8 // up to which position of which log the process that began this one knew that
}

// Server is what Valkey holds.
type Server struct {
	Log     Log
	History int8 // a bit
	Entry   Entry
}

// Entry is a value and its as-of; nothing if Inc is 0.
type Entry struct{ Version, Inc, Tick int8 }

// Process is one store.
type Process struct {
	Dead bool
	// What it knows of the log.
	Inc, Tick, Floor, Change int8
	Declared, At             int8 // the tick and the history of its declaration
	DeclaredInc              int8
	Message                  int8 // a tick on its way; what came before it is known, or it is not applied
	Prev                     int8
	Source                   bool // the message says that the namespace changed
}

// State is everything there is.
type State struct {
	Server, File Server
	Saved        bool
	P            [2]Process
	Truth, Acked int8
	Left         Limits
	Bad          bool
}

// Limits bound the search: how often each thing may happen.
type Limits struct {
	Sets, Others, Reads, Beats, Saves, Restarts, Deaths int8

	// Prompt is not a limit: A has read the delta right before each Set.
	Prompt bool
}

// Search looks at every state within the limits.
func Search(g Guards, l Limits, most int) search.Result {
	s := State{Left: l}
	s.Server = Server{Log: Log{Inc: 1, Tick: 1, Histories: 1}, History: 1, Entry: Entry{0, 1, 1}}
	for i := range s.P {
		s.P[i].Inc, s.P[i].Tick = 1, 1
	}
	return search.Run(search.Model[State]{
		Start: []State{s},
		Next:  g.next,
		Violation: func(s *State) string {
			if s.Bad {
				return "I4: B reads a value that is older than an acknowledged Set"
			}
			return ""
		},
	}, most)
}

func (g Guards) next(s *State, step search.Step[State]) {
	p := &s.P[a]
	writes := !p.Dead && s.Left.Sets > 0
	if writes && s.Left.Prompt {
		n := *s
		g.delta(&n, a)
		s = &n
		p = &s.P[a]
	}
	steps := search.From(s, step)
	switch {
	case !writes:
	case g.Declare && (p.Declared == 0 || p.DeclaredInc != p.Inc):
		steps.Take("A", "declares that keys of the namespace are written", func(s *State) { g.declare(s, false) })
	default:
		steps.Within(&s.Left.Sets, "A", "sets the key, acknowledged", func(s *State) {
			s.Truth++
			s.Acked = s.Truth
			s.Server.Entry = Entry{s.Truth, s.P[a].Inc, s.P[a].Tick}
		})
	}
	if !p.Dead {
		steps.Within(&s.Left.Beats, "A", "a heartbeat", func(s *State) { g.delta(s, a) })
	}
	for i, name := range [...]string{"A", "B"} {
		if s.P[i].Message > 0 && !s.P[i].Dead {
			steps.Take(name, "receives the message", func(s *State) { s.P[i].receive() })
			steps.Take(name, "its message is lost", func(s *State) { s.P[i].Message, s.P[i].Prev, s.P[i].Source = 0, 0, false })
		}
	}
	steps.Within(&s.Left.Others, "B", "changes something else, nothing is trimmed", func(s *State) { g.append(s, b, false) })
	steps.Within(&s.Left.Others, "B", "changes something else, with a shorter retention or by a clock set forwards: what is older is trimmed", func(s *State) {
		g.replace(s, b)
		g.trim(&s.Server.Log)
		g.append(s, b, false)
	})
	steps.Within(&s.Left.Reads, "B", "a fresh read", g.read)
	steps.Within(&s.Left.Saves, "", "the server saves its data to a file", func(s *State) { s.File, s.Saved = s.Server, true })
	if s.Saved && (s.File.Log.Tick >= p.Declared || s.P[b].Tick > s.File.Log.Tick || !g.Declare) {
		steps.Within(&s.Left.Restarts, "", "the server is restarted from the file", func(s *State) {
			history := s.Server.History << 1
			s.Server = s.File
			s.Server.History = history
			for i := range s.P {
				s.P[i].Message, s.P[i].Prev, s.P[i].Source = 0, 0, false
			}
		})
	}
	if !p.Dead {
		steps.Within(&s.Left.Deaths, "A", "dies", func(s *State) {
			s.P[a] = Process{Dead: true, Declared: s.P[a].Declared}
		})
	}
}

// append records a change by process i, of the namespace or of something else, and
// publishes it.
func (g *Guards) append(s *State, i int, namespace bool) {
	log := &s.Server.Log
	g.replace(s, i)
	prev := log.Tick
	log.Tick++
	if namespace {
		log.Change = log.Tick
	}
	other, own := &s.P[1-i], &s.P[i]
	if !other.Dead {
		other.Message, other.Prev, other.Source = log.Tick, prev, namespace
	}
	if own.Inc == log.Inc && prev <= own.Tick {
		own.Tick = log.Tick
	}
	if namespace {
		own.Change = log.Tick
	}
}

// replace begins another log if that of the server ends before what process i has
// applied.
func (g *Guards) replace(s *State, i int) {
	p, log := &s.P[i], &s.Server.Log
	if p.Inc == log.Inc && log.Tick < p.Tick && g.Behind {
		*log = Log{Inc: log.Inc + 1, Tick: p.Tick + 1, Histories: s.Server.History, AfterInc: p.Inc, After: p.Tick}
	}
}

// declare is A's declaration; it may have the namespace change as well. What a log
// acknowledges that A has not turned to counts for nothing, so A turns to it first.
func (g *Guards) declare(s *State, change bool) {
	if g.replace(s, a); s.P[a].Inc != s.Server.Log.Inc {
		g.delta(s, a)
	}
	g.append(s, a, change)
	log := &s.Server.Log
	log.W, log.V = log.Tick, true
	s.P[a].Declared, s.P[a].DeclaredInc, s.P[a].At = log.Tick, log.Inc, s.Server.History
}

// trim forgets every change so far.
func (g *Guards) trim(log *Log) {
	top := max(log.W, log.Change)
	log.W, log.Change = 0, 0
	if g.Floor {
		log.Floor = max(log.Floor, top)
	}
	if !g.Keep {
		log.V = false
	}
}

// receive applies a message, which says nothing of the floor.
func (p *Process) receive() {
	if p.Message > p.Tick && p.Prev <= p.Tick {
		p.Tick = p.Message
		if p.Source {
			p.Change = p.Message
		}
	}
	p.Message, p.Prev, p.Source = 0, 0, false
}

// delta reads the log and applies what it says.
func (g *Guards) delta(s *State, i int) {
	p, log := &s.P[i], &s.Server.Log
	if log.Histories&s.Server.History == 0 && g.Admit {
		log.Histories |= s.Server.History
		if log.V {
			log.Tick++
			log.Change = log.Tick
		}
	}
	g.replace(s, i)
	unknown := p.Inc != log.Inc && (log.AfterInc != p.Inc || log.After < p.Tick)
	p.Inc, p.Tick, p.Floor, p.Change = log.Inc, log.Tick, log.Floor, log.Change
	if unknown && g.Adopt {
		g.append(s, i, true)
	}
	if i == a && g.Again && p.Declared > 0 && p.DeclaredInc == p.Inc && p.Floor >= p.Declared {
		g.declare(s, s.Server.History != p.At)
	}
}

// read is a fresh read of B: the delta, the entry, and a load if that is not valid.
func (g *Guards) read(s *State) {
	g.delta(s, b)
	p, e := &s.P[b], s.Server.Entry
	if e.Inc == p.Inc && e.Tick >= max(p.Change, p.Floor) {
		s.Bad = e.Version < s.Acked
		return
	}
	s.Server.Entry = Entry{s.Truth, p.Inc, p.Tick}
}
