//go:build !race

package sizeof

const raceEnabled = false
