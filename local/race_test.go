//go:build race

package local

// The race detector allocates, and makes each small object larger.
const raceEnabled = true
