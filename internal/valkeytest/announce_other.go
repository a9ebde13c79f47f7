//go:build !linux

package valkeytest

import "os"

// beyondGoTest opens the terminal, if there is one.
func beyondGoTest() *os.File {
	f, err := os.OpenFile("/dev/tty", os.O_WRONLY, 0)
	if err != nil {
		return nil
	}
	return f
}
