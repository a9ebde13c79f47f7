//go:build race

package coherence

// raceDetector: reads take ten times as long, so there are fewer of them.
const raceDetector = true
