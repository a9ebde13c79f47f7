package breaker

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tiercache/tiercache/internal/backend"
	"github.com/tiercache/tiercache/internal/remoteerr"
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

// Refusals keeps which kinds of requests a server does not perform, in a cluster for each server. A refusal is no outage: the server
// works, and other requests are performed. Out of memory is one.
//
// A kind is refused until its requests have been performed for a second. A server that is about as full as it may be refuses
// one and performs the next: that is one refusal, which is told once. Where a server refuses for a state that it is in, other kinds of
// requests that such a state would have refused show its end too: there may be no large value to set for days.
type Refusals struct {
	failing [numKinds]atomic.Int32 // how many of the places are of a kind
	stated  atomic.Int32           // how many are refused for a state of the server

	mu     sync.Mutex // guards what follows; nothing is called under it
	places map[place]*refusal

	// Begun is called, without locks, when a kind begins to be refused; nil: nothing is called. server is its address in a
	// cluster, else empty. What is called has the refusal ended by EndRefusal.
	Begun func(k Kind, server string, err error)
}

type place struct {
	kind   Kind
	server string // empty: the only one, or one of several
}

type refusal struct {
	err       error     // the latest
	state     state     // for which it is refused, or nil
	performed time.Time // since when requests have been performed, and none was refused; zero: the latest was not
}

// state is one that a server is in, in which it refuses the kinds of requests.
type state []Kind

var (
	needRoom = state{Leases, Fills, LargeFills, Sets, LargeSets}
	allWrite = append(state{Deletions, Renewals, Releases, Changes}, needRoom...)
	states   = map[string]state{"OOM": needRoom, "MISCONF": allWrite, "NOREPLICAS": allWrite}
)

func stateOf(err error) state {
	text, _ := remoteerr.RefusalOf(err)
	code, _, _ := strings.Cut(text, " ")
	return states[code]
}

// concerns reports whether it matters that a request of the kind was performed.
func (r *Refusals) concerns(k Kind) bool { return r.failing[k].Load() != 0 || r.stated.Load() != 0 }

// record notes the result of a request.
func (r *Refusals) record(k Kind, server string, err error) {
	switch {
	case err == nil:
		if r.concerns(k) {
			r.performed(k, server)
		}
	// guard: refusal-is-kept
	case refused(err):
		r.refuse(place{k, server}, err)
	}
}

func (r *Refusals) performed(k Kind, server string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for p, f := range r.places {
		// guard: state-ends-for-all-kinds
		ended := p.kind == k || slices.Contains(f.state, k)
		// guard: refusal-ends
		if ended && p.server == server && f.performed.IsZero() {
			f.performed = time.Now()
		}
	}
}

func (r *Refusals) refuse(p place, err error) {
	r.mu.Lock()
	f := r.places[p]
	begun := f == nil
	if begun {
		if r.places == nil {
			r.places = make(map[place]*refusal)
		}
		f = &refusal{}
		r.places[p] = f
		r.failing[p.kind].Add(1)
	}
	r.setStateLocked(f, stateOf(err))
	f.err, f.performed = err, time.Time{}
	r.mu.Unlock()
	if begun && r.Begun != nil {
		r.Begun(p.kind, p.server, err)
	}
}

func (r *Refusals) setStateLocked(f *refusal, s state) {
	if f.state != nil {
		r.stated.Add(-1)
	}
	if f.state = s; s != nil {
		r.stated.Add(1)
	}
}

// EndRefusal ends a refusal whose kind has been performed for a second, or of a server that has no keys any more. It returns 0 when the
// refusal has ended, and else when to ask again.
func (g *Conn) EndRefusal(k Kind, server string) (left time.Duration) {
	return g.Refusals.end(k, server, server != "" && !g.hasKeys(server))
}

func (r *Refusals) end(k Kind, server string, gone bool) (left time.Duration) {
	p := place{k, server}
	r.mu.Lock()
	defer r.mu.Unlock()
	f := r.places[p]
	switch {
	case f == nil:
		return 0
	// guard: refusal-of-server-that-is-gone
	case gone:
	case f.performed.IsZero():
		return Brief
	// guard: refusal-lasts-a-second
	case time.Since(f.performed) < Brief:
		return Brief - time.Since(f.performed)
	}
	r.setStateLocked(f, nil)
	delete(r.places, p)
	r.failing[k].Add(-1)
	return 0
}

// refused reports whether a server that works has answered that it does not perform the request.
func refused(err error) bool {
	// guard: replaced-is-no-refusal
	return !errors.Is(err, remoteerr.ErrReplaced) && !remoteerr.Unreachable(err) && !remoteerr.Away(err) && !errors.Is(err, backend.ErrEvicted) && !Refused(err)
}

// Now returns what is refused at present, by kind.
func (r *Refusals) Now() map[string]error {
	r.mu.Lock()
	defer r.mu.Unlock()
	servers := make(map[Kind][]string)
	for p := range r.places {
		servers[p.kind] = append(servers[p.kind], p.server)
	}
	if len(servers) == 0 {
		return nil
	}
	all := make(map[string]error, len(servers))
	for k, at := range servers {
		slices.Sort(at)
		err := r.places[place{k, at[0]}].err
		if named := slices.DeleteFunc(slices.Clone(at), func(s string) bool { return s == "" }); len(named) > 0 {
			err = fmt.Errorf("at %s: %w", strings.Join(named, ", "), err)
		}
		all[k.String()] = err
	}
	return all
}

