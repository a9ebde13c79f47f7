package changelog_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/internal/changelog"
)

func TestMessagesToFewUseUpNothing(t *testing.T) {
	var p changelog.Pace
	now := time.Now()
	sendTo := func(receivers int) {
		for range 1000 {
			p.Sent(1, now, receivers)
		}
	}
	sendTo(changelog.FewReceivers)
	require.Zero(t, p.Wait(now))
	for range 100 {
		p.Sent(2, now, changelog.FewReceivers+1)
	}
	require.Positive(t, p.Wait(now))
	p.Sent(3, now, changelog.FewReceivers)
	require.Zero(t, p.Wait(now), "what was used up before is forgotten")
	require.EqualValues(t, 3, p.Told)
}
