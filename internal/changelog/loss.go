package changelog

import (
	"time"

	"github.com/tiercache/tiercache/internal/mono"
	"github.com/tiercache/tiercache/invalidation"
)

// tellOfLoss logs that the answer d has brought another log than that of before, unless this process has found and logged
// that already. Another process may have been the first to find it, or a change of this process has begun the new log.
func (t *Tail) tellOfLoss(before *View, d Delta) {
	t.mu.Lock()
	told := t.mu.renewed == before.Incarnation
	t.mu.Unlock()
	// guard: loss-is-logged
	if before.Incarnation != 0 && d.Incarnation != before.Incarnation && !told {
		t.cfg.Logger.Warn("tiercache: the change log lost history, and goes on as a new one",
			"knew", before.AsOf().String(), "found", invalidation.AsOf{Incarnation: d.Incarnation, Tick: d.Tick}.String())
	}
}

// lag is the longest time that a change took to get here, within the last 10 to 20 s.
type lag struct {
	begun         mono.Time // when present began
	present, past time.Duration
}

const lagWindow = 10 * time.Second

func (l *lag) add(d time.Duration, now mono.Time) {
	l.move(now)
	l.present = max(l.present, d)
}

func (l *lag) move(now mono.Time) {
	switch since := now.Sub(l.begun); {
	case since < lagWindow:
	case since < 2*lagWindow:
		l.begun, l.past, l.present = now, l.present, 0
	default:
		l.begun, l.past, l.present = now, 0, 0
	}
}

func (l *lag) longest(now mono.Time) time.Duration {
	l.move(now)
	return max(l.present, l.past)
}
