// Package evictions counts the entries that leave the local tier, by cause.
package evictions

import (
	"sync/atomic"

	"github.com/tiercache/tiercache/internal/mono"
	"github.com/tiercache/tiercache/local"
)

// Counts are how many entries left, by cause. What is replaced by a newer value of its key while it could still have been served, and what
// Close gives up, is counted nowhere.
type Counts struct {
	Capacity    atomic.Int64 // a bound was reached, and the policy chose them
	Expired     atomic.Int64 // their life was over
	Invalidated atomic.Int64 // they could not be believed any more: what they depend on, or their key, had changed
}

// Count counts an entry that leaves, whose life ends at expires. It is called when an entry leaves, and not when one is read: that costs a
// hit nothing.
func (c *Counts) Count(expires mono.Time, why local.Reason) {
	switch {
	case why == local.Evicted:
		c.Capacity.Add(1)
	case why == local.Cleared:
	case mono.Now() >= expires: // a sweep takes it out, or the next load of its key replaces it
		c.Expired.Add(1)
	case why == local.Removed:
		c.Invalidated.Add(1)
	}
}
