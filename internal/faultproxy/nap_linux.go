package faultproxy

import (
	"syscall"
	"time"
)

// nap sleeps for d, which is short. A timer of the runtime's is late by up to 1 ms on an idle machine and by several on a busy one, since it
// waits in whole milliseconds: more than what is throttled takes.
func nap(d time.Duration) {
	left := syscall.NsecToTimespec(int64(d))
	_ = syscall.Nanosleep(&left, nil) // a signal ends it early, and what follows is that much later
}
