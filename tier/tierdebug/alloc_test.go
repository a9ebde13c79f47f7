//go:build !race

package tierdebug_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/tier"
	"github.com/tiercache/tiercache/tier/tierdebug"
)

// The race detector allocates by itself.
func TestALocalHitAllocatesNothingWithAPage(t *testing.T) {
	s := open(t, tier.WithMaxStaleness(time.Minute), tier.WithHeartbeat(20*time.Second))
	_ = tierdebug.New(s)
	c := view(t, s, "docs")
	get(t, c, "k")
	require.Zero(t, testing.AllocsPerRun(10_000, func() { get(t, c, "k") }))
}
