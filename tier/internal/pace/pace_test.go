package pace

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/internal/mono"
	"github.com/tiercache/tiercache/local"
)

var errDown = errors.New("down")

func TestAPauseDoublesUpToTheLongest(t *testing.T) {
	var table Table
	k, now := local.Key{Lo: 1}, mono.Time(0)
	for _, pause := range []time.Duration{1, 2, 4, 8, 8} {
		pause *= time.Second
		until := table.Fail(k, errDown, now, time.Second, 8*time.Second)
		require.GreaterOrEqual(t, until.Sub(now), pause)
		require.LessOrEqual(t, until.Sub(now), pause+pause/4)
		err, paused := table.Paused(k, until-1)
		require.True(t, paused)
		require.Equal(t, errDown, err)
		_, paused = table.Paused(k, until)
		require.False(t, paused)
		now = until
	}
}

// Guard: many callers without a value, each of which loads, do not make the pause longer.
func TestAFailureDuringAPauseLeavesIt(t *testing.T) {
	var table Table
	k := local.Key{Lo: 1}
	until := table.Fail(k, errDown, 0, time.Second, time.Minute)
	for range 10 {
		require.Equal(t, until, table.Fail(k, errDown, until-1, time.Second, time.Minute))
	}
}

// Guard: what is heard of another process is reckoned like a failure of this one.
func TestAPauseOfAnotherProcessCountsAsOne(t *testing.T) {
	var table Table
	k := local.Key{Lo: 1}
	table.Hear(k, 0, mono.Time(0).Add(3*time.Second), time.Second, time.Minute)
	err, paused := table.Paused(k, mono.Time(0).Add(2*time.Second))
	require.True(t, paused)
	require.Equal(t, ErrElsewhere, err)
	// A caller without a value has tried meanwhile.
	until := table.Fail(k, errDown, mono.Time(0).Add(time.Second), time.Second, time.Minute)
	require.GreaterOrEqual(t, until.Sub(mono.Time(0).Add(time.Second)), time.Second)
	err, _ = table.Paused(k, mono.Time(0).Add(time.Second))
	require.Equal(t, errDown, err)
	table.Hear(k, mono.Time(0).Add(time.Second), mono.Time(0).Add(time.Hour), time.Second, time.Minute)
	_, paused = table.Paused(k, until)
	require.False(t, paused, "its own pause stands")
	require.GreaterOrEqual(t, table.Fail(k, errDown, until, time.Second, time.Minute).Sub(until), 2*time.Second)
}

func TestASuccessEndsThePause(t *testing.T) {
	var table Table
	k, other := local.Key{Lo: 1}, local.Key{Lo: 2}
	table.Fail(k, errDown, 0, time.Second, time.Minute)
	table.Fail(other, errDown, 0, time.Second, time.Minute)
	table.Succeed(k)
	_, paused := table.Paused(k, 0)
	require.False(t, paused)
	_, paused = table.Paused(other, 0)
	require.True(t, paused)
	require.LessOrEqual(t, table.Fail(k, errDown, 0, time.Second, time.Minute).Sub(0), time.Second+time.Second/4, "it begins anew")
}

func TestATableIsBounded(t *testing.T) {
	var table Table
	for i := range 3 * Most {
		table.Fail(local.Key{Lo: uint64(i)}, errDown, 0, time.Second, time.Minute)
	}
	require.LessOrEqual(t, len(table.keys), Most)
	require.EqualValues(t, len(table.keys), table.failing.Load())
	later := mono.Time(0).Add(time.Hour)
	table.Fail(local.Key{Hi: 1}, errDown, later, time.Second, time.Minute)
	require.Len(t, table.keys, 1, "the pauses of all others are over")
}
