// Package settle models a change of a source whose replicas lag: loaders may read
// an old value for a while after it. The change is recorded as one that settles
// after that time, in the step that records the change, and the process that fills
// an entry limits its life: what was loaded before the change has settled ends when
// it does.
//
// There are two processes, of which A changes the source, and may die. Messages and
// the log are lost, the server's clock is set forwards, B may start late, and time
// passes.
//
// # What it shows
//
// With all [Guards] no read gives the old value later than the lag and the maximum
// staleness after the change was acknowledged, in any order of events; with any one
// of them taken out one does. Both are tests. (RecordAgain, which is caution in
// package model, is needed here.)
//
// # What it does not show
//
// There is one change, one source and one entry, and time is in steps. A step of the
// server's clock between the change and the start of a process, within the lag, is
// left out: that process has nothing but the clock to go by. So are a saved as-of
// that a caller passes (S6), clusters, and processes of the release before.
package settle

import "github.com/tiercache/tiercache/internal/model/search"

// Guards are what the protocol does against values from lagging replicas.
type Guards struct {
	Cap         bool // an entry whose load began before a change that it covers has settled ends when that does
	FromBegin   bool // when the load began decides that, not when it ends
	Mono        bool // and the local monotonic time since the change was heard of, not the server's clock
	SameStep    bool // the settling is recorded in the step that records the change
	ReRecord    bool // the process that turns to a new log records in it what has not settled
	Remaining   bool // as what settles in the time that is left, not as what changes only now
	Waiter      bool // a caller that comes after the end of a capped load is not given its value
	EndMin      bool // a local copy ends by the server's clock as well
	JudgeR1     bool // R1
	Gap         bool // R4: a message after a gap does not move the watermark
	RecordAgain bool // R7: an acknowledgement by a log that was lost meanwhile counts for nothing
	Unknown     bool // a process that starts takes what it hears of as not settled, unless the server's time says so
}

// Limits bound the search: how often each thing may happen.
type Limits struct {
	Time   int8 // steps
	Lag    int8 // of a replica of the source, in steps
	ALoads int8
	BLoads int8
	Waits  int8 // callers that share a load
	Beats  int8 // heartbeats
	Deaths int8 // of A
	Losses int8 // of the log
	Jumps  int8 // of the server's clock, 3 steps forwards
	Others int8 // changes of something else

	// These are no limits.
	BStarts bool // B is not there at first
	Cold    bool // nothing is stored at first
}

// bound is the maximum staleness; never is after any time.
const (
	bound = 1
	never = 100
)

// Entry is a value, 0 or 1, its as-of, and its end, local or by the server's clock;
// nothing if Inc is 0.
type Entry struct{ Version, Inc, Tick, End int8 }

// Log is the change log: the ticks of the latest change, of the source's change, and
// of that as one that settles, and the server's time at the last. What is loaded from
// within Cover of that on is limited, and ends with it; what is loaded from within Ends
// on, which is no longer, ends with that.
type Log struct{ Inc, Tick, Source, Settling, SettlingTime, Cover, Ends int8 }

// Process is one store.
type Process struct {
	Up      bool
	Know    Log
	By      int8 // local time at which the settling change had happened at the latest
	Early   int8 // the same, as the server's clock has it; never after By
	Proof   int8
	Local   Entry
	Phase   int8 // of a load: 0 none, 1 begun, 2 has read
	Begun   int8
	Loaded  Entry
	Waits   bool
	WaitAt  int8
	Message Message
}

// Message is a published change on its way; nothing if Tick is 0.
type Message struct {
	Source, Settling              bool
	Inc, Prev, Tick, SettlingTime int8
}

// Phases of the change.
const (
	idle     = iota
	sent     // or to be sent again
	half     // recorded, but not that it settles
	answered // recorded
	done
	toSettle // done, and A is to record it again once it has settled
)

