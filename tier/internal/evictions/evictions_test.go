package evictions_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/internal/mono"
	"github.com/tiercache/tiercache/local"
	"github.com/tiercache/tiercache/tier/internal/evictions"
)

func TestAnEntryThatLeavesIsCountedByItsCause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ends := mono.Now().Add(time.Minute)
		for _, over := range []bool{false, true} {
			if over {
				time.Sleep(time.Minute)
			}
			for why, want := range map[local.Reason][2][3]int64{ // before and after its life was over: capacity, expired, invalidated
				local.Evicted:  {{1, 0, 0}, {1, 0, 0}},
				local.Removed:  {{0, 0, 1}, {0, 1, 0}},
				local.Replaced: {{0, 0, 0}, {0, 1, 0}},
				local.Cleared:  {},
			} {
				var c evictions.Counts
				c.Count(ends, why)
				got := [3]int64{c.Capacity.Load(), c.Expired.Load(), c.Invalidated.Load()}
				if over {
					require.Equal(t, want[1], got, why)
				} else {
					require.Equal(t, want[0], got, why)
				}
			}
		}
	})
}
