package wire

import (
	"context"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/internal/bound"
)

// Guard: both cases of ask. A request is waited for until its caller's context ends, or
// its limit.
func TestAskEndsWithEitherOfTwoContexts(t *testing.T) {
	for name, shared := range map[string]bool{"a caller that reads": false, "one that waits for another to read": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, _ := inMemory(t, Options{})
				limit, stop := context.WithTimeout(context.Background(), time.Second)
				defer stop()
				caller, cancel := context.WithTimeout(t.Context(), time.Millisecond)
				defer cancel()
				ended := make(chan error)
				if shared {
					go func() { _, err := askOne(limit, c, "SILENT"); ended <- err }()
					synctest.Wait()
				}
				begun := time.Now()
				_, err := askOne(bound.New(caller, limit, net.ErrClosed), c, "SILENT")
				require.Equal(t, context.DeadlineExceeded, err)
				require.Equal(t, time.Millisecond, time.Since(begun))
				long, cancel := context.WithCancel(t.Context())
				defer cancel()
				_, err = askOne(bound.New(long, limit, net.ErrClosed), c, "SILENT")
				require.Equal(t, context.DeadlineExceeded, err)
				require.Equal(t, time.Second, time.Since(begun))
				if shared {
					require.Equal(t, context.DeadlineExceeded, <-ended)
				}
			})
		})
	}
}
