package tier

import (
	"time"
)

// TTLs by kind of content, for [WithTTL] and [Entry.SetTTL].
const (
	StaticFacts   = 24 * time.Hour // what hardly ever changes
	Documentation = 6 * time.Hour  // what is edited now and then
	UserData      = time.Hour      // what a user sees change
	RealTime      = time.Minute    // what is out of date in minutes
)

const (
	// DefaultMaxTTL is the longest life of an entry unless WithMaxTTL says else.
	DefaultMaxTTL = 7 * 24 * time.Hour
	// DefaultNegativeTTL is how long "not found" is remembered.
	DefaultNegativeTTL = 30 * time.Second
)
