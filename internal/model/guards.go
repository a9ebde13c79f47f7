package model

import "github.com/tiercache/tiercache/internal/model/search"

// Guards are what the protocol does against old values. The zero value has none.
type Guards struct {
	JudgeEntries       bool // R1: an entry is believed only if nothing changed after its as-of
	AsOfFirst          bool // R2: the as-of is taken before the loader reads its source
	Distrust           bool // R3: what could not be recorded stays distrusted, and is sent again
	ApplyOwn           bool // R3: a change is applied here before its call returns
	RecordAgain        bool // R3: an acknowledgement by a log that was lost meanwhile counts for nothing
	GapRead            bool // R4: a message after a gap does not move the watermark
	Beside             bool // R4: nor does one of several changes, among whose positions it is not
	ProofGate          bool // R5: without a recent proof no local copy is served
	ProofFromSent      bool // R5: a proof is as old as its question
	Epoch              bool // R5: local copies of before a lost connection are not served
	DeltaIfOld         bool // R6: a remote entry is judged by knowledge that is proven
	FreshDelta         bool // R6: a fresh read takes the delta along
	Incarnation        bool // R7: an entry of another log is not valid
	NewIncarnation     bool // R7: a log that is made anew is another one
	AppendKnown        bool // R7: a change is not recorded into a log that lost others
	DeltaBehind        bool // R7: a log that ends before what was applied has lost history
	Witness            bool // R7: so has one that does not know of the latest known change
	Witnesses          bool // R7: nor, over a new connection, of any other
	Adopt              bool // R7: what was heard of in a log that is given up changes in the next
	Histories          bool // R7: another server may have lost what was set
	LostProof          bool // R5: a lost connection ends the proof
	Lease              bool // R8: a fill whose lease is gone stores nothing
	Register           bool // R9: what an invalidation overtook is not kept
	InvalidationEvicts bool // R9: an invalidation takes the local copy out
	CheckShared        bool // R10: a caller that shares a load checks it against what was known on arrival
	ProveShared        bool // R10: and, if that was not proven, does not share what is as old
	ProofOfRead        bool // R10: a remote read is as old as the proof that it is judged by, not as its question

	GiveUp     bool // G1, G3, G4: when Set or Delete returns, the write was performed or never will be
	FlushPush  bool // B1: if the log is still there after a flush push, the server was set back
	FlushProof bool // B1: a flush push ends the proof
	Counters   bool // B2: a server that has counted less than before was set back
	// Of copies that a lost connection suspends, where Limits.Suspend.
	SameWrite   bool // V3 a: such a copy is believed again only if the entry is still that write
	JudgeAgain  bool // V3 e: and nothing that it depends on changed
	TrackAgain  bool // V3: asking for the write has the server track the key
	SameEpoch   bool // V3 c: an answer over a connection that is lost proves nothing
	Overtaken   bool // V3 b: nor is one that an invalidation overtook, in the background
	OwesNothing bool // V3: no invalidation is let pass as that of the copy's own write
}

// All are the guards of the protocol.
func All() Guards { return search.AllOf[Guards]() }

// Limits bound the search: how often each thing may happen. Those of two elements
// are for each process.
type Limits struct {
	Invalidations int8    // of the source, by process A
	Others        [2]int8 // changes of something else
	Sets, Deletes [2]int8 // of the key
	Fails         int8    // invalidations that fail
	GiveUps       int8    // Sets and Deletes that are given up

	Reads, Fresh [2]int8 // remote reads, plain and fresh
	Shares       [2]int8 // callers that share one
	Beats        [2]int8 // heartbeats
	Backs        [2]int8 // proofs in the background

	Disconnects [2]int8
	LogLosses   int8
	Failovers   int8
	Splits      int8 // each of which ends
	Images      int8 // of the server
	Reloads     int8 // of an image by the running server
	Rollbacks   int8 // of the server's machine to an image
	Expiries    int8 // of a lease
	Steps       int8 // of time

	Waits int8 // messages that wait for the next one, where Paced

	// These are no limits.
	Paced   bool // messages have a pace
	Warm    bool // server and replica begin with an entry of version 0
	Split   bool // the replica is promoted beside the primary at the beginning
	Suspend bool // a lost connection suspends local copies, rather than drops them
	Agree   bool // the clock of a replica that is promoted is not behind that of the primary that died
	Unseen  bool // a machine may be set back to an image after which a process has read no delta
}

// writes reports whether keys are written.
func (l *Limits) writes() bool { return l.Sets != [2]int8{} || l.Deletes != [2]int8{} }
