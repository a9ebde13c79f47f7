package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
)

// tour shows the cache at work, section by section.
type tour struct {
	*Service
	out   *terminal
	reads int
	first *Replica
	last  *Replica // another process, as far as the cache knows
}

func takeTour(ctx context.Context, s *Service, reads int, out *terminal) error {
	t := &tour{s, out, reads, s.replicas[0], s.replicas[len(s.replicas)-1]}
	for _, section := range []func(context.Context) error{
		t.introduce, t.firstReads, t.traffic, t.lifetimes, t.edit, t.namespace, t.versionBump, t.summary,
	} {
		if err := ctx.Err(); err != nil {
			return errors.New("interrupted")
		}
		if err := section(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (t *tour) introduce(ctx context.Context) error {
	t.out.heading("The service")
	introduce(ctx, t.Service, t.out)
	return nil
}

// firstReads asks the popular questions twice on each replica.
func (t *tour) firstReads(ctx context.Context) error {
	t.out.heading("First reads: a load, then local copies, and the remote tier for the others")
	var reads []Read
	for _, q := range questions[:3] {
		more, err := t.askAll(ctx, 2, q)
		if err != nil {
			return err
		}
		reads = append(reads, more...)
	}
	t.printReads(reads)
	t.out.gap()
	t.printAnswer(reads[0])
	return nil
}

// traffic asks questions the way people do: a few of them most of the time, wherever the load
// balancer sends them.
func (t *tour) traffic(ctx context.Context) error {
	t.out.heading(fmt.Sprintf("Traffic: %d reads of %d questions in Zipf order, on any replica", t.reads, len(questions)))
	random := rand.New(rand.NewPCG(1, 2)) // the same questions in every run
	zipf := rand.NewZipf(random, 1.1, 1, uint64(len(questions)-1))
	const shown = 10
	var reads []Read
	for range t.reads {
		read, err := t.replicas[random.IntN(len(t.replicas))].Ask(ctx, questions[zipf.Uint64()])
		if err != nil {
			return err
		}
		reads = append(reads, read)
	}
	t.printReads(reads[:min(shown, len(reads))])
	t.out.gap()
	t.printOrigins(reads)
	return nil
}

// namespace invalidates one area: its questions are loaded again, others stay.
func (t *tour) namespace(ctx context.Context) error {
	inside, outside := questions[0], questions[1]
	namespace := docsNamespace + ":" + inside.Area
	t.out.heading("A namespace: InvalidateNamespace(" + strconv.Quote(namespace) + ")")
	for _, q := range []Question{inside, outside} {
		if _, err := t.warm(ctx, q); err != nil {
			return err
		}
	}
	if _, err := t.first.Store.InvalidateNamespace(ctx, namespace); err != nil {
		return err
	}
	return t.showAfterChange(ctx, inside, outside)
}

// versionBump invalidates everything.
func (t *tour) versionBump(ctx context.Context) error {
	t.out.heading("The version bump: InvalidateAll()")
	if _, err := t.first.Store.InvalidateAll(ctx); err != nil {
		return err
	}
	return t.showAfterChange(ctx, questions[0], questions[1])
}

// showAfterChange waits for the change to reach every replica, which takes a push, and asks again.
func (t *tour) showAfterChange(ctx context.Context, qs ...Question) error {
	if err := t.Sync(ctx); err != nil {
		return err
	}
	reads, err := t.askAll(ctx, 1, qs...)
	if err != nil {
		return err
	}
	t.printReads(reads)
	return nil
}
