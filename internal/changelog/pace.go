package changelog

import (
	"time"

	"github.com/tiercache/tiercache/invalidation"
)

// The pace of messages. A message takes the server some microseconds for each process that it goes to, and so a change
// takes it as many milliseconds as there are hundreds of processes. So messages have a share of its time: each uses up
// MessageCost for each receiver, of what has been saved up to MessageBurst. A change for which nothing is left is
// recorded and told of by the next message, which says all that changed since the one before: see [Body].
// A message is due at most LongestPause after the one before, however many processes there are. Messages to FewReceivers or
// fewer use up nothing: to keep the pace takes the server as long as to send one of them, a fifth of a change.
const (
	FewReceivers = 8
	MessageCost  = 100 * time.Microsecond
	MessageBurst = 50 * time.Millisecond
	LongestPause = 250 * time.Millisecond
)

// Pace says when a message is due. Scripts keep the same in the log, as a member "m<Told>:<paid, in µs>".
type Pace struct {
	// Told is the position up to which all changes have been told; 0 is all.
	Told invalidation.Tick
	paid time.Time // until when the share of the messages so far lasts
}

// Wait returns how long the next message has to wait, by the server's clock.
func (p *Pace) Wait(now time.Time) time.Duration {
	wait := p.paid.Sub(now) - MessageBurst
	// guard: pace-after-clock-step-embedded
	if wait > LongestPause {
		p.paid, wait = time.Time{}, 0
	}
	return max(wait, 0)
}

// Spend has the next message wait for so long.
func (p *Pace) Spend(now time.Time, wait time.Duration) { p.paid = now.Add(MessageBurst + wait) }

// Sent says that all up to the position was told, to so many receivers.
func (p *Pace) Sent(told invalidation.Tick, now time.Time, receivers int) {
	if receivers <= FewReceivers {
		p.Told, p.paid = told, time.Time{}
		return
	}
	if p.paid.Before(now) {
		p.paid = now
	}
	p.Told, p.paid = told, p.paid.Add(min(time.Duration(receivers)*MessageCost, LongestPause))
}
