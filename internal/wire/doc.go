// Package wire lets others ask over a connection that a client of valkey-go
// believes to have for itself.
//
// The client dials, says hello, asks for notices, finds out that the connection is
// lost and makes another; all that stays with it. But it reads and writes in
// goroutines of its own, and on an idle machine each handover to them wakes a core:
// a lone request takes half as long again. [Conn.Ask] writes what it asks for itself
// and, if nobody reads just then, reads the answer itself.
//
// # What is promised
//
//   - One order: what the server sends is handed out in the order in which it came.
//     Whatever came before an answer, to whom it may be, has been handed over when
//     the answer is: pushes to the functions of [Options], which are called in
//     that order, one at a time.
//   - Ask returns when its context ends, whatever the server does. Where that is
//     not its deadline but somebody's decision it may be two milliseconds late.
//   - [Conn.Send] waits for nothing, and what it is given is told once how that went: by
//     whoever reads, whom it must not hold up, or within a moment of the deadline.
//   - The client sees a connection of its own: all it did not ask for, but what the
//     functions of Options have taken, is kept from it.
//
// # What is not
//
// Between reads that come thick, within a millisecond of each other, nobody waits
// for what the server sends of its own accord: the next who asks finds it, and if
// nobody does the client is back within a millisecond or two.
//
// Nothing is tried again. An error of Ask, or one that is told after Send, leaves open
// whether the server did what it was asked.
package wire
