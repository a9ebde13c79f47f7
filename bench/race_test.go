//go:build race

package bench

// The race detector allocates, and makes each small object larger.
const raceEnabled = true
