package main

import (
	"context"
	"slices"
	"time"
)

// added is what the tour's edit appends to a document: it answers questions[0] word for word.
const added = "Since the edit: to shut down a server without interrupting connections, drain it first."

// edit changes a document and then, in one call, every answer that was made from it.
func (t *tour) edit(ctx context.Context) error {
	t.out.heading("A document is edited, and its answers invalidated in every process")
	q := questions[0]
	before, err := t.warm(ctx, q)
	if err != nil {
		return err
	}
	source := before[0].Value.Sources[0]
	if err := t.corpus.Edit(source, func(text string) string { return text + "\n" + added }); err != nil {
		return err
	}
	delay, err := measureDelay(ctx, t.first, t.last, q, source)
	if err != nil {
		return err
	}
	if err := t.Sync(ctx); err != nil {
		return err
	}
	after, err := t.askAll(ctx, 1, q)
	if err != nil {
		return err
	}
	t.out.say("Before, on replica %s:", t.last.Name)
	t.printAnswer(before[len(before)-1])
	t.out.say("InvalidateSource(%q) on replica %s, then:", source, t.first.Name)
	t.out.gap()
	t.printReads(after)
	t.out.gap()
	for _, r := range after {
		t.out.say("Now, on replica %s:", r.Replica)
		t.out.quote(r.Value.Text)
	}
	t.out.gap()
	t.out.say("Replica %s dropped its copy %s after the call on replica %s, %s.",
		t.last.Name, latency(delay.FromCall), t.first.Name, aroundAck(delay.FromAck))
	return t.delays(ctx, q, source)
}

// delays measures the delay often enough for a median.
func (t *tour) delays(ctx context.Context, q Question, source string) error {
	const rounds = 50
	delays := make([]time.Duration, rounds)
	for i := range delays {
		if _, err := t.warm(ctx, q); err != nil {
			return err
		}
		delay, err := measureDelay(ctx, t.first, t.last, q, source)
		if err != nil {
			return err
		}
		delays[i] = delay.FromCall
		if err := t.Sync(ctx); err != nil {
			return err
		}
	}
	slices.Sort(delays)
	t.out.say("In %d more rounds: median %s, worst %s after the call.", rounds, latency(quantile(delays, 0.5)), latency(delays[rounds-1]))
	t.out.say("Measured by reading on replica %s without a pause, until a read finds no answer: when that one began. "+
		"The reader keeps a core busy.", t.last.Name)
	return nil
}

func aroundAck(d time.Duration) string {
	if d < 0 {
		return latency(-d) + " before it returned"
	}
	return latency(d) + " after it returned"
}
