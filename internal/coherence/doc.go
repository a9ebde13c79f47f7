// Package coherence decides whether what readers of a fleet were given was
// allowed, while everything goes wrong around them.
//
// The fleet's [Member]s are stores of one process and of others. What they share
// beside the cache is a [Board]: for each [Subject], a thing that can change, its
// true version, which versions' changes have been acknowledged, when, and by
// whom. A [Reader] asks the board before each read what the least version is
// that the read may give, and afterwards whether it gave less.
//
// # What is decided
//
// With v the version a read gave, and everything taken when the read was called:
//
//   - I1: v is at least every version whose change has returned in this member.
//   - I2: v is at least every version that was acknowledged to any member more
//     than the maximum staleness ago.
//   - I4: a fresh read's v is at least every version acknowledged to any member.
//   - I5: v is at least every version acknowledged before this member's latest
//     Sync began: of those it has been told, so the value of a load that began
//     before would be believed although the change is known.
//   - I10: v is at least every version that a read of this member has given before
//     this one was called. Where a fault has its hand in that is not promised: it is
//     judged while the fleet is healthy, and nothing has failed in this member.
//   - v has existed when the read returned; else the harness is broken.
//
// A read that gives "not found" has given the latest version of which that is true.
//
// A share of all contexts ends early, at any moment of its call. A read may fail
// then, with an error that matches the context's, and for no other reason. A write
// that failed was performed before it returned or never will be: whichever, no
// version below one that is acknowledged later is read again, also if another
// member wrote that. So the writers of a cell change, and one whose write failed is
// soon written by another member.
//
// # What it costs
//
// A check is a clock reading and some atomic loads; a reader keeps a position
// per subject in the ring of acknowledgements, so n reads cost O(n + changes) and
// memory does not grow. A run of 10⁹ reads needs what one of a thousand does.
//
// # How far it can be trusted
//
// All times are of one monotonic clock, also between processes ([Now]). An
// acknowledgement is noted after the call returned, and a read's expectations
// are taken before it is called, so that a violation is never an artefact of
// when a goroutine was scheduled. The reverse does not hold: a violation can be
// missed, which is why every guard of the protocol is taken out once to see one
// (make guards).
//
// What it cannot know is excused by name: see [Board.Excuse] for acknowledgements
// that a fault is allowed to lose, and [Subject.Suspend].
package coherence
