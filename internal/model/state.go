package model

// maxVersion is the latest version of the truth: 0 is what there was before.
const maxVersion = 2

// bound is the maximum staleness in steps of time; old is any age beyond it.
const (
	bound = 1
	old   = bound + 1
)

// State is everything there is. All of it is bytes: see key.
type State struct {
	Server  Server
	Replica Server // what it has of Server; where that is set back, an image of it
	// Promoted is the replica in charge beside the old primary, to which A goes on.
	Promoted Server
	Split    bool // it is
	P        [2]Process
	Truth    int8
	Nonces   int8 // writes so far
	Clock    int8 // of a primary that died, where Limits.Agree
	// Acked is how long ago each version's change was acknowledged; 0 is not yet,
	// 1 just now.
	Acked [maxVersion + 1]int8
	// Lost: the change to the latest version was acknowledged by a server that
	// lost it, or to which others do not listen. It counts again once the process
	// that knows of it, A, has told the new one what it knows.
	Lost bool
	Left Limits // what may still happen
	Bad  Bad
}

// Log is the change log, or nothing if Inc is 0: the tick of the latest change, and
// of the latest ones of the source and of something else.
type Log struct {
	Inc, Tick, Source, Other int8
	AfterInc, After          int8 // where in another log the process that began this one was
	Histories                int8 // those that it knows, a bit for each
	Written                  bool // it knows that keys are set
	Images                   int8 // in an answer: the server's
	Published                int8 // on a server, with Limits.Paced: up to where messages have told
	Told                     int8 // in what a process knows: how often it has told of a server that was set back
	// Strange, in an answer: it came from a server whose history the log, which is
	// there, does not know.
	Strange bool
}

// Entry is a value, its as-of, and the random number that names its write; nothing
// if Inc is 0.
type Entry struct{ Version, Inc, Tick, Nonce int8 }

// Late is a Set, or a Delete, whose caller has given up, and which is still on its
// way; nothing if Version is 0.
type Late struct {
	Delete             bool
	Version, Inc, Tick int8
}

// Server is what Valkey holds.
type Server struct {
	Log     Log
	Entry   Entry
	Lease   int8    // 1+process, or 0
	Tracked [2]bool // the processes that are told when the key changes
	History int8    // a bit
	// Images were made of it until now. It stands for what the server counts, of
	// which an image has less than a server that went on.
	Images int8
}

// of is the server that a process is connected to.
func (s *State) of(i int) *Server {
	if s.P[i].Moved {
		return &s.Promoted
	}
	return &s.Server
}

// delta is the answer to a delta read.
func (v *Server) delta() Log {
	l := v.Log
	l.Strange = l.Inc != 0 && l.Histories&v.History == 0
	l.Histories, l.Written, l.Images, l.Published = 0, false, v.Images, 0
	return l
}

// Process is one store.
type Process struct {
	Moved    bool // to the promoted server of a split
	New      bool // the connection, over which nothing has been applied yet
	Know     Log  // as far as it has applied it; Tick is the watermark
	Pending  bool
	Proof    int8 // its age
	Local    Entry
	Owed     bool  // the next invalidation is of our own write of Local
	Susp     Entry // the copy of before a lost connection, which is not served
	SuspOwed bool
	Own      int8 // the version whose change has returned here
	Flushed  bool // a flush push came, and no delta since
	Images   int8 // the server's, as of the latest delta

	Read   Read
	Waiter Waiter
	Back   Back
	Beat   Beat
	Change Change

	Late         Late
	Invalidation int8 // on their way: the key changed
	Flush        int8 // a bit for each of these, the next one lowest: everything changed
	Message      Message
}

// Phase is how far something is.
type Phase int8

// The phases of reads, heartbeats and changes.
const (
	Idle Phase = iota
	Sent
	Answered
	Loading
	Loaded
	Postponed
)

// Read is the way to a value that a process is on: a remote read and, if that
// does not do, a load.
type Read struct {
	Phase       Phase
	Age         int8 // of what it is judged by
	Need        int8 // the least version that is right
	Fresh       bool
	Offline     bool  // the server did not answer: loads without lease and fill
	Invalidated bool  // the key changed, or may have
	AfterPushes int8  // how many of the invalidations under way come before the answer
	Reval       bool  // it asks for the write of the suspended copy, not for the value
	Copy        Entry // that copy
	With        bool  // the delta was asked for too
	Delta       Log   // the answer to that
	From        Log   // what was known then
	Entry       Entry // the answer, or what was loaded
}

// Waiter is another caller that shares the read.
type Waiter struct {
	Here     bool
	Need     int8
	Unproven bool // when it came, nothing had been heard for too long, and the read was as old
}

// Back is the proof of a suspended copy in the background, beside a read.
type Back struct {
	Phase       Phase
	Invalidated bool // the key changed, or may have
	AfterPushes int8 // how many of the invalidations under way come before the answer
	Copy        Entry
	Entry       Entry // the answer
}

// Beat is a heartbeat.
type Beat struct {
	Phase       Phase
	Age         int8 // since it was sent
	From        Log  // what was known then
	Answer      Log
	AfterPushes int8
}

// Change is an invalidation under way, of the source or of something else, or a
// Set or a Delete.
type Change struct {
	Phase   Phase
	Set     bool
	Delete  bool // a Set of nothing
	Other   bool
	Version int8
	From    Log // what was known when it was sent
	Answer  Log // only Inc and Tick
	Prev    int8
	Missed  Message // with Limits.Paced, in the answer: of all that changed after From
	Failed  bool
}

// Message is what changed after Prev, on its way. Several changes are where the source and something else last changed, up to
// Tick; 0 is not after Prev.
type Message struct {
	Inc, Prev, Tick int8
	Source, Other   int8
	Several         bool // it may be of more than one change: with Limits.Paced
}

// start: the log is there, everything is known, no process has anything cached.
func start(l Limits) State {
	s := State{Left: l}
	s.Server.History = 1
	s.Server.Log = Log{Inc: 1, Tick: 1, Histories: 1, Written: l.writes()}
	if l.Paced {
		s.Server.Log.Published = 1
	}
	if l.Warm {
		s.Server.Entry = Entry{Inc: 1, Tick: 1, Nonce: 1}
		s.Nonces = 1
	}
	s.Replica = s.Server
	for i := range s.P {
		s.P[i].Know = s.Server.delta()
	}
	if l.Split {
		s.divide()
	}
	return s
}

// Bad is a violation: which invariant, and the read of which process gave what.
type Bad struct{ Invariant, Process, Version int8 }
