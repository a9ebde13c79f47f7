package main

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/tiercache/tiercache/tier"
)

// askAll asks each question a number of times on each replica in turn. The next replica's turn comes
// when what this one may have loaded is stored: callers need not wait for that, but a copy that is
// read meanwhile is not kept.
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
			r.AwaitStored(ctx, q)
		}
	}
	return reads, nil
}

// warm asks a question on each replica until it answers from its local tier, and returns those
// reads.
func (t *tour) warm(ctx context.Context, q Question) ([]Read, error) {
	var reads []Read
	for _, r := range t.replicas {
		const attempts = 100
		for i := 1; ; i++ {
			read, err := r.Ask(ctx, q)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", q.Text, err)
			}
			if read.Origin == tier.Local {
				reads = append(reads, read)
				break
			}
			if i == attempts {
				return nil, fmt.Errorf("replica %s keeps no local copy", r.Name)
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
