//go:build race

package modeltest

// raceDetector: a search is one goroutine, and takes ten times as long.
const raceDetector = true