// State is everything there is.
type State struct {
	Now, Jump      int8    // the server's clock is the sum
	Changed, Acked int8    // when the source changed, and that was acknowledged; -1 is not yet
	Change         int8    // a phase
	Recorded       Message // where
	Log            Log
	Entry          Entry
	P              [2]Process
	Left           Limits
	Bad            int8 // 1 + the process that reads the old value too late
}

// Search looks at every state within the limits.
func Search(g Guards, l Limits, most int) search.Result {
	return search.Run(search.Model[State]{
		Start: []State{start(l)},
		Next:  g.next,
		Violation: func(s *State) string {
			if s.Bad == 0 {
				return ""
			}
			return names[s.Bad-1] + " is given the old value after the change has settled"
		},
	}, most)
}

var names = [2]string{"A", "B"}

func start(l Limits) State {
	s := State{Changed: -1, Acked: -1, Left: l, Log: Log{Inc: 1, Tick: 1}}
	if !l.Cold {
		s.Entry = Entry{Inc: 1, Tick: 1, End: never}
	}
	for i := range s.P {
		s.P[i] = Process{Up: true, Know: s.Log}
	}
	if l.BStarts {
		s.P[1] = Process{}
	}
	return s
}

// server is what the server's clock says.
func (s *State) server() int8 { return s.Now + s.Jump }

// valid decides R1 by what a process knows.
func (g *Guards) valid(s *State, p *Process, e Entry) bool {
	if e.Inc == 0 || e.Inc != p.Know.Inc || p.Know.Inc == 0 {
		return false
	}
	if g.JudgeR1 && (e.Tick < p.Know.Source || p == &s.P[0] && s.Change > idle && s.Change < done) {
		return false
	}
	return true
}

// gives answers a read of process i that was called at that time.
func (s *State) gives(i int, at, version int8) {
	if version == 0 && s.Acked >= 0 && at > s.Acked+s.Left.Lag+bound {
		s.Bad = int8(i) + 1
	}
}

// learn applies the log's state, and notes when what it says must have happened.
func (g *Guards) learn(s *State, p *Process, l Log) {
	first := p.Know.Inc == 0
	if l.Settling > p.Know.Settling || l.Inc != p.Know.Inc {
		if l.Settling > 0 {
			p.By = s.Now
			p.Early = s.Now - max(0, s.server()-l.SettlingTime)
			if first && g.Unknown || !g.Mono {
				p.By = s.Now - max(0, s.server()-l.SettlingTime)
			} else if first {
				p.By = -l.Cover
			}
		}
	}
	p.Know = l
}

// record puts the change into the log.
func (g *Guards) record(s *State) {
	s.Log.Tick++
	s.Log.Source = s.Log.Tick
}

// beat reads the log; it is replaced if it was lost.
func (g *Guards) beat(s *State, i int) {
	p := &s.P[i]
	if s.Log.Inc == 0 { // lost
		s.Log = Log{Inc: p.Know.Inc + 1, Tick: p.Know.Tick + 1}
	}
	if p.Know.Inc != 0 && p.Know.Inc != s.Log.Inc && g.ReRecord && p.Know.Settling > 0 && s.Now < p.By+p.Know.Cover {
		g.record(s)
		s.Log.Settling, s.Log.SettlingTime = s.Log.Tick, s.server()
		s.Log.Cover, s.Log.Ends = p.By+p.Know.Cover-s.Now, p.Early+p.Know.Ends-s.Now
		if s.Log.Ends <= 0 {
			s.Log.Ends = s.Log.Cover
		}
		if !g.Remaining {
			s.Log.Cover, s.Log.Ends = s.Left.Lag, s.Left.Lag
		}
	}
	g.learn(s, p, s.Log)
	p.Proof = s.Now
	p.Message = Message{}
}

// ends is when what was loaded from b on, as of tick, ends: locally, and at the server.
func (g *Guards) ends(s *State, p *Process, b, tick int8) (local, server int8) {
	if !g.Cap || p.Know.Settling == 0 || p.Know.Settling > tick {
		return never, never
	}
	if !g.FromBegin {
		b = s.Now
	}
	by := p.By
	if !g.Mono {
		by = s.Now - (s.server() - p.Know.SettlingTime)
	}
	if b >= by+p.Know.Cover {
		return never, never
	}
	from := by
	if g.EndMin {
		from = min(from, p.Early)
	}
	if local = from + p.Know.Cover; b < by+p.Know.Ends {
		local = min(local, from+p.Know.Ends)
	}
	return local, s.server() + local - s.Now
}

