package bench

import "time"

// books are what the simulation did to the stores, to tell from it why a copy is gone. The stores themselves do not
// keep such histories: an entry that is not there leaves no reason.
type books struct {
	sources   func(question int) []int
	copies    map[copyOf]stay
	edited    map[int]time.Time // by document
	reindexed map[int]time.Time // by namespace
	bumped    time.Time
	cut       time.Time
}

type copyOf struct{ process, question int }

// stay is a local copy's life.
type stay struct{ since, until time.Time }

func newBooks(d Documents) *books {
	return &books{
		sources: d.SourcesOf(), copies: make(map[copyOf]stay),
		edited: make(map[int]time.Time), reindexed: make(map[int]time.Time),
	}
}

func (b *books) filled(process, question int, until time.Time) {
	b.copies[copyOf{process, question}] = stay{time.Now(), until}
}

// why says what ended the copy: of all that did, the first. Eviction leaves no trace here, so it is what remains when
// nothing else explains the miss; a copy evicted and then invalidated counts as invalidated, which it would have been.
func (b *books) why(process, question int) Cause {
	s, ok := b.copies[copyOf{process, question}]
	if !ok {
		return FirstUse
	}
	cause, first := Capacity, time.Now()
	ends := func(c Cause, at time.Time) {
		if !at.Before(s.since) && !at.After(first) {
			cause, first = c, at
		}
	}
	ends(Outlived, s.until)
	for _, i := range b.sources(question) {
		ends(Source, b.edited[i])
	}
	ends(Reindexing, b.reindexed[question%len(Namespaces)])
	ends(Version, b.bumped)
	ends(Disconnected, b.cut) // a store drops all copies of keys that it could have missed an invalidation of
	return cause
}