// noted are the results of a request for several keys, which may be on several servers of a cluster.
type noted struct {
	keys int
	key  func(i int) string
	err  error             // of all of it
	of   func(i int) error // of each key
	// kinds returns of which kinds a key's result says something.
	kinds func(i int, err error) []Kind
}

// note notes them. An error of a request to several servers does not tell which of them failed.
func (g *Conn) note(n noted) {
	sharded := g.Sharded.Load()
	for i := range n.keys {
		err := n.err
		if err == nil {
			err = n.of(i)
		}
		server := ""
		// guard: refusal-of-one-server
		if sharded && (n.err == nil || n.keys == 1) {
			server = g.Shard(n.key(i)).Address()
		}
		for _, k := range n.kinds(i, err) {
			g.Refusals.record(k, server, err)
			if err == nil && server != "" {
				g.Refusals.record(k, "", nil)
			}
		}
	}
}

// errorOf tells the errors of results, of which there are none where the whole request failed.
func errorOf[R any](results []R, err func(*R) error) func(i int) error {
	return func(i int) error {
		if i < len(results) {
			return err(&results[i])
		}
		return nil
	}
}

// noteAll is note for a request that has one result.
func (g *Conn) noteAll(k Kind, keys []string, err error) {
	if err == nil && !g.Refusals.concerns(k) {
		return
	}
	g.note(noted{len(keys), func(i int) string { return keys[i] }, err, func(int) error { return nil }, func(int, error) []Kind { return []Kind{k} }})
}

func kindOfRead(keys int) Kind {
	if keys > 1 {
		return ReadsOfMany
	}
	return Reads
}

// noteChange notes the result of a request to the change log. To those who need the log a refusal is as an absent server; here it is
// one of a kind.
func (g *Conn) noteChange(err error) {
	if text, refused := remoteerr.RefusalOf(err); refused && !remoteerr.IsPassing(text) {
		err = remoteerr.Refusal(text)
	}
	g.Refusals.record(Changes, "", err)
}

// noteReads notes the results of a request to read. Where the rest of a large entry is refused, its beginning was read.
func (g *Conn) noteReads(k Kind, keys []string, items []backend.Item, err error) {
	if worstItem(items, err) == nil && !g.Refusals.concerns(k) && !g.Refusals.concerns(LargeReads) {
		return
	}
	g.note(noted{len(keys), func(i int) string { return keys[i] }, err,
		errorOf(items, func(r *backend.Item) error { return r.Err }),
		func(i int, err error) []Kind {
			switch {
			// guard: refusal-of-large-reads
			case err != nil && errors.As(err, new(remoteerr.OfRest)):
				return []Kind{LargeReads}
			case err == nil && i < len(items) && len(items[i].Raw) > backend.LargeLen:
				return []Kind{k, LargeReads}
			}
			return []Kind{k}
		}})
}

// noteLeases notes the results of a request for leases. A value that came with one says nothing about leases: a server that refuses
// to write still reads.
func (g *Conn) noteLeases(reqs []backend.LeaseRequest, leases []backend.Lease, err error) {
	if worstLease(leases, err) == nil && !g.Refusals.concerns(Leases) && !g.Refusals.concerns(LargeReads) {
		return
	}
	g.note(noted{len(reqs), func(i int) string { return reqs[i].Key }, err,
		errorOf(leases, func(r *backend.Lease) error { return r.Err }),
		func(i int, err error) []Kind {
			switch {
			case err != nil && errors.As(err, new(remoteerr.OfRest)):
				return []Kind{LargeReads}
			// guard: value-is-no-lease
			case err == nil && i < len(leases) && !leases[i].Acquired && leases[i].Item.Found():
				return nil
			}
			return []Kind{Leases}
		}})
}

// noteWrites notes the results of a request to write, of small values and of large ones.
func (g *Conn) noteWrites(writes []backend.Write, written []backend.Written, err error) {
	if Worst(written, err) == nil && !slices.ContainsFunc([]Kind{Fills, LargeFills, Sets, LargeSets}, g.Refusals.concerns) {
		return
	}
	g.note(noted{len(writes), func(i int) string { return writes[i].Key }, err,
		errorOf(written, func(r *backend.Written) error { return r.Err }),
		func(i int, _ error) []Kind {
			// guard: refusal-of-large-writes
			large := len(writes[i].Envelope) > backend.LargeLen
			return []Kind{kindOfWrite(writes[i].Token, large)}
		}})
}

// noteDeletions notes the results of a request to delete.
func (g *Conn) noteDeletions(keys []backend.Deletion, deleted []backend.Deleted, err error) {
	if WorstOf(deleted, err) == nil && !g.Refusals.concerns(Deletions) {
		return
	}
	g.note(noted{len(keys), func(i int) string { return keys[i].Key }, err,
		errorOf(deleted, func(r *backend.Deleted) error { return r.Err }),
		func(int, error) []Kind { return []Kind{Deletions} }})
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
