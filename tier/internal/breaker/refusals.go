package breaker

import (
	"errors"
	"sync/atomic"

	"github.com/tiercache/tiercache/internal/backend"
	"github.com/tiercache/tiercache/internal/remoteerr"
	"github.com/tiercache/tiercache/remote"
)

// Kind is a kind of request: what a server may refuse while it performs others.
type Kind int

// The kinds.
const (
	Reads Kind = iota
	ReadsOfMany
	LargeReads // of what an entry has beyond [backend.LargeLen]: by other commands
	Leases
	Fills
	LargeFills // of values that are longer: by other commands
	Sets
	LargeSets
	Deletions
	Renewals
	Releases
	Purges
	Changes
	numKinds
)

var kindNames = [numKinds]string{"reading an entry", "reading several entries", "reading a large entry", "taking a lease", "storing a loaded value",
	"storing a large loaded value", "setting a value", "setting a large value", "deleting an entry", "renewing a lease", "giving up a lease", "purging", "recording a change"}

func (k Kind) String() string { return kindNames[k] }

// Refusals keeps for each kind of request whether the server has refused the latest one that it answered. A refusal is
// no outage: the server works, and other requests are performed.
type Refusals struct {
	latest [numKinds]atomic.Pointer[error]
	// Tell is called, without locks, when the server begins to refuse a kind, and with nil when it has performed one again;
	// nil: nothing is called.
	Tell func(k Kind, err error)
}

// record notes the result of a request.
func (r *Refusals) record(k Kind, err error) {
	before := r.latest[k].Load()
	switch {
	case err == nil:
		// guard: refusal-ends
		if before != nil && r.latest[k].CompareAndSwap(before, nil) && r.Tell != nil {
			r.Tell(k, nil)
		}
	// guard: refusal-is-kept
	case refused(err):
		if r.latest[k].CompareAndSwap(before, &err) && before == nil && r.Tell != nil {
			r.Tell(k, err)
		}
	}
}

// refused reports whether a server that works has answered that it does not perform the request, other than for want of memory,
// which is told elsewhere.
func refused(err error) bool {
	// guard: replaced-is-no-refusal
	return !errors.Is(err, remoteerr.ErrReplaced) && !remoteerr.Unreachable(err) && !remoteerr.Away(err) && !errors.Is(err, remote.ErrFull) && !errors.Is(err, backend.ErrEvicted) && !Refused(err)
}

// Now returns what is refused at present, by kind.
func (r *Refusals) Now() map[string]error {
	var all map[string]error
	for k := range numKinds {
		if err := r.latest[k].Load(); err != nil {
			if all == nil {
				all = make(map[string]error)
			}
			all[k.String()] = *err
		}
	}
	return all
}

func kindOfRead(keys int) Kind {
	if keys > 1 {
		return ReadsOfMany
	}
	return Reads
}

// recordChange notes the result of a request to the change log. To those who need the log a refusal is as an absent server; here it is
// one of a kind.
func (r *Refusals) recordChange(err error) {
	if text, refused := remoteerr.RefusalOf(err); refused && !remoteerr.IsPassing(text) && !errors.Is(err, remote.ErrFull) {
		err = remoteerr.Refusal(text)
	}
	r.record(Changes, err)
}

// recordRead notes the result of a request to read. Where the rest of a large entry is refused, its beginning was read.
func (r *Refusals) recordRead(k Kind, items []backend.Item, err error) {
	// guard: refusal-of-large-reads
	if err != nil && errors.As(err, new(remoteerr.OfRest)) {
		r.record(LargeReads, err)
		return
	}
	r.record(k, err)
	for i := range items {
		if len(items[i].Raw) > backend.LargeLen && items[i].Err == nil {
			r.record(LargeReads, nil)
			return
		}
	}
}

// recordWrites notes the results of a request to write, of small values and of large ones.
func (r *Refusals) recordWrites(writes []backend.Write, written []backend.Written, err error) {
	for _, large := range []bool{false, true} {
		asked, worst, token := false, err, ""
		for i := range writes {
			// guard: refusal-of-large-writes
			if (len(writes[i].Envelope) > backend.LargeLen) != large {
				continue
			}
			if asked, token = true, writes[i].Token; i < len(written) {
				worst = worse(worst, written[i].Err)
			}
		}
		if asked {
			r.record(kindOfWrite(token, large), worst)
		}
	}
}

func kindOfWrite(token string, large bool) Kind {
	switch {
	case token != "" && large:
		return LargeFills
	case token != "":
		return Fills
	case large:
		return LargeSets
	}
	return Sets
}
