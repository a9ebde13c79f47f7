package sweep_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/internal/changelog"
	"github.com/tiercache/tiercache/internal/mono"
	"github.com/tiercache/tiercache/local"
	"github.com/tiercache/tiercache/tier/internal/record"
	"github.com/tiercache/tiercache/tier/internal/sweep"
)

func TestASweepLooksOnlyWhenSomethingMayHaveGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, err := local.New(local.Config[record.Item]{MaxEntries: 100})
		require.NoError(t, err)
		k := record.NewKind[int](nil)
		put := func(n uint64, life time.Duration) *record.Item {
			it := record.NewItemOf(k, int(n))
			it.Meta().Expires = mono.Now().Add(life)
			require.True(t, l.PutEntry(local.Key{Lo: n << 50, Hi: n << 40}, it.Entry(), 0))
			return it
		}
		looked, view := 0, &changelog.View{Seq: 1}
		s := sweep.Sweeper{Local: l, View: func() *changelog.View { return view }, Gone: func(it *record.Item, now mono.Time, _ *changelog.View) bool {
			looked++
			return now >= it.Meta().Expires
		}}
		put(1, time.Minute)
		put(2, time.Hour)
		require.Zero(t, s.Sweep())
		require.Equal(t, 2, looked)
		time.Sleep(30 * time.Second)
		require.Zero(t, s.Sweep())
		require.Equal(t, 2, looked, "nothing has expired, changed or come")
		put(3, time.Hour)
		require.Zero(t, s.Sweep())
		require.Equal(t, 5, looked)
		view = &changelog.View{Seq: 2}
		require.Zero(t, s.Sweep())
		require.Equal(t, 8, looked)
		time.Sleep(30 * time.Second)
		require.Equal(t, 1, s.Sweep())
		require.Equal(t, 2, l.Len())
		require.Equal(t, 11, looked)
		require.Zero(t, s.Sweep())
		require.Equal(t, 11, looked)
	})
}

// What a sweep looked at may have been replaced since.
func TestASweepTakesOutNothingThatCameSince(t *testing.T) {
	l, err := local.New(local.Config[record.Item]{MaxEntries: 100})
	require.NoError(t, err)
	k := record.NewKind[int](nil)
	require.True(t, l.PutEntry(local.Key{Lo: 1}, record.NewItemOf(k, 1).Entry(), 0))
	later := record.NewItemOf(k, 2)
	s := sweep.Sweeper{Local: l, View: func() *changelog.View { return &changelog.View{} }, Gone: func(*record.Item, mono.Time, *changelog.View) bool {
		require.True(t, l.PutEntry(local.Key{Lo: 1}, later.Entry(), 0))
		return true
	}}
	require.Zero(t, s.Sweep())
	require.Equal(t, later.Entry(), l.PeekEntry(local.Key{Lo: 1}))
}
