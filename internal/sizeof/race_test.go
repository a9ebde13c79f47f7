//go:build race

package sizeof

// The race detector gives each small object a block of its own.
const raceEnabled = true
