package faultproxy

import "time"

// Class tells messages apart.
type Class uint8

// The classes of messages: pushes and replies go to the client, requests to the
// server. The confirmation of a subscription is a reply, though it looks like a
// push.
const (
	Push Class = iota
	Reply
	Request
	numClasses
)

// Action is what a rule does to a message.
type Action uint8

// The actions.
const (
	Drop      Action = iota // it never arrives
	Hold                    // it arrives with Release, or never; replies and requests that follow, after it
	Delay                   // it arrives Rule.By later; what follows may overtake it
	Duplicate               // it arrives twice
	Reorder                 // it is held until Rule.Window of them can be sent in another order
	numActions
)

func (a Action) String() string {
	return [...]string{"drop", "hold", "delay", "duplicate", "reorder", "?"}[min(a, numActions)]
}

// Rule says what happens to some messages. Those of which no rule speaks pass.
type Rule struct {
	Class  Class
	Action Action
	// Only restricts a rule for pushes to those of this name: "invalidate" for
	// tracking invalidations, "message" for those of channels. Empty is all.
	Only string
	// Share of the messages that it applies to, chosen by the seed; 0 is all.
	Share  float64
	By     time.Duration // of Delay
	Window int           // of Reorder; 0 is 4
}

const defaultWindow = 4

func (r *Rule) matches(c Class, m *message) bool {
	return r.Class == c && (r.Only == "" || r.Only == m.push)
}

// Stats counts what became of messages.
type Stats struct {
	Connections int64
	Greeted     int64             // connections that Greet ended
	Cut         int64             // connections that CutWithin ended
	Late        int64             // messages that Latency delayed
	Passed      [numClasses]int64 // unharmed
	Done        [numActions]int64 // messages that an action was applied to
}
