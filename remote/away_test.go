package remote_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"testing"

	"github.com/tiercache/tiercache/internal/backend"

	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/internal/remoteerr"
	"github.com/tiercache/tiercache/internal/valkeytest"
	"github.com/tiercache/tiercache/remote"
)

func TestAServerThatServesNoClientIsAway(t *testing.T) {
	require.False(t, remoteerr.Away(nil))
	for _, err := range []error{context.DeadlineExceeded, &net.OpError{Op: "dial", Err: errors.New("refused")}, errors.New("EOF")} {
		require.True(t, remoteerr.Away(err), err)
		require.True(t, remoteerr.Away(fmt.Errorf("reading: %w", err)), err)
	}
	for _, err := range []error{remote.ErrFull, backend.ErrClosed} {
		require.False(t, remoteerr.Away(fmt.Errorf("writing: %w", err)), err)
	}
}

func TestAwayTellsARefusalOfEverythingFromThatOfOneRequest(t *testing.T) {
	s := valkeytest.Start(t)
	client := s.Client(t)
	for text, away := range map[string]bool{
		"LOADING Valkey is loading the dataset in memory": true, "BUSY Valkey is busy running a script.": true,
		"MASTERDOWN Link with MASTER is down": true, "READONLY You can't write against a read only replica.": true,
		"CLUSTERDOWN The cluster is down": true, "NOAUTH Authentication required.": true,
		"OOM command not allowed when used memory > 'maxmemory'.": false, "WRONGTYPE Operation against a key": false,
		"NOPERM User x has no permissions": false, "NOSCRIPT No matching script.": false, "ERR unknown command": false,
		"MISCONF Errors writing to the AOF file": false, "NOREPLICAS Not enough good replicas to write.": false,
	} {
		err := client.Do(context.Background(), client.B().Eval().Script("return redis.error_reply(ARGV[1])").Numkeys(0).Arg(text).Build()).Error()
		require.Error(t, err)
		require.Equal(t, away, remoteerr.Away(fmt.Errorf("asking: %w", err)), text)
	}
}
