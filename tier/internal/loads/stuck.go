package loads

import "sync/atomic"

// MostStuck is how many loaders of a view may have been given up and not have returned.
const MostStuck = 8

// Stuck counts the loaders of a view that have ignored the end of their contexts for so long that they
// were given up.
type Stuck struct{ n atomic.Int64 }

// Full reports whether there are so many that no further load is to begin.
func (s *Stuck) Full() bool { return s.n.Load() >= MostStuck }

// Count returns how many there are.
func (s *Stuck) Count() int { return int(s.n.Load()) }

// GiveUp counts one, Return one that has returned after all.
func (s *Stuck) GiveUp() { s.n.Add(1) }

// Return is the opposite of GiveUp.
func (s *Stuck) Return() { s.n.Add(-1) }
