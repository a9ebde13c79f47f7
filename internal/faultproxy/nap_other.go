//go:build !linux

package faultproxy

import "time"

// nap sleeps for d, which is short.
func nap(d time.Duration) { time.Sleep(d) }
