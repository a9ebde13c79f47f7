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
	Leases
	Fills
	Sets
	Deletions
	Renewals
	Releases
	Purges
	numKinds
)

var kindNames = [numKinds]string{"reading an entry", "reading several entries", "taking a lease", "storing a loaded value", "setting a value",
	"deleting an entry", "renewing a lease", "giving up a lease", "purging"}

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
	return !remoteerr.Unreachable(err) && !remoteerr.Away(err) && !errors.Is(err, remote.ErrFull) && !errors.Is(err, backend.ErrEvicted) && !Refused(err)
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

func kindOfWrite(writes []backend.Write) Kind {
	if len(writes) > 0 && writes[0].Token != "" {
		return Fills
	}
	return Sets
}
