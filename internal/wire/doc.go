// Package wire asks a server over one connection, past the client of valkey-go.
//
// The client reads and writes in goroutines of its own, and on an idle machine each
// handover to them wakes a core: a lone request takes half as long again. [Conn.Ask]
// writes what it asks for itself and, if no one else reads just then, reads the
// answer itself. Greeting the server, and dialling anew, is its owner's: see package remote.
//
// # What is promised
//
//   - One order: what the server sends is handed out in the order in which it came.
//     What came before an answer has been handed over when the answer is: notices to
//     [Options.Invalidated], which is called in that order, one at a time.
//   - Ask returns when its context ends, whatever the server does. Where that is
//     not its deadline but a cancellation it may be two milliseconds late.
//   - [Conn.Send] waits for nothing, and what it is given is told once how that went: by
//     the goroutine that reads, which it must not hold up, or within a moment of the deadline.
//   - What nothing was asked for, and what is no RESP3, ends the connection.
//
// # What is not
//
// Between requests that come within a millisecond of each other no goroutine waits
// for what the server sends of its own accord: the next caller that asks finds it, and if
// none does it is read within a millisecond or two.
//
// Nothing is tried again. An error of Ask, or one that is told after Send, leaves open
// whether the server did what it was asked, unless it matches [ErrUnsent].
package wire
