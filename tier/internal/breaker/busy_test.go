package breaker

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/internal/backend"
	"github.com/tiercache/tiercache/internal/changelog"
)

// slowLog answers late, behind other answers or not.
type slowLog struct {
	backend.Conn
	busy bool
}

func (l slowLog) Delta(context.Context, changelog.DeltaQuery) (changelog.Delta, error) {
	time.Sleep(80 * time.Millisecond)
	return changelog.Delta{Busy: l.busy}, nil
}

func TestALateHeartbeatIsAFailureUnlessTheConnectionWasBusy(t *testing.T) {
	for busy, openings := range map[bool]int64{false: 1, true: 0} {
		synctest.Test(t, func(t *testing.T) {
			c := NewConn(slowLog{busy: busy}, 50*time.Millisecond, time.Second, func(*Outage) {}, func(*Outage) {})
			for range 3 {
				_, err := c.Delta(t.Context(), changelog.DeltaQuery{})
				require.NoError(t, err)
			}
			require.Equal(t, openings, c.Server.openings.Load())
		})
	}
}
