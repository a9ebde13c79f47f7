package tier

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/tier/internal/core"
	"github.com/tiercache/tiercache/tier/internal/inflight"
)

// What the engine counts and tells by numbers of its own is turned into ours by conversion.
func TestTheEnginesNumbersAreOurs(t *testing.T) {
	require.Equal(t, []Origin{Local, Remote, Loaded}, []Origin{Origin(inflight.FromLocal), Origin(inflight.FromRemote), Origin(inflight.FromLoader)})
	require.Equal(t, []Cause{Cold, Expired, Invalidated, Unproven, Damaged, OtherType, OtherFormat}, []Cause{Cause(core.CauseCold), Cause(core.CauseExpired),
		Cause(core.CauseInvalidated), Cause(core.CauseUnproven), Cause(core.CauseDamaged), Cause(core.CauseOtherType), Cause(core.CauseOtherFormat)})
	require.EqualValues(t, OtherFormat+1, core.NumCauses)
	require.Equal(t, []EventKind{EventLoad, EventFill, EventWrite, EventInvalidate, EventRemote, EventBadEntry}, []EventKind{EventKind(core.EventLoad),
		EventKind(core.EventFill), EventKind(core.EventWrite), EventKind(core.EventInvalidate), EventKind(core.EventRemote), EventKind(core.EventBadEntry)})
}
