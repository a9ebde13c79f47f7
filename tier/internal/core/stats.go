package core

import (
	"github.com/tiercache/tiercache/tier/internal/stripe"
)

// MissCause says why a read could not be answered by a tier: a Cause of package tier.
type MissCause uint8

const (
	CauseCold        MissCause = iota // nothing was there: never stored, evicted or expired
	CauseExpired                      // its TTL had passed
	CauseInvalidated                  // its source, namespace or version changed
	CauseUnproven                     // the local copy could not be proven recent
	CauseDamaged                      // the stored bytes were not a valid entry
	CauseOtherType                    // the stored value was of another type
	CauseOtherFormat                  // the stored entry was in a format of another release
	NumCauses
)

// Counters are the figures of one namespace.
type Counters struct {
	LocalHits    *stripe.Counter
	LocalMisses  [NumCauses]stripe.Count
	RemoteHits   stripe.Count
	RemoteMisses [NumCauses]stripe.Count
	Shared       stripe.Count
	Stale        stripe.Count
	OutageHits   stripe.Count
	Cancelled    stripe.Count
	Loads        stripe.Count
	Refreshes    stripe.Count
	LoadErrors   stripe.Count
	NotFound     stripe.Count
	Overtaken    stripe.Count
	Fenced       stripe.Count
	Fills        stripe.Count
	FillErrors   stripe.Count
	Full         stripe.Count
	EncodeErrors stripe.Count
	RemoteErrors stripe.Count
	Unleased     stripe.Count
	Early        stripe.Count
	Absent       stripe.Count
	Refused      stripe.Count
	GivenUp      stripe.Count
}

// Init has c count in total as well, except for local hits, whose sum is that of a stripe.Set.
func (c *Counters) Init(total *Counters, hits *stripe.Counter) {
	c.LocalHits = hits
	theirs := total.All()
	for i, own := range c.All() {
		own.CountIn(theirs[i])
	}
}

// numCounts is how many counters there are other than that of local hits.
const numCounts = 21 + 2*int(NumCauses)

// All returns the counters other than that of local hits.
func (c *Counters) All() []*stripe.Count {
	all := append(make([]*stripe.Count, 0, numCounts),
		&c.RemoteHits, &c.Shared, &c.Stale, &c.OutageHits, &c.Cancelled, &c.Loads, &c.Refreshes, &c.LoadErrors,
		&c.NotFound, &c.Overtaken, &c.Fenced, &c.Fills, &c.FillErrors, &c.Full, &c.EncodeErrors, &c.RemoteErrors,
		&c.Unleased, &c.Early, &c.Absent, &c.Refused, &c.GivenUp,
	)
	for i := range NumCauses {
		all = append(all, &c.LocalMisses[i], &c.RemoteMisses[i])
	}
	return all
}

// figures returns the numbers of all counters, that of local hits last.
func (c *Counters) figures() (all [numCounts + 1]int64) {
	for i, one := range c.All() {
		all[i] = one.Load()
	}
	all[numCounts] = c.LocalHits.Sum()
	return all
}

// countHit counts an answer of the local tier.
func (c *Cache) countHit(key string) {
	if n := c.ns.Stats.LocalHits.Add(); c.s.Watch.IsDue(n) {
		c.s.Watch.Take(c.ns.Path, key)
	}
}

// reads counts the reads that any tier was asked for, without local hits, and some of them twice: it is for finding out
// whether there were any.
func (c *Counters) reads() int64 {
	n := c.RemoteHits.Load() + c.Shared.Load() + c.Loads.Load()
	for i := range NumCauses {
		n += c.LocalMisses[i].Load() + c.RemoteMisses[i].Load()
	}
	return n
}

// reads is counters.reads of all namespaces, and more where the store is not to be idle though nothing is read.
func (s *Store) reads() int64 {
	return s.Session.Activity.Load() + s.Hits.Sum() + s.Total.reads()
}
