package main

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/tier"
)

// newTour returns a tour of a small service, and what it prints.
func newTour(t *testing.T) (*tour, *strings.Builder) {
	t.Helper()
	s := openService(t)
	var b strings.Builder
	return &tour{s, newTerminal(&b), 100, s.replicas[0], s.replicas[1]}, &b
}

func origins(reads []Read) string {
	var all []string
	for _, r := range reads {
		all = append(all, r.Replica+" "+r.From)
	}
	return strings.Join(all, ", ")
}

func TestReadsAreLoadedThenLocalThenRemoteOnTheOtherReplica(t *testing.T) {
	tour, _ := newTour(t)
	reads, err := tour.askAll(t.Context(), 2, questions[0])
	require.NoError(t, err)
	assert.Equal(t, "1 loaded, 1 local, 2 remote, 2 local", origins(reads))
	for _, r := range reads {
		assert.Equal(t, reads[0].Value, r.Value)
		assert.Equal(t, r.Value.Sources, r.Sources)
		assert.LessOrEqual(t, r.TTL, tier.Documentation)
	}
}

func TestEditReachesEveryReplica(t *testing.T) {
	tour, out := newTour(t)
	require.NoError(t, tour.edit(t.Context()))
	assert.Contains(t, out.String(), "dropped its copy")
	reads, err := tour.askAll(t.Context(), 1, questions[0])
	require.NoError(t, err)
	for _, r := range reads {
		assert.Contains(t, r.Value.Text, added, r.Replica)
	}
}

func TestNamespaceLeavesOthersAlone(t *testing.T) {
	tour, _ := newTour(t)
	inside, outside := questions[0], questions[1]
	for _, q := range []Question{inside, outside} {
		_, err := tour.warm(t.Context(), q)
		require.NoError(t, err)
	}
	_, err := tour.first.Store.InvalidateNamespace(t.Context(), docsNamespace+":"+inside.Area)
	require.NoError(t, err)
	require.NoError(t, tour.Sync(t.Context()))
	reads, err := tour.askAll(t.Context(), 1, inside, outside)
	require.NoError(t, err)
	assert.Equal(t, "1 loaded, 2 remote, 1 local, 2 local", origins(reads))
}

func TestVersionBumpLeavesNothing(t *testing.T) {
	tour, _ := newTour(t)
	_, err := tour.askAll(t.Context(), 1, questions[:2]...)
	require.NoError(t, err)
	_, err = tour.first.Store.InvalidateAll(t.Context())
	require.NoError(t, err)
	require.NoError(t, tour.Sync(t.Context()))
	reads, err := tour.askAll(t.Context(), 1, questions[:2]...)
	require.NoError(t, err)
	assert.Equal(t, "1 loaded, 2 remote, 1 loaded, 2 remote", origins(reads))
}

func TestNotFoundIsRemembered(t *testing.T) {
	tour, _ := newTour(t)
	for i, replica := range []*Replica{tour.first, tour.first, tour.last} {
		read, err := replica.Ask(t.Context(), unanswerable)
		require.ErrorIs(t, err, tier.ErrNotFound)
		assert.Equal(t, []string{"loaded", "cached", "cached"}[i], read.From)
	}
}

func TestMeasureDelayNeedsACopy(t *testing.T) {
	tour, _ := newTour(t)
	_, err := measureDelay(t.Context(), tour.first, tour.last, questions[0], "net/http.Server")
	require.ErrorContains(t, err, "nothing to measure")
}

func TestSpellingsShareAnAnswer(t *testing.T) {
	q := findArea("  how do i STOP a  ticker? ")
	assert.Equal(t, "time", q.Area)
	assert.Equal(t, otherArea, findArea("How do I stop a clock?").Area)
}
