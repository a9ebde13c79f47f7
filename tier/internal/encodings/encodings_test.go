package encodings

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/internal/mono"
)

func TestAnotherEncodingIsToldOfOnceItHasBeenWrittenForLong(t *testing.T) {
	now := mono.Now()
	at := func(minutes int) mono.Time { return now.Add(time.Duration(minutes) * time.Minute) }
	t.Run("two programs", func(t *testing.T) {
		var o Other
		require.False(t, o.GoesOn(at(0)))
		told := 0
		for m := 0; m <= 300; m += 10 {
			if o.Saw(1, at(m), at(m)) {
				told++
				require.Equal(t, 60, m)
			}
			require.Equal(t, m >= 60, o.GoesOn(at(m)), "after %d minutes", m)
		}
		require.Equal(t, 1, told, "it is logged once")
		require.True(t, o.GoesOn(at(350)))
		require.False(t, o.GoesOn(at(361)), "the other program is gone")
		require.False(t, o.Saw(1, at(400), at(400)), "and comes back")
		require.False(t, o.GoesOn(at(400)))
	})
	t.Run("a deployment", func(t *testing.T) {
		var o Other
		for m := 0; m <= 50; m += 10 {
			require.False(t, o.Saw(1, at(m), at(m)))
		}
		for m := 50; m <= 1000; m += 10 { // what it has left is read for as long as it lives
			require.False(t, o.Saw(1, at(m%50), at(m)))
			require.False(t, o.GoesOn(at(m)))
		}
	})
	t.Run("a deployment each day", func(t *testing.T) {
		var o Other
		for day := range 5 {
			require.False(t, o.Saw(uint64(day%2), at(day*24*60), at(day*24*60)))
			require.False(t, o.GoesOn(at(day*24*60)))
		}
	})
	t.Run("three programs", func(t *testing.T) {
		var o Other
		told := 0
		for m := 0; m <= 90; m += 10 {
			if o.Saw(1, at(m), at(m)) {
				told++
			}
			if o.Saw(2, at(m+1), at(m+1)) {
				told++
			}
		}
		require.Equal(t, 1, told)
		for m := 100; m <= 160; m += 10 { // the one that is followed ends
			o.Saw(2, at(m), at(m))
		}
		require.False(t, o.GoesOn(at(160)))
		for m := 170; m <= 230; m += 10 {
			o.Saw(2, at(m), at(m))
		}
		require.True(t, o.GoesOn(at(230)))
	})
	t.Run("a process that a deployment starts", func(t *testing.T) {
		var o Other
		require.False(t, o.Saw(1, at(10), at(55)), "written before")
		require.False(t, o.Saw(1, at(65), at(66)), "written by the last one of the version before")
		require.False(t, o.GoesOn(at(66)))
		require.False(t, o.Saw(1, at(20), at(70)), "read late")
		require.False(t, o.Saw(1, at(114), at(114)))
		require.True(t, o.Saw(1, at(115), at(119)))
		require.True(t, o.GoesOn(at(119)))
	})
}
