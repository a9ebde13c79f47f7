// Package modeltest is what the tests of the models have in common: how far they
// search, and what they ask of a result.
//
// With -short a search ends after a few thousand states, and under the race
// detector after a few hundred: it is one goroutine, and would take minutes. With TIERCACHE_MODEL set
// the tests also search the worlds that take long, and up to 14 GB.
package modeltest

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/internal/model/search"
)

// Most is how many states a test searches.
func Most() int {
	switch {
	case raceDetector:
		return 500
	case testing.Short():
		return 5_000
	case large():
		return 40_000_000
	}
	return 4_000_000
}

func short() bool { return raceDetector || testing.Short() }

func large() bool { return os.Getenv("TIERCACHE_MODEL") != "" }

// Large skips a test of a large world unless it is asked for.
func Large(t *testing.T) {
	if short() || !large() {
		t.Skip("SKIPPED: a large world; make model searches it")
	}
}

// Holds requires that a search found no violation, and was complete.
func Holds(t *testing.T, r search.Result) {
	t.Helper()
	t.Log(r)
	require.Empty(t, r.Violation)
	require.True(t, r.Complete || short(), "more than %d states", Most())
}

// Breaks requires that a search found a violation.
func Breaks(t *testing.T, r search.Result) {
	t.Helper()
	t.Log(r)
	if short() && r.Violation == "" && !r.Complete {
		t.Skipf("SKIPPED: it lies beyond %d states", Most())
	}
	require.NotEmpty(t, r.Violation, "the guard is not needed there, or the model is blind")
}
