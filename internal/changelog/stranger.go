package changelog

import (
	"time"

	"github.com/tiercache/tiercache/internal/mono"
)

// stranger is another change log whose messages come on the channel of this one. A channel is that of all databases of a
// server, so stores of two databases that have one prefix hear of each other; the server also tells each of
// keys that change in the other, since they have the same names. After a log was renewed, messages of the one before
// come too, but only for a moment.
type stranger struct {
	incarnation, beside uint64    // its own, and that of the log that is followed
	first, latest       mono.Time // when messages of it came
	told                bool
}

// For how long a stranger has to have been heard before it is told of, and how long ago it may have been heard last.
const (
	strangerLasts    = time.Second
	strangerForgiven = 10 * time.Minute
)

func (s *stranger) hear(incarnation, beside uint64, now mono.Time) {
	if s.incarnation != incarnation || s.beside != beside || now.Sub(s.latest) > strangerForgiven {
		*s = stranger{incarnation: incarnation, beside: beside, first: now}
	}
	s.latest = now
}

// goesOn reports whether the stranger is one: it was heard for a while, and the followed log, which was read at answered, is still
// the one that there was.
func (s *stranger) goesOn(follows uint64, answered, now mono.Time) bool {
	// guard: stranger-beside-log
	return s.incarnation != 0 && s.beside == follows && s.latest.Sub(s.first) >= strangerLasts && answered >= s.first && now.Sub(s.latest) <= strangerForgiven
}

// tellOfStranger logs it once.
func (t *Tail) tellOfStranger() {
	t.mu.Lock()
	s := &t.mu.stranger
	tell := !s.told && s.goesOn(t.View().Incarnation, t.mu.answered, mono.Now())
	s.told = s.told || tell
	t.mu.Unlock()
	if tell {
		t.cfg.Logger.Warn("tiercache: " + StrangerWarning)
	}
}

// StrangerWarning says what a stranger is, and what to do about it.
const StrangerWarning = "another change log is under this prefix, in another database of the server or on another server that answers for it: keys that change there end local copies here; give each a prefix of its own (WithPrefix)"
