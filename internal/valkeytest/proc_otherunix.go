//go:build unix && !linux

package valkeytest

// startBound starts cmd such that it cannot outlive this process; release is called when cmd has ended.
var startBound = startWatched

// stopped: SIGSTOP takes effect at once or nearly so; there is no cheap portable way to see it.
func stopped(int) (bool, error) { return true, nil }
