package main

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync/atomic"
	"time"

	"github.com/tiercache/tiercache/tier"
)

// Replica is one process of the service.
type Replica struct {
	Name  string
	Store *tier.Store

	corpus  *Corpus
	answers map[string]*tier.Cache[Answer] // by area
	facts   *tier.Cache[string]
	readers *tier.Cache[string]
	live    *tier.Cache[string]
}

// Namespaces. docs:go covers every area below it; the version bump covers them all.
const (
	docsNamespace    = "docs:go"
	factsNamespace   = "facts"
	readersNamespace = "readers"
	liveNamespace    = "live"
)

// negativeTTL is how long "there is no answer" is remembered: it is an answer too.
const negativeTTL = tier.RealTime

// otherArea holds the questions that are not on the list.
const otherArea = "other"

// openCaches makes a cache for each kind of content, which lives as long as its kind stays true.
func (r *Replica) openCaches(corpus *Corpus) (err error) {
	r.corpus = corpus
	r.answers = map[string]*tier.Cache[Answer]{}
	for _, area := range areas() {
		r.answers[area], err = tier.New[Answer](r.Store, docsNamespace+":"+area,
			tier.WithTTL(tier.Documentation), tier.WithNegativeTTL(negativeTTL))
		if err != nil {
			return err
		}
	}
	if r.facts, err = tier.New[string](r.Store, factsNamespace, tier.WithTTL(tier.StaticFacts)); err != nil {
		return err
	}
	if r.readers, err = tier.New[string](r.Store, readersNamespace, tier.WithTTL(tier.UserData)); err != nil {
		return err
	}
	r.live, err = tier.New[string](r.Store, liveNamespace, tier.WithTTL(tier.RealTime))
	return err
}

// Read is one asked question: what came back, from where, and how long it took.
type Read struct {
	Question Question
	Replica  string
	From     string // "local", "remote" or "loaded"; of a remembered "not found" only "cached" is known
	Latency  time.Duration
	tier.Result[Answer]
}

// Ask answers a question from the cache or, if need be, from the documents. A question that the
// documents do not answer gives tier.ErrNotFound.
func (r *Replica) Ask(ctx context.Context, q Question) (Read, error) {
	var loaded atomic.Bool
	load := r.load(q)
	start := time.Now()
	result, err := r.answers[q.Area].Lookup(ctx, cacheKey(q), func(ctx context.Context, e *tier.Entry) (Answer, error) {
		loaded.Store(true)
		return load(ctx, e)
	})
	read := Read{q, r.Name, result.Origin.String(), time.Since(start), result}
	if errors.Is(err, tier.ErrNotFound) {
		if read.From = "cached"; loaded.Load() {
			read.From = "loaded"
		}
	}
	return read, err
}

// load makes an answer and tells the cache what it was made from: an edit of any of these documents
// makes the answer untrue, in every process. (A document that was not among them and would be after
// an edit goes unnoticed until the TTL ends; for that, invalidate the area.)
func (r *Replica) load(q Question) tier.Loader[Answer] {
	return func(ctx context.Context, e *tier.Entry) (Answer, error) {
		a, ok, err := answer(ctx, r.corpus, q.Text)
		if err != nil {
			return Answer{}, err
		}
		if !ok {
			return Answer{}, tier.ErrNotFound
		}
		e.DependsOn(a.Sources...)
		if strings.Contains(a.Text, "Deprecated:") {
			e.SetTTL(tier.UserData) // advice against something is worth a second look sooner
		}
		return a, nil
	}
}

// Believes reports whether the replica would answer the question without loading.
func (r *Replica) Believes(ctx context.Context, q Question) (bool, error) {
	_, found, err := r.answers[q.Area].Peek(ctx, cacheKey(q))
	return found, err
}

// AwaitStored returns once an answer that the replica has loaded is in the remote tier, or cannot be.
func (r *Replica) AwaitStored(ctx context.Context, q Question) {
	_, _ = r.answers[q.Area].Explain(ctx, cacheKey(q)) // which waits for that; what it says is not needed
}

// Size is a static fact: it changes with the toolchain.
func (r *Replica) Size(ctx context.Context) (tier.Result[string], error) {
	return r.facts.Lookup(ctx, "size", func(context.Context, *tier.Entry) (string, error) {
		return fmt.Sprintf("%d documents", r.corpus.Len()), nil
	})
}

// Memory is as good as real time: what it says is soon untrue.
func (r *Replica) Memory(ctx context.Context) (tier.Result[string], error) {
	return r.live.Lookup(ctx, "memory", func(context.Context, *tier.Entry) (string, error) {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return size(int64(m.HeapAlloc)), nil
	})
}

// Remember stores what a reader asked last: the value is at hand, so it is set and not loaded.
func (r *Replica) Remember(ctx context.Context, reader, question string) error {
	return r.readers.Set(ctx, reader, question)
}

// LastQuestion returns what a reader asked last, on whichever replica.
func (r *Replica) LastQuestion(ctx context.Context, reader string) (tier.Result[string], error) {
	return r.readers.Lookup(ctx, reader, func(context.Context, *tier.Entry) (string, error) {
		return "", tier.ErrNotFound
	})
}

// cacheKey makes one key of spellings that differ in case and spaces only.
func cacheKey(q Question) string {
	return strings.ToLower(strings.Join(strings.Fields(q.Text), " "))
}
