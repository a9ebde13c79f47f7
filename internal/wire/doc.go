// Package wire asks a server over one connection, past the client of valkey-go, whose goroutines cost a process twice as
// much (docs/adr/0006-the-hot-connection.md). Callers write what they ask themselves; one goroutine reads. Greeting the
// server, and dialling anew, is the owner's: see package remote.
//
// # What is promised
//
//   - One order: what the server sends is handed out in the order in which it came.
//     What came before an answer has been handed over when the answer is: invalidations to
//     [Options.Invalidated], which is called in that order, one at a time.
//   - Ask returns when its context ends, whatever the server does.
//   - [Conn.Send] waits for nothing, and what it is given is told once how that went: by
//     the reader goroutine, which it must not hold up, or within a moment of the deadline.
//   - What nothing was asked for, and what is no RESP3, ends the connection.
//
// # What is not
//
// Nothing is tried again. An error of Ask, or one that is told after Send, leaves open
// whether the server did what it was asked, unless it matches [ErrUnsent].
package wire
