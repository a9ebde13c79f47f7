package config

import (
	"fmt"
	"math/rand/v2"
	"time"
)

const (
	// minTTL is the resolution of the server's expiry.
	minTTL = time.Millisecond
	// maxMaxTTL is the longest life that an entry's expiry can express.
	maxMaxTTL = 100 * 365 * 24 * time.Hour
)

// checkTTL returns an error that names the value and the rule it breaks.
func checkTTL(name string, d, most time.Duration) error {
	switch {
	case d < minTTL:
		return fmt.Errorf("%s %v: must be at least %v", name, d, minTTL)
	case d%minTTL != 0:
		return fmt.Errorf("%s %v: must be a whole number of milliseconds", name, d)
	case d > most:
		return fmt.Errorf("%s %v: exceeds the store's maximum of %v (WithMaxTTL)", name, d, most)
	}
	return nil
}

// Jittered shortens d by a random part of at most share of it, so that entries
// made together do not expire together. It never lengthens d.
func Jittered(d time.Duration, share float64) time.Duration {
	if share <= 0 {
		return d
	}
	return max(d-time.Duration(rand.Float64()*share*float64(d)), minTTL).Truncate(minTTL)
}
