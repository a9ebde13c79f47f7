package main

import (
	"container/heap"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/tiercache/tiercache/internal/changelog"
)

// costs are what things take the processor of the server, system calls included, and how many bytes they are.
type costs struct {
	wake      time.Duration // something arrives while the server sleeps
	heartbeat time.Duration // a read of the log that finds nothing
	scope     time.Duration // each change that it finds
	change    time.Duration // recording a change of one source
	message   time.Duration // a message to one process
	push      time.Duration // telling one process that the log's key has changed, once between two of its reads
	others    time.Duration // all else for a store, in a second: pings, and looking after its connections
	idle      time.Duration // the server itself, in a second

	heartbeatIn, heartbeatOut, changeIn, changeOut, scopeOut, messageOut, pushOut, othersIn, othersOut float64
}

// measured are those of Valkey 8.0.1 on two cores that others use as well. They are fitted by hand to what BenchmarkFleet tells of
// 50 and 200 stores: see TestTheSimulationIsLikeTheMeasurement. The bytes are exact.
var measured = costs{
	wake: 45 * time.Microsecond, heartbeat: 55 * time.Microsecond, scope: 600 * time.Nanosecond, change: 30 * time.Microsecond,
	message: 6 * time.Microsecond, push: 4 * time.Microsecond, others: 100 * time.Microsecond, idle: 5 * time.Millisecond,
	heartbeatIn: 171, heartbeatOut: 202, changeIn: 360, changeOut: 90, scopeOut: 40, messageOut: 130, pushOut: 60, othersIn: 10, othersOut: 30,
}

// fleet is what is simulated.
type fleet struct {
	stores    int
	rate      float64       // changes in a second, each of one source that no other change is of, from stores in turns
	bound     time.Duration // WithMaxStaleness
	heartbeat time.Duration
	paced     bool // messages have a pace; else each change is a message, as it was before
	costs     costs
}

// figures are what comes out.
type figures struct {
	busy               float64 // share of the time in which the server works; if it falls behind, it is 1 and the rest says nothing
	messages           float64 // in a second
	changeP50, change9 time.Duration
	heardP50, heard9   time.Duration // from when a change is recorded to when another store knows of it
	unproven           float64       // share of the time in which a store's local copies are not served, since it has no proof
	in, out            float64       // bytes in a second, of each store
}

// behind is by how much a server may be late before it is given up.
const behind = 500 * time.Millisecond

// latency is that of the network, one way.
const latency = 50 * time.Microsecond

type event struct {
	at    time.Duration
	store int // whose heartbeat it is; -1: a change; -2: what waits is due
}

type events []event

func (e events) Len() int           { return len(e) }
func (e events) Less(i, j int) bool { return e[i].at < e[j].at }
func (e events) Swap(i, j int)      { e[i], e[j] = e[j], e[i] }
func (e *events) Push(x any)        { *e = append(*e, x.(event)) }
func (e *events) Pop() any {
	last := (*e)[len(*e)-1]
	*e = (*e)[:len(*e)-1]
	return last
}

// server is one thread that does what arrives in its order.
type server struct {
	fleet
	rnd    *rand.Rand
	queue  events
	free   time.Duration // when it has done all so far
	worked time.Duration

	known    []int           // how many changes each store has heard of
	told     int             // how many messages have told of
	recorded []time.Duration // when each change was
	tracking []bool          // stores that are to be told that the log's key has changed
	tracks   int             // how many
	pace     changelog.Pace
	begun    time.Time // the zero of the clock, for pace
	waits    bool      // a message has to wait

	messages           int
	in, out            float64
	changes, heard     []time.Duration
	watched            int             // the store that is looked at
	watchedAt, proofAt []time.Duration // its heartbeats: when it was answered, when it was sent
}

// simulate runs a fleet for so long, the first second of which does not count.
func simulate(f fleet, lasts time.Duration) figures {
	if f.besides() >= 1 {
		return figures{busy: 1}
	}
	s := &server{fleet: f, rnd: rand.New(rand.NewPCG(1, 2)), known: make([]int, f.stores), tracking: make([]bool, f.stores),
		begun: time.Unix(1e9, 0)}
	for i := range f.stores {
		s.queue = append(s.queue, event{time.Duration(s.rnd.Int64N(int64(f.heartbeat))), i})
	}
	if f.rate > 0 {
		s.queue = append(s.queue, event{s.next(), -1})
	}
	heap.Init(&s.queue)
	const warm = time.Second
	var warmWork time.Duration
	var warmMessages int
	var warmIn, warmOut float64
	warmed := false
	for s.queue.Len() > 0 {
		e := heap.Pop(&s.queue).(event)
		if s.free-e.at > behind {
			return figures{busy: 1}
		}
		if e.at > lasts {
			break
		}
		if !warmed && e.at >= warm {
			warmed, warmWork, warmMessages, warmIn, warmOut = true, s.worked, s.messages, s.in, s.out
			s.changes, s.heard = nil, nil
		}
		switch e.store {
		case -1:
			s.record(e.at)
			heap.Push(&s.queue, event{e.at + s.next(), -1})
		case -2:
			s.tell(e.at)
		default:
			s.beat(e)
		}
	}
	seconds, n := (lasts - warm).Seconds(), float64(f.stores)
	r := figures{
		busy:     min(1, (s.worked-warmWork).Seconds()/seconds+f.besides()),
		messages: float64(s.messages-warmMessages) / seconds,
		in:       (s.in-warmIn)/seconds/n + f.costs.othersIn, out: (s.out-warmOut)/seconds/n + f.costs.othersOut,
	}
	r.changeP50, r.change9 = percentiles(s.changes)
	r.heardP50, r.heard9 = percentiles(s.heard)
	r.unproven = s.withoutProof(warm, lasts)
	return r
}

