package inflight

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/local"
)

// A call that is woken wakes the run that waits for it, whenever that is: before the run sleeps,
// while it does, and between two sleeps, also if it waits for other calls too.
func TestACallThatIsWokenEndsTheSleepOfItsRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table := NewTable(nil)
		var calls []*Call
		for i := range 3 {
			f, leads, _ := table.Join(nil, local.Key{Lo: uint64(i)}, "k", true)
			require.True(t, leads)
			calls = append(calls, f)
		}
		sleeps := func(d time.Duration) {
			t.Helper()
			begun := time.Now()
			require.NoError(t, table.Sleep(t.Context(), calls, time.Minute))
			require.Equal(t, d, time.Since(begun))
		}
		table.WakeCall(calls[1].H)
		sleeps(0)
		sleeps(time.Minute)
		time.AfterFunc(time.Second, func() { table.WakeCall(calls[2].H) })
		sleeps(time.Second)
		table.WakeCall(calls[0].H)
		table.WakeCall(calls[2].H)
		sleeps(0)
		sleeps(time.Minute)
	})
}
