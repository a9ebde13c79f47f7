package tier

import (
	"time"

	"github.com/tiercache/tiercache/tier/internal/core"
)

// Cause says why a read could not be answered by a tier.
type Cause uint8

// The causes of a miss.
const (
	Cold        Cause = iota // nothing was there: never stored, evicted or expired
	Expired                  // its TTL had passed
	Invalidated              // its source, namespace or version changed
	Unproven                 // the local copy could not be proven recent
	Damaged                  // the stored bytes were not a valid entry
	OtherType                // the stored value was of another type
	OtherFormat              // the stored entry was in a format of another release
)

func (c Cause) String() string {
	return [...]string{"cold", "expired", "invalidated", "unproven", "damaged", "other type", "other format", "?"}[min(c, Cause(core.NumCauses))]
}

// MarshalText makes causes readable as the keys of a JSON object.
func (c Cause) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// Counts are the events in a namespace, or in all of them, since the store was
// opened. Every read counts once in [Counts.Reads], whatever it was answered.
type Counts struct {
	LocalHits int64 // answered by the local tier
	// LocalMisses and RemoteMisses are by Cause.
	LocalMisses, RemoteMisses map[Cause]int64
	RemoteHits                int64 // answered by the remote tier
	Shared                    int64 // left to the call of another caller, or to one that had failed just before
	Cancelled                 int64 // given up by their callers before any of these
	Absent                    int64 // by Peek and PeekResult, without a value
	Loads                     int64 // runs of a loader, per key
	Refreshes                 int64 // of those, in the background: no read waited for them
	EarlyRefreshes            int64 // of those, before the TTL of the value had passed (WithEarlyRefresh)
	LoadErrors                int64 // of those, failed (other than with ErrNotFound)
	NotFound                  int64 // of those, ErrNotFound
	Stale                     int64 // answered with a value past its TTL
	OutageHits                int64 // of the LocalHits, with copies that WithOutageTTL kept
	Overtaken                 int64 // loaded values not kept: a source changed meanwhile
	Fenced                    int64 // loaded values not kept: the key was written meanwhile
	Fills                     int64 // loaded values stored remotely
	FillErrors                int64 // loaded values that could not be stored remotely
	Full                      int64 // of those, refused by a server out of memory
	EncodeErrors              int64 // values that could not be encoded
	RemoteErrors              int64 // requests to the remote tier that failed
	Unleased                  int64 // loads that ran without the fleet's lease
	Refused                   int64 // reads that led to no load, since too many ran: see WithMaxLoads
	GivenUp                   int64 // loaders that did not return: see WithDetachedLoads
}

// LocalHitRate is the share of reads that the local tier answered, 0 to 1.
func (c Counts) LocalHitRate() float64 { return ratio(c.LocalHits, c.Reads()) }

// RemoteHitRate is the share, 0 to 1, that the remote tier or the call of another
// caller answered, of the reads that the local tier did not answer.
func (c Counts) RemoteHitRate() float64 {
	return ratio(c.RemoteHits+c.Shared, c.Reads()-c.LocalHits)
}

// Reads is how many reads there were: LocalHits, RemoteHits, Shared, Cancelled, Refused, Absent, and those
// Loads that are no Refreshes.
func (c Counts) Reads() int64 {
	return c.LocalHits + c.RemoteHits + c.Shared + c.Cancelled + c.Refused + c.Absent + c.Loads - c.Refreshes
}

func ratio(a, b int64) float64 {
	if b == 0 {
		return 0
	}
	return float64(a) / float64(b)
}

func countsOf(c *core.Counters, localHits int64) Counts {
	out := Counts{
		LocalHits: localHits, RemoteHits: c.RemoteHits.Load(), Shared: c.Shared.Load(), Cancelled: c.Cancelled.Load(),
		Loads: c.Loads.Load(), Refreshes: c.Refreshes.Load(), LoadErrors: c.LoadErrors.Load(), NotFound: c.NotFound.Load(),
		Stale: c.Stale.Load(), OutageHits: c.OutageHits.Load(), Overtaken: c.Overtaken.Load(), Fenced: c.Fenced.Load(),
		Fills: c.Fills.Load(), FillErrors: c.FillErrors.Load(), Full: c.Full.Load(),
		EncodeErrors: c.EncodeErrors.Load(), RemoteErrors: c.RemoteErrors.Load(), Unleased: c.Unleased.Load(),
		EarlyRefreshes: c.Early.Load(), Absent: c.Absent.Load(),
		Refused: c.Refused.Load(), GivenUp: c.GivenUp.Load(),
		LocalMisses: make(map[Cause]int64), RemoteMisses: make(map[Cause]int64),
	}
	for i := range core.NumCauses {
		out.LocalMisses[Cause(i)], out.RemoteMisses[Cause(i)] = c.LocalMisses[i].Load(), c.RemoteMisses[i].Load()
	}
	return out
}

