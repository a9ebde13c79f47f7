//go:build unix

package wire

import (
	"net"
	"syscall"
)

// tryWriting returns how to write to c without waiting, or nil. It is called by one
// goroutine at a time.
func tryWriting(c net.Conn) func([]byte) (int, error) {
	switch c.(type) { // and nothing that only has one inside: it may change what is written
	case *net.TCPConn, *net.UnixConn:
	// guard: no-write-past-wrapper
	default:
		return nil
	}
	raw, err := c.(syscall.Conn).SyscallConn()
	if err != nil {
		return nil
	}
	var b []byte
	var n int
	var failed error
	write := func(fd uintptr) bool { // made once
		n, failed = syscall.Write(int(fd), b)
		return true
	}
	return func(what []byte) (int, error) {
		b = what
		err := raw.Write(write)
		b = nil
		switch {
		case err != nil:
			return 0, err
		case failed == syscall.EAGAIN || failed == syscall.EINTR:
			return 0, nil
		case failed != nil:
			return 0, failed
		}
		return n, nil
	}
}
