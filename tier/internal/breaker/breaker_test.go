package breaker

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
)

var errSilence = errors.New("silence")

// edges counts what a breaker tells.
type edges struct {
	Breaker
	opens, closes int
}

func newEdges() *edges {
	e := &edges{}
	e.onOpen = func(*Outage) { e.opens++ }
	e.onClose = func(a *Outage) {
		e.closes++
		if a.Lasts() {
			panic("called before the outage was over")
		}
	}
	return e
}

func TestABreakerOpensWhenARequestFailsThatWasSentAfterAnotherHadFailed(t *testing.T) {
	b := newEdges()
	b.unanswered(b.loadState(), errSilence)
	_, err := b.admit()
	require.NoError(t, err, "one is not enough")
	b.unanswered(b.loadState(), errSilence)
	_, err = b.admit()
	require.ErrorContains(t, err, "silence")
	require.True(t, Refused(err))
	require.Equal(t, 1, b.opens)
	b.unanswered(b.loadState(), errSilence)
	require.Equal(t, 1, b.opens, "it is called once for each opening")
}

// However many requests one slow command of another client delays.
func TestABreakerStaysClosedIfAllThatFailedWereUnderWayTogether(t *testing.T) {
	b := newEdges()
	sent := b.loadState()
	for range 1000 {
		b.unanswered(sent, errSilence)
	}
	require.Zero(t, b.opens)
}

// Also if a second doubt has come since.
func TestAnAnswerInBetweenClearsTheDoubt(t *testing.T) {
	b := newEdges()
	b.unanswered(b.loadState(), errSilence)
	sent := b.loadState()
	b.answered()
	b.unanswered(sent, errSilence)
	require.Zero(t, b.opens, "a new doubt")
	b.unanswered(sent, errSilence)
	require.Zero(t, b.opens, "it was sent before this doubt arose")
	b.unanswered(b.loadState(), errSilence)
	require.Equal(t, 1, b.opens)
}

func TestAnyAnswerClosesABreaker(t *testing.T) {
	b := newEdges()
	for n := range 3 {
		b.unanswered(b.loadState(), errSilence)
		b.unanswered(b.loadState(), errSilence)
		a := b.Current.Load()
		require.True(t, a.Lasts())
		b.answered()
		b.answered()
		require.False(t, a.Lasts())
		require.Nil(t, b.Current.Load())
		_, err := b.admit()
		require.NoError(t, err)
		require.Equal(t, n+1, b.opens)
		require.Equal(t, n+1, b.closes)
		require.Equal(t, int64(n+1), b.openings.Load())
	}
}
