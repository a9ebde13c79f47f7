//go:build unix

package remote

import (
	"net"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// delays reports whether a connection waits for more before it sends little.
func delays(t *testing.T, conn *net.TCPConn) bool {
	raw, err := conn.SyscallConn()
	require.NoError(t, err)
	var set int
	require.NoError(t, raw.Control(func(fd uintptr) {
		set, err = syscall.GetsockoptInt(int(fd), syscall.IPPROTO_TCP, syscall.TCP_NODELAY)
	}))
	require.NoError(t, err)
	return set == 0
}
