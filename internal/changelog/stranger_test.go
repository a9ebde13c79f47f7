package changelog

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/internal/mono"
)

func TestAStrangerIsAnotherLogThatGoesOnBesideTheOneThatIsFollowed(t *testing.T) {
	at := func(d time.Duration) mono.Time { return mono.Time(time.Hour + d) }
	var s stranger
	require.False(t, s.goesOn(1, at(0), at(0)))
	s.hear(2, 1, at(0))
	s.hear(2, 1, at(100*time.Millisecond))
	require.False(t, s.goesOn(1, at(time.Second), at(time.Second)), "a log that was renewed is heard for a moment")
	s.hear(2, 1, at(2*time.Second))
	require.True(t, s.goesOn(1, at(time.Second), at(2*time.Second)))
	require.False(t, s.goesOn(1, at(-time.Second), at(2*time.Second)), "the log was not read since")
	require.False(t, s.goesOn(2, at(time.Second), at(2*time.Second)), "it is followed by now")
	require.True(t, s.goesOn(1, at(time.Second), at(time.Minute)))
	require.False(t, s.goesOn(1, at(time.Second), at(time.Hour)), "it has ended")
	s.hear(2, 1, at(time.Hour))
	require.False(t, s.goesOn(1, at(time.Hour), at(time.Hour)), "it begins anew")
}