// Stats are a store's figures. They are read one after the other while they change, so
// sums may be off by what happens meanwhile. As JSON, durations are nanoseconds, and a time
// that is not set is that of the year 1; [Health] is what a person reads.
type Stats struct {
	// Counts of all namespaces together.
	Counts
	// Namespaces has the counts of each namespace that is in use: a Cache of it, a load or a local copy is. Of more than
	// 200 some are left out, the same ones each time; Unlisted says how many. What is not in use any more still counts in Counts.
	Namespaces map[string]Counts
	Unlisted   int
	// LocalEntries and LocalBytes are the present contents of the local tier, which what has expired or was invalidated
	// leaves within 15 s (or a hundred times as long as it takes to look at all entries: with more than a million).
	LocalEntries int
	LocalBytes   int64
	// LocalEvictions counts the entries that the local tier evicted because a bound was reached, LocalExpired those that left
	// since their life was over, and LocalInvalidated those that left since they could not be believed any more.
	LocalEvictions, LocalExpired, LocalInvalidated int64
	// LocalTooLarge counts values that the local tier did not keep, since they are larger than an eighth of WithLocalBytes.
	LocalTooLarge int64
	// LoadsRunning is how many runs of loaders have not ended.
	LoadsRunning int
	// Staleness is as in Health. Undelivered counts the scopes that this process has invalidated and the change log has not
	// recorded yet; a change of everything is one.
	Staleness   time.Duration
	Undelivered int
	// InvalidationLag is the longest time that a change of another process took from its record in the change log until it was
	// applied here, of those of the last 10 to 20 s; by the server's clock as far as it is known here, so within a round trip.
	InvalidationLag time.Duration
	// HistoryLosses counts how often the change log had lost history, so that every entry was loaded again.
	HistoryLosses int64
	// Changes counts the invalidations of this process.
	Changes int64
	// AwaySince and Outages are as in Health.
	AwaySince time.Time
	Outages   int64
	// BreakersClosed, BreakersSuspect and BreakersOpen are how many breakers are in each state. There is one for each server that this
	// process has asked, and in a cluster one more for the change log. Closed: the latest request that ended was answered. Suspect: it was
	// given up. Open: so was another one, sent after that; the server is taken to be away.
	BreakersClosed, BreakersSuspect, BreakersOpen int
	// Panics counts panics in the library's own goroutines, which are recovered: a
	// request or a load fails, the connection is made anew if the panic concerned it, and
	// no local copy is believed until it has been read again. They are logged, at most
	// once a second. Panics of the logger itself are counted too. It should be 0: please
	// report what is logged.
	Panics int64
}

// Stats returns the present figures. It sends nothing.
func (s *Store) Stats() Stats {
	st := Stats{
		Counts:         countsOf(&s.core.Total, s.core.Hits.Sum()),
		Namespaces:     make(map[string]Counts),
		LocalEntries:   s.core.Local.Len(),
		LocalBytes:     s.core.Local.Bytes(),
		LocalEvictions: s.core.Evictions.Capacity.Load(), LocalExpired: s.core.Evictions.Expired.Load(), LocalInvalidated: s.core.Evictions.Invalidated.Load(),
		Changes: s.core.Changes.Load(),
		Panics:  s.core.Goroutines.Panics.Count(),
	}
	t := s.core.Session.Tail.Health()
	st.Staleness, st.Undelivered, st.InvalidationLag, st.HistoryLosses = t.ProofAge, t.Undelivered, t.Lag, t.Losses
	if t.UndeliveredAll {
		st.Undelivered++
	}
	st.LocalTooLarge, st.LoadsRunning = s.core.Table.TooLarge.Load(), int(s.core.Loading.Load())
	st.AwaySince, st.Outages = s.core.Session.Conn.AwaySince()
	st.BreakersClosed, st.BreakersSuspect, st.BreakersOpen = s.core.Session.Conn.States()
	namespaces := s.core.Counts(func(path string, c *core.Counters, localHits int64) { st.Namespaces[path] = countsOf(c, localHits) })
	st.Unlisted = max(0, namespaces-len(st.Namespaces))
	return st
}