func (g *Guards) next(s *State, step search.Step[State]) {
	steps := search.From(s, step)
	g.change(s, steps)
	if s.Now < s.Left.Time {
		steps.Take("", "time passes", func(s *State) { s.Now++ })
	}
	steps.Within(&s.Left.Jumps, "", "the server's clock is set 3 forwards", func(s *State) { s.Jump += 3 })
	if s.Log.Inc != 0 {
		steps.Within(&s.Left.Others, "", "something else changes", func(s *State) {
			prev := s.Log.Tick
			s.Log.Tick++
			s.publish(false, false, prev)
		})
	}
	if s.P[1].Know.Settling > 0 {
		steps.Within(&s.Left.Losses, "", "the log is lost", func(s *State) { s.Log = Log{} })
	}
	if s.P[0].Up && s.Change >= done {
		steps.Within(&s.Left.Deaths, "A", "dies", func(s *State) { s.P[0] = Process{} })
	}
	if !s.P[1].Up {
		steps.Take("B", "starts", func(s *State) {
			s.P[1].Up = true
			g.beat(s, 1)
		})
	}
	for i := range s.P {
		if s.P[i].Up {
			g.reads(s, i, steps)
			g.deliveries(s, i, steps)
		}
	}
}

type steps = search.Steps[State]

// change are the steps of A's change.
func (g *Guards) change(s *State, steps steps) {
	if !s.P[0].Up {
		return
	}
	if s.Changed < 0 {
		steps.Take("A", "the source changes, an invalidation that settles is called", func(s *State) {
			s.Changed, s.Change = s.Now, sent
		})
	}
	switch {
	case s.Change == sent && s.Log.Inc != 0:
		steps.Take("A", "the change is recorded", func(s *State) {
			prev := s.Log.Tick
			g.record(s)
			s.Change = half
			if g.SameStep {
				s.Log.Settling, s.Log.SettlingTime, s.Change = s.Log.Tick, s.server(), answered
				s.Log.Cover, s.Log.Ends = s.Left.Lag, s.Left.Lag
			}
			s.Recorded = Message{true, g.SameStep, s.Log.Inc, prev, s.Log.Tick, s.server()}
			s.publish(true, g.SameStep, prev)
		})
	case s.Change == half || s.Change == answered:
		steps.Take("A", "the call returns", func(s *State) { g.returns(s) })
	case s.Change == toSettle && s.Log.Inc != 0 && s.Now >= s.Acked+s.Left.Lag:
		steps.Take("A", "records the change again, since it has settled", func(s *State) {
			prev := s.Log.Tick
			g.record(s)
			s.Change = done
			s.publish(true, false, prev)
		})
	}
}

func (g *Guards) returns(s *State) {
	p, c := &s.P[0], s.Recorded
	switch {
	case p.Know.Inc == c.Inc:
		l := p.Know
		l.Source = max(l.Source, c.Tick)
		if g.SameStep && l.Settling <= c.Tick {
			l.Settling, l.SettlingTime, l.Cover, l.Ends = c.Tick, c.SettlingTime, s.Left.Lag, s.Left.Lag
		}
		if c.Prev <= l.Tick {
			l.Tick = max(l.Tick, c.Tick)
		}
		g.learn(s, p, l)
	case g.RecordAgain:
		s.Change = sent
		return
	}
	s.Acked, s.Change = s.Now, done
	if !g.SameStep {
		s.Change = toSettle
	}
}

// publish sends B a message; one before it may be lost so.
func (s *State) publish(source, settling bool, prev int8) {
	if p := &s.P[1]; p.Up {
		p.Message = Message{source, settling, s.Log.Inc, prev, s.Log.Tick, s.server()}
	}
}

