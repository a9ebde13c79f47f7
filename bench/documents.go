package bench

import (
	"fmt"
	"iter"
	"math/rand/v2"
	"time"

	"github.com/tiercache/tiercache/internal/zipf"
)

// Documents is the workload that the library is made for: questions over documents that change. The i-th most popular
// of the questions is asked in proportion to 1/i^Skew, and was answered from one to ten documents, drawn alike.
type Documents struct {
	Questions int     // distinct ones
	Sources   int     // documents
	Skew      float64 // Zipf exponent of both
	Rate      float64 // questions per second, in the whole fleet
	Edits     float64 // documents edited per second, drawn evenly; 0: none

	Reindex time.Duration // every so often a namespace is invalidated, one after the other; 0: never
	Bump    time.Duration // every so often the store's version is bumped; 0: never
	Cut     time.Duration // every so often all connections are cut; 0: never
}

// DefaultDocuments are 5,000 questions over 2,000 documents, ten a second, with an edit every 10 s, and in half an hour
// several of the other changes: more than any deployment has, so that a short simulation shows them all.
var DefaultDocuments = Documents{
	Questions: 5000, Sources: 2000, Skew: 0.9, Rate: 10, Edits: 0.1,
	Reindex: 6 * time.Minute, Bump: 15 * time.Minute, Cut: 8 * time.Minute,
}

// EventKind says what happens.
type EventKind uint8

// What happens in a workload of documents.
const (
	Ask EventKind = iota
	Edit
	Reindexed
	Bumped
	CutOff
)

// Event is one thing that happens.
type Event struct {
	Kind  EventKind
	At    time.Duration // since the beginning
	Index int           // of the question asked, the document edited or the namespace re-indexed
	Who   float64       // 0 ≤ Who < 1: chooses the process that does it
}

// Events returns what happens until so many questions are asked: the same for the same seed.
func (d Documents) Events(seed uint64, questions int) iter.Seq[Event] {
	return func(yield func(Event) bool) {
		r, asked := source(seed), zipf.New(d.Questions, d.Skew)
		clocks := []clock{
			{Ask, interval(d.Rate), 0}, {Edit, interval(d.Edits), 0},
			{Reindexed, d.Reindex, 0}, {Bumped, d.Bump, 0}, {CutOff, d.Cut, 0},
		}
		for i := range clocks {
			clocks[i].advance(r)
		}
		for n, reindexed := 0, 0; n < questions; {
			c := soonest(clocks)
			e := Event{Kind: c.kind, At: c.next, Who: r.Float64()}
			switch c.kind {
			case Ask:
				e.Index = asked.Draw(r)
				n++
			case Edit:
				e.Index = r.IntN(d.Sources)
			case Reindexed:
				e.Index = reindexed % len(Namespaces)
				reindexed++
			}
			c.advance(r)
			if !yield(e) {
				return
			}
		}
	}
}

func interval(perSecond float64) time.Duration {
	if perSecond <= 0 {
		return 0
	}
	return time.Duration(float64(time.Second) / perSecond)
}

// clock says when something happens next. Questions and edits come when they like, the rest is done by plan.
type clock struct {
	kind  EventKind
	every time.Duration // 0: never
	next  time.Duration
}

func (c *clock) advance(r *rand.Rand) {
	switch {
	case c.every == 0:
		c.next = 1<<63 - 1
	case c.kind == Ask || c.kind == Edit:
		c.next += max(1, time.Duration(r.ExpFloat64()*float64(c.every)))
	default:
		c.next += c.every
	}
}

func soonest(clocks []clock) *clock {
	best := &clocks[0]
	for i := range clocks {
		if clocks[i].next < best.next {
			best = &clocks[i]
		}
	}
	return best
}

// Namespace is a part of the documents, with the kind of content that its TTL comes from.
type Namespace struct {
	Path string
	TTL  time.Duration
}

// Namespaces of the questions: question i belongs to the one of number i modulo their number.
var Namespaces = []Namespace{
	{"docs:technical", 6 * time.Hour}, // tier.Documentation
	{"docs:account", time.Hour},       // tier.UserData
	{"docs:status", time.Minute},      // tier.RealTime
}

// Question is the key of a question.
func Question(i int) string { return fmt.Sprintf("question %d", i) }

// SourcesOf returns a function that tells the numbers of the documents which question i is answered from: always the
// same.
func (d Documents) SourcesOf() func(i int) []int {
	popular := min(d.Sources, 1000) // others are not used
	z := zipf.New(popular, d.Skew)
	return func(i int) []int {
		r := source(uint64(i) + 1<<40)
		sources := make([]int, 1+r.IntN(10))
		for j := range sources {
			sources[j] = z.Draw(r) * (d.Sources / popular)
		}
		return sources
	}
}
