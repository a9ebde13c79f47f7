package main

import (
	"context"
	"errors"
	"time"

	"github.com/tiercache/tiercache/tier"
)

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