// deliveries are heartbeats, and what comes unasked.
func (g *Guards) deliveries(s *State, i int, steps steps) {
	steps.Within(&s.Left.Beats, names[i], "a heartbeat", func(s *State) { g.beat(s, i) })
	if s.P[i].Message.Tick == 0 {
		return
	}
	steps.Take(names[i], "its message is lost", func(s *State) { s.P[i].Message = Message{} })
	steps.Take(names[i], "receives the message", func(s *State) {
		p := &s.P[i]
		m, l := p.Message, p.Know
		p.Message = Message{}
		if m.Inc != l.Inc || m.Tick <= l.Tick {
			return
		}
		if m.Source {
			l.Source = m.Tick
		}
		if m.Settling {
			l.Settling, l.SettlingTime, l.Cover, l.Ends = m.Tick, m.SettlingTime, s.Left.Lag, s.Left.Lag
		}
		if m.Prev <= l.Tick || !g.Gap {
			l.Tick = m.Tick
		}
		g.learn(s, p, l)
	})
}

// reads are the steps of reads and loads.
func (g *Guards) reads(s *State, i int, steps steps) {
	p := &s.P[i]
	left := &s.Left.ALoads
	if i == 1 {
		left = &s.Left.BLoads
	}
	if g.valid(s, p, p.Local) && s.Now < p.Local.End && s.Now <= p.Proof+bound {
		steps.Take(names[i], "a local hit", func(s *State) { s.gives(i, s.Now, s.P[i].Local.Version) })
	} else if p.Phase == 0 {
		steps.Within(left, names[i], "a read finds the entry, or begins a load", func(s *State) { g.read(s, i) })
	}
	if p.Phase > 0 && !p.Waits && s.Now <= p.Proof+bound {
		steps.Within(&s.Left.Waits, names[i], "another caller shares the load", func(s *State) {
			s.P[i].Waits, s.P[i].WaitAt = true, s.Now
		})
	}
	switch p.Phase {
	case 1:
		loads := func(event string, version int8) {
			steps.Take(names[i], event, func(s *State) { s.P[i].Phase, s.P[i].Loaded.Version = 2, version })
		}
		if s.Changed >= 0 {
			loads("the loader reads the new value", 1)
		}
		if s.Changed < 0 || s.Now < s.Changed+s.Left.Lag {
			loads("the loader reads the old value", 0)
		}
	case 2:
		steps.Take(names[i], "the load ends", func(s *State) { g.fill(s, i) })
	}
}

func (g *Guards) read(s *State, i int) {
	p := &s.P[i]
	if s.Now > p.Proof+bound || p.Know.Inc == 0 {
		g.beat(s, i) // the delta goes along
	}
	if g.valid(s, p, s.Entry) && s.server() < s.Entry.End {
		p.Local = s.Entry
		if s.Entry.End < never {
			p.Local.End = s.Now + s.Entry.End - s.server()
		}
		s.gives(i, s.Now, s.Entry.Version)
		return
	}
	p.Phase, p.Begun, p.Loaded = 1, s.Now, Entry{Inc: p.Know.Inc, Tick: p.Know.Tick}
}

// fill ends a load: its callers are answered, the value is kept and stored for as
// long as it may live.
func (g *Guards) fill(s *State, i int) {
	p := &s.P[i]
	local, server := g.ends(s, p, p.Begun, p.Loaded.Tick)
	valid := g.valid(s, p, p.Loaded)
	s.gives(i, p.Begun, p.Loaded.Version)
	if p.Waits && valid && (p.WaitAt < local || !g.Waiter) {
		s.gives(i, p.WaitAt, p.Loaded.Version)
	}
	if valid && s.Now < local {
		p.Local = p.Loaded
		p.Local.End = local
		if s.Log.Inc != 0 && s.server() < server {
			s.Entry = p.Loaded
			s.Entry.End = server
		}
	}
	p.Phase, p.Begun, p.Loaded, p.Waits, p.WaitAt = 0, 0, Entry{}, false, 0
}
