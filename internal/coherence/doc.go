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
//   - I2: v is at least every version that was acknowledged to anybody more than
//     the maximum staleness ago.
//   - I4: a fresh read's v is at least every version acknowledged to anybody.
//   - I5: v is at least every version acknowledged before this member's latest
//     Sync began: of those it has been told, so the value of a load that began
//     before would be believed although the change is known.
//   - v has existed when the read returned; else the harness is broken.
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
// when somebody was scheduled. The reverse does not hold: a violation can be
// missed, which is why every guard of the protocol is taken out once to see one
// (make guards).
//
// What it cannot know is excused by name: see [Board.Excuse] for acknowledgements
// that a fault is allowed to lose, and [Subject.Suspend].
package coherence
