package remote

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func counted(commands int64) origin { return origin{"h", counters{0, commands}} }

// admittedHistory knows of one server, which has counted n commands.
func admittedHistory(n int64) *histories {
	h := newHistories()
	h.recordAdmission(doubt{history: "h"})
	h.use(h.ask(1), counted(n))
	return h
}

// Two answers that were on their way at once are judged in either order; the one that
// was asked for after another was judged is not older than that.
func TestCountersThatCrossEachOtherAreNoRollback(t *testing.T) {
	h := admittedHistory(100)
	first, second := h.ask(1), h.ask(1)
	_, ok := h.judge(second, counted(105))
	require.True(t, ok)
	h.use(second, counted(105))
	_, ok = h.judge(first, counted(102))
	require.True(t, ok, "it was counted before")
	h.use(first, counted(102))
	third := h.ask(1)
	d, ok := h.judge(third, counted(104))
	require.False(t, ok, "the most that was counted counts")
	require.True(t, d.rolledBack)
	_, ok = h.judge(third, counted(106))
	require.True(t, ok)
	_, ok = h.judge(third, counted(untold))
	require.True(t, ok, "which tells nothing")
	_, ok = h.judge(third, origin{"another", counters{0, 1}})
	require.False(t, ok, "of which the log does not know")
}

// The answer to a question from before the admission is not used, and does not admit the
// same rollback again; the server's counters start anew from then on.
func TestARollbackIsJudgedOnce(t *testing.T) {
	h := admittedHistory(100)
	early, other := h.ask(1), h.ask(1)
	d, ok := h.judge(early, counted(50))
	require.False(t, ok)
	h.recordAdmission(d)
	_, ok = h.judge(other, counted(120))
	require.False(t, ok, "it may be of before")
	h.use(other, counted(120))
	d, ok = h.judge(other, counted(51))
	require.False(t, ok, "nor does it know what changed by that")
	require.False(t, d.rolledBack, "but it was admitted to the log")
	next := h.ask(1)
	_, ok = h.judge(next, counted(60))
	require.True(t, ok)
	h.use(next, counted(60))
	_, ok = h.judge(h.ask(1), counted(59))
	require.False(t, ok)
}

// Each flush is admitted to the log, however many there were.
func TestFlushesAreToldAsOftenAsTheyMayBeRollbacks(t *testing.T) {
	h := admittedHistory(100)
	q := h.ask(1)
	h.flushed()
	d, ok := h.judge(q, counted(101))
	require.False(t, ok)
	require.True(t, d.rolledBack)
	h.flushed() // while the first is being admitted
	h.recordAdmission(d)
	d, ok = h.judge(h.ask(1), counted(101))
	require.False(t, ok, "the second is not admitted yet")
	require.False(t, h.isAdmitted(d))
	h.recordAdmission(d)
	_, ok = h.judge(h.ask(1), counted(101))
	require.True(t, ok)
}

// Answers that came together show one rollback. Another server's rollback, or another flush,
// is admitted to the log in any case.
func TestOneProcessTellsOfARollbackOnce(t *testing.T) {
	h := admittedHistory(100)
	other := origin{"another", counters{0, 50}}
	h.recordAdmission(doubt{history: "another"})
	h.use(h.ask(1), other)
	early := h.ask(1)
	d, _ := h.judge(early, counted(50))
	same, _ := h.judge(early, counted(51))
	another, _ := h.judge(early, origin{"another", counters{0, 10}})
	require.True(t, d.rolledBack && same.rolledBack && another.rolledBack)
	require.False(t, h.isAdmitted(d))
	h.recordAdmission(d)
	require.True(t, h.isAdmitted(same), "it is the one that was admitted")
	require.False(t, h.isAdmitted(another), "it is another server's")
	h.use(h.ask(1), counted(60))
	again, _ := h.judge(h.ask(1), counted(55))
	require.True(t, again.rolledBack)
	require.False(t, h.isAdmitted(again), "it is another time")
	h.recordAdmission(again)
	h.flushed()
	flush, _ := h.judge(h.ask(1), counted(70))
	h.flushed()
	both, _ := h.judge(h.ask(1), counted(70))
	h.recordAdmission(flush)
	require.False(t, h.isAdmitted(both), "one of the two")
}

// How many commands were counted is asked over each new connection.
func TestCommandsAreCountedOverEachConnection(t *testing.T) {
	h := admittedHistory(100)
	require.False(t, h.ask(1).counts)
	require.True(t, h.ask(2).counts)
	h.use(h.ask(2), counted(untold))
	require.True(t, h.ask(2).counts, "it did not tell")
	h.use(h.ask(2), counted(101))
	require.False(t, h.ask(2).counts)
}
