package record

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/internal/mono"
)

// Guard: plan looks again.
//
//	A: serves a copy whose write is under way, and plans anew as it refreshes it early
//	the invalidation of a change makes the copy doubted, between A's look and its store
func TestADoubtIsNotUndone(t *testing.T) {
	it := NewItemOf(NewKind[string](nil), "")
	f := it.Meta()
	f.Fresh, f.Expires = mono.Now().Add(time.Hour), mono.Now().Add(time.Hour)
	f.Provisional.Store(int64(f.Fresh))
	at, provisional := it.nextCheck(0)
	require.True(t, it.Doubt())
	it.setCheck(0, at, provisional)
	require.Equal(t, int64(math.MinInt64), it.Check.Load())
}
