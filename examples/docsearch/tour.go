package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"time"

	"github.com/tiercache/tiercache/tier"
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

// lifetimes shows a TTL for each kind of content, one set by the loader, and one for "not found".
func (t *tour) lifetimes(ctx context.Context) error {
	t.out.heading("Lifetimes: by kind of content, by entry, and for what is not there")
	if err := t.first.Remember(ctx, "ann", questions[0].Text); err != nil {
		return err
	}
	facts, err := t.first.Size(ctx)
	if err != nil {
		return err
	}
	live, err := t.first.Memory(ctx)
	if err != nil {
		return err
	}
	lastAsked, err := t.last.LastQuestion(ctx, "ann")
	if err != nil {
		return err
	}
	popular, err := t.first.Ask(ctx, questions[0])
	if err != nil {
		return err
	}
	advice, err := t.first.Ask(ctx, deprecated)
	if err != nil {
		return err
	}
	nothing, err := t.first.Ask(ctx, unanswerable)
	if !errors.Is(err, tier.ErrNotFound) {
		return errors.Join(errors.New("an answer where there is none"), err)
	}
	again, err := t.last.Ask(ctx, unanswerable)
	if !errors.Is(err, tier.ErrNotFound) {
		return errors.Join(errors.New("an answer where there is none"), err)
	}
	row := func(kind, what, replica, from string, left time.Duration) []string {
		return []string{kind, short(what, 44), replica, from, left.Round(time.Second).String()}
	}
	t.out.table([]string{"kind", "value", "replica", "origin", ">time left"}, [][]string{
		row("StaticFacts", facts.Value, t.first.Name, facts.Origin.String(), facts.TTL),
		row("Documentation", popular.Value.Text, t.first.Name, popular.From, popular.TTL),
		row("  its own TTL", advice.Value.Text, t.first.Name, advice.From, advice.TTL),
		row("  not found", unanswerable.Text, t.first.Name, nothing.From, negativeTTL),
		row("  not found", unanswerable.Text, t.last.Name, again.From, negativeTTL),
		row("UserData, set", lastAsked.Value, t.last.Name, lastAsked.Origin.String(), lastAsked.TTL),
		row("RealTime", live.Value, t.first.Name, live.Origin.String(), live.TTL),
	})
	return nil
}

// added is what the tour's edit appends to a document: it answers questions[0] word for word.
const added = "Since the edit: to shut down a server without interrupting connections, drain it first."

// edit changes a document and then, in one call, every answer that was made from it.
func (t *tour) edit(ctx context.Context) error {
	t.out.heading("A document is edited, and its answers invalidated in every process")
	q := questions[0]
	before, err := t.askAll(ctx, 1, q)
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
		if _, err := t.askAll(ctx, 1, q); err != nil {
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
	t.out.say("In %d more rounds: median %s, worst %s from the call. Measured by asking replica %s without a pause.",
		rounds, latency(quantile(delays, 0.5)), latency(delays[rounds-1]), t.last.Name)
	return nil
}

func aroundAck(d time.Duration) string {
	if d < 0 {
		return latency(-d) + " before it returned"
	}
	return latency(d) + " after it returned"
}

// namespace invalidates one area: its questions are loaded again, others stay.
func (t *tour) namespace(ctx context.Context) error {
	inside, outside := questions[0], questions[1]
	namespace := docsNamespace + ":" + inside.Area
	t.out.heading("A namespace: InvalidateNamespace(" + strconv.Quote(namespace) + ")")
	if _, err := t.askAll(ctx, 1, inside, outside); err != nil {
		return err
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

// askAll asks each question a number of times on each replica in turn.
func (t *tour) askAll(ctx context.Context, times int, qs ...Question) ([]Read, error) {
	var reads []Read
	for _, q := range qs {
		for _, r := range t.replicas {
			for range times {
				read, err := r.Ask(ctx, q)
				if err != nil {
					return nil, fmt.Errorf("%s: %w", q.Text, err)
				}
				reads = append(reads, read)
			}
		}
	}
	return reads, nil
}

func (t *tour) printAnswer(r Read) {
	t.out.quote(r.Value.Text)
	t.out.quote(fmt.Sprint("made from ", r.Sources))
}

func (t *tour) printReads(reads []Read) {
	var rows [][]string
	for _, r := range reads {
		rows = append(rows, []string{short(r.Question.Text, 64), r.Replica, r.From, latency(r.Latency)})
	}
	t.out.table([]string{"question", "replica", "origin", ">latency"}, rows)
}

// printOrigins prints how many reads came from where, and what they cost.
func (t *tour) printOrigins(reads []Read) {
	var rows [][]string
	for _, origin := range []tier.Origin{tier.Local, tier.Remote, tier.Loaded} {
		var took []time.Duration
		for _, r := range reads {
			if r.Origin == origin {
				took = append(took, r.Latency)
			}
		}
		if len(took) == 0 {
			continue
		}
		slices.Sort(took)
		rows = append(rows, []string{origin.String(), strconv.Itoa(len(took)), percent(float64(len(took)) / float64(len(reads))),
			latency(quantile(took, 0.5)), latency(quantile(took, 0.99))})
	}
	t.out.table([]string{"origin", ">reads", ">share", ">median", ">99 % below"}, rows)
}

// quantile of sorted, non-empty durations.
func quantile(sorted []time.Duration, q float64) time.Duration {
	return sorted[int(q*float64(len(sorted)-1))]
}
