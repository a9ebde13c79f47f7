//go:build race

package model

// raceDetector: a search is one goroutine, and takes ten times as long.
const raceDetector = true