func percentiles(d []time.Duration) (p50, p99 time.Duration) {
	if len(d) == 0 {
		return 0, 0
	}
	slices.Sort(d)
	return d[len(d)/2], d[len(d)*99/100]
}

// next is how long until the next change.
func (s *server) next() time.Duration {
	return time.Duration(s.rnd.ExpFloat64() / s.rate * float64(time.Second))
}

// work has the server do something that arrives, and returns when it is done.
func (s *server) work(at, takes time.Duration) time.Duration {
	if at >= s.free {
		s.free = at
		takes += s.costs.wake
	}
	s.worked += takes
	// The other work is done in between.
	s.free += time.Duration(float64(takes) / (1 - s.besides()))
	return s.free
}

// besides is the share of the time that the other work takes.
func (f fleet) besides() float64 {
	return f.costs.idle.Seconds() + float64(f.stores)*f.costs.others.Seconds()
}

func (s *server) beat(e event) {
	found := len(s.recorded) - s.known[e.store]
	done := s.work(e.at, s.costs.heartbeat+time.Duration(found)*s.costs.scope)
	s.hear(e.store, len(s.recorded), done+latency)
	if !s.tracking[e.store] {
		s.tracking[e.store] = true
		s.tracks++
	}
	s.in, s.out = s.in+s.costs.heartbeatIn, s.out+s.costs.heartbeatOut+float64(found)*s.costs.scopeOut
	answered := done + latency
	if e.store == s.watched {
		s.watchedAt, s.proofAt = append(s.watchedAt, answered), append(s.proofAt, e.at-latency)
	}
	// The next tick after the answer.
	next := e.at + s.heartbeat
	for next < answered {
		next += s.heartbeat
	}
	heap.Push(&s.queue, event{next, e.store})
}

// hear has a store know of the first n changes.
func (s *server) hear(store, n int, at time.Duration) {
	if store == s.watched {
		for _, c := range s.recorded[min(s.known[store], n):n] {
			s.heard = append(s.heard, max(0, at-c))
		}
	}
	s.known[store] = max(s.known[store], n)
}

func (s *server) record(at time.Duration) {
	done := s.work(at, s.costs.change)
	s.changes = append(s.changes, done+2*latency-at)
	s.recorded = append(s.recorded, done)
	s.in, s.out = s.in+s.costs.changeIn, s.out+s.costs.changeOut
	if s.tracks > 0 {
		s.work(done, time.Duration(s.tracks)*s.costs.push)
		s.out += float64(s.tracks) * s.costs.pushOut
		s.tracks = 0
		clear(s.tracking)
	}
	if !s.paced {
		s.publish(done)
		return
	}
	if wait := s.pace.Wait(s.begun.Add(done)); wait > 0 {
		if !s.waits {
			s.waits = true
			heap.Push(&s.queue, event{done + wait + 2*latency, -2})
		}
		return
	}
	s.publish(done)
}

// tell publishes what waits, if that has not been done.
func (s *server) tell(at time.Duration) {
	if s.waits && s.pace.Wait(s.begun.Add(at)) == 0 {
		s.publish(s.work(at, s.costs.change/2))
	}
}

// publish sends each store a message of all that has not been told. Each hears of it when its turn has come; the watched one is
// anywhere among them.
func (s *server) publish(at time.Duration) {
	n := len(s.recorded) - s.told
	done := s.work(at, time.Duration(s.stores)*s.costs.message)
	turn := at + time.Duration(s.rnd.Float64()*float64(done-at))
	for i := range s.stores {
		if i == s.watched {
			s.hear(i, len(s.recorded), turn+latency)
		} else {
			s.known[i] = len(s.recorded)
		}
	}
	s.told, s.waits = len(s.recorded), false
	s.messages += s.stores
	s.out += float64(s.stores) * (s.costs.messageOut + float64(n-1)*s.costs.scopeOut/2)
	s.pace.Sent(0, s.begun.Add(at), s.stores)
}

// withoutProof is the share of the time in which the latest proof of the watched store was older than its bound.
func (s *server) withoutProof(from, to time.Duration) float64 {
	var without time.Duration
	for i := range s.watchedAt {
		until := to
		if i+1 < len(s.watchedAt) {
			until = min(to, s.watchedAt[i+1])
		}
		ends := max(from, s.watchedAt[i], s.proofAt[i]+s.bound)
		without += max(0, until-ends)
	}
	return float64(without) / float64(to-from)
}
