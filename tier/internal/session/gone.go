package session

import (
	"github.com/tiercache/tiercache/internal/changelog"
	"github.com/tiercache/tiercache/internal/mono"
	"github.com/tiercache/tiercache/tier/internal/record"
)

// Gone reports whether a local copy will never be served again: its life is over, what it depends on has changed, or the
// outage is over for which it was kept. A copy without a proof may be proven again.
func (s *Session) Gone(it *record.Item, now mono.Time, v *changelog.View) bool {
	f := it.Meta()
	// guard: expired-copies-leave
	if now >= f.Expires {
		return true
	}
	if o := it.Extra().Outage; o != nil && f.Epoch == record.EpochNone {
		return now >= o.Until || !o.Outage.Lasts()
	}
	if it.Seq.Load() == v.Seq || f.Common == nil {
		return false
	}
	// guard: invalidated-copies-leave
	return s.validate(it) == changelog.Changed
}
