package coherence

import (
	"context"
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/remote"
)

// A read that failed is one for all kinds of reads, and its error is kept. One that was called off, as
// the fleet's end does to those that wait, is none.
func TestWhatCountsAsAFailedRead(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	b := NewBoard()
	m, err := Join(ctx, DefaultConfig(), b, remote.NewEmbedded(0))
	require.NoError(t, err)
	r := m.newReading(ctx, rand.New(rand.NewPCG(1, 1)))
	kinds := []func(){
		func() { r.get(0, false) }, func() { r.get(0, true) }, func() { r.refresh(0) }, func() { r.many(0) },
	}

	require.NoError(t, m.Store().Close())
	for i, read := range kinds {
		read()
		require.EqualValues(t, i+1, b.Tally(0).Failures.Load())
	}
	cancel()
	for _, read := range kinds {
		read()
	}
	require.EqualValues(t, len(kinds), b.Tally(0).Failures.Load())
	for _, failure := range m.Report().Failures {
		require.Contains(t, failure, "closed")
	}
	require.Len(t, m.Report().Failures, len(kinds))

	for range keptViolations {
		r.ctx = t.Context()
		r.failedWith(r.ctx, errors.New("closed"))
	}
	require.Len(t, m.Report().Failures, keptViolations, "the first ones are enough")
}
