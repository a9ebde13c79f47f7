package mono

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestTimeAdvancesWithTheClockOfTheBubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begun := Now()
		time.Sleep(time.Hour)
		require.Equal(t, time.Hour, Now().Sub(begun))
		require.Equal(t, Now(), begun.Add(time.Hour))
	})
}

func TestReadingTheClockAllocatesNothing(t *testing.T) {
	require.Zero(t, testing.AllocsPerRun(100, func() { Now() }))
}
