package core

import (
	"github.com/tiercache/tiercache/local"
	"github.com/tiercache/tiercache/tier/internal/inflight"
	"github.com/tiercache/tiercache/tier/internal/record"
)

// keyLookup is one key of a GetMany on its way.
type keyLookup struct {
	key           string
	h             local.Key
	delivered     bool           // its value was read uncoalesced, and given
	read          bool           // it was asked for uncoalesced, and answered
	readErr       error          // or not
	seen          string         // the version that was read uncoalesced and cannot be used: see call.seen
	empty         bool           // likewise: see call.empty
	readAgain     bool           // what was read uncoalesced is to be read by a call: see call.ReadAgain
	call          *inflight.Call // nil if the local tier had it, it was delivered, or err
	leads         bool
	left          bool
	invalidations int
	staleFallback *record.Item
	out           inflight.Served
	err           error
}

// batchLookup is what a GetMany needs for its keys.
type batchLookup struct {
	lookups []keyLookup
	lead    []*inflight.Call
	leaders []*keyLookup   // of lead, in its order; nil if none was read yet
	due     []*record.Item // to be renewed in the background
}

// newCalls returns a call for each lookup that may need one, in one piece of memory:
// most will be needed.
func (p *batchLookup) newCalls() []inflight.Call {
	n := 0
	for i := range p.lookups {
		if p.lookups[i].err == nil {
			n++
		}
	}
	return make([]inflight.Call, n)
}
