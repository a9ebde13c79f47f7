package remote

import (
	"context"
	"maps"
	"sync"
	"time"

	"github.com/tiercache/tiercache/internal/mono"
	"github.com/tiercache/tiercache/invalidation"
)

// origin is what an answer says of the server that gave it.
type origin struct {
	history  string
	counters counters
}

// counters are what a server counts under one history: they never decrease, unless
// the server goes on from an earlier state of itself, or an administrator resets
// them.
type counters struct{ offset, commands int64 }

// untold is a counter of which the server was not asked, or told nothing.
const untold = -1

func (n counters) behind(m counters) bool {
	return n.offset != untold && n.offset < m.offset || n.commands != untold && n.commands < m.commands
}

func (p *parser) counters(offset, commands string) counters {
	n := counters{untold, untold}
	if offset != "" {
		n.offset = p.number(offset)
	}
	if commands != "" {
		n.commands = p.number(commands)
	}
	return n
}

// histories are what a connection knows of the pasts of the servers that answer it,
// and which of that the change log knows. A server of a history that it has not heard
// of may have lost what was written to single keys; so may one that says that
// everything was flushed, or that has counted less than before: it was set back to an
// earlier state of itself, which keeps its replication id. Of either the log is told,
// which has all change that may have been lost, before an answer is used.
type histories struct {
	mu       sync.Mutex // guards all below
	admitted map[string]int64
	// admissions is how often the log was told of something, and place how often it
	// had been when it was told of the latest server that went back.
	admissions, place int64
	// flushes counts the notices that everything was flushed, handled those of which
	// the log was told.
	flushes, handled int64
	// counted is the most that each history has counted. The map is replaced, never
	// changed: a question that is sent remembers the one of then.
	counted map[string]counters
	// backs is what admissions was when the log was told that a server of a history went
	// back, the latest time.
	backs map[string]int64
	// countedAt is when the latest usable answer with a count of commands was asked for, when
	// there had been so many dials.
	countedAt mono.Time
	dials     int64
}

// question is what was known when a question was sent.
type question struct {
	sent              mono.Time
	admissions, place int64
	counted           map[string]counters
	dials             int64
	counts            bool // it asks how many commands were counted
}

// countEvery is how often that is asked over one connection: a machine that is set
// back to a snapshot comes with other connections, unless nothing has been said over
// one since.
const countEvery = 100 * time.Millisecond

func newHistories() *histories {
	return &histories{admitted: make(map[string]int64), counted: make(map[string]counters), backs: make(map[string]int64)}
}

// ask is called before a question is sent; dials is how often there was another
// connection by then.
func (h *histories) ask(dials int64) question {
	now := mono.Now()
	h.mu.Lock()
	defer h.mu.Unlock()
	// guard: I6-count-after-dial
	return question{now, h.admissions, h.place, h.counted, dials, h.countedAt == 0 || h.dials != dials || now.Sub(h.countedAt) >= countEvery}
}

// flushed is told of a notice that everything was flushed.
func (h *histories) flushed() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.flushes++
}

// doubt is why an answer is not to be used yet.
type doubt struct {
	history string
	back    bool // the server may have gone back
	flushes int64
	told    int64 // the log was told that this server went back, the latest time: see histories.backs
}

// judge reports whether the log knew of all when q was sent that s says. If not, the
// doubt is what to tell it. That it is known by now says too little:
//
//	heartbeat: reads the log, and has the server admitted
//	Sync:      has read it between the two, and does not know what changed by that
//
// What was counted is compared with what was known when the question was sent: two
// answers that were on their way at once may be judged in either order.
func (h *histories) judge(q question, s origin) (d doubt, ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	d = doubt{history: s.history, flushes: h.flushes, told: h.backs[s.history]}
	// guard: crossing-answers
	before, counted := q.counted[s.history]
	// guard: I6-counters-behind
	d.back = h.flushes > h.handled || counted && s.counters.behind(before) && q.place == h.place
	place, known := h.admitted[s.history]
	// guard: I6-read-again-after-rollback
	// guard: I3-read-again-after-admission
	return d, !d.back && known && place <= q.admissions && h.place <= q.admissions
}

// use is called with an answer that is used.
func (h *histories) use(q question, s origin) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if q.place != h.place {
		return // it may be of before the server went back
	}
	if s.counters.commands != untold && q.sent > h.countedAt {
		h.countedAt, h.dials = q.sent, q.dials
	}
	n, known := h.counted[s.history]
	if !known {
		n = counters{untold, untold}
	}
	next := counters{max(n.offset, s.counters.offset), max(n.commands, s.counters.commands)}
	if next == n {
		return
	}
	h.counted = maps.Clone(h.counted)
	h.counted[s.history] = next
}

// known reports whether the log was told: of a server that went back by this process, since
// the answer that showed it was judged. What others have told may be of another rollback:
//
//	shard 1: is set back; A has all change that may have been lost
//	shard 2: a key is set, and it is set back
//	B:       finds that out, and hears for the first time what A has told
func (h *histories) known(d doubt) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	_, known := h.admitted[d.history]
	// guard: I6-two-flushes
	// guard: I6-rollback-told-by-others
	// guard: rollback-told-once
	return known && (!d.back || d.flushes <= h.handled && d.told != h.backs[d.history])
}

// told is called once the log knows.
func (h *histories) told(d doubt) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.admissions++
	if _, known := h.admitted[d.history]; !known {
		h.admitted[d.history] = h.admissions
	}
	if !d.back {
		return
	}
	h.place, h.handled, h.backs[d.history] = h.admissions, max(h.handled, d.flushes), h.admissions
	h.counted = maps.Clone(h.counted)
	delete(h.counted, d.history)
}

// admits reports whether an answer can be used, to a question of before which q was
// taken. If not, the log is told why, and it is to be asked again. Without a log
// there is nothing yet that could tell.
func (c *valkeyConn) admits(ctx context.Context, client asker, s origin, d *invalidation.Delta, q question) (bool, error) {
	if d.Incarnation == 0 {
		return true, nil
	}
	if !q.counts && c.dials.Load() != q.dials {
		return false, nil // it may have come over the other connection
	}
	doubt, ok := c.histories.judge(q, s)
	if ok {
		d.Histories = q.admissions
		c.histories.use(q, s)
		return true, nil
	}
	_, err := c.admit(ctx, client, doubt)
	return false, err
}

// admit has the log, on the server of client, know of a server. It reports whether
// there is a log.
func (c *valkeyConn) admit(ctx context.Context, client asker, d doubt) (bool, error) {
	if c.histories.known(d) {
		return true, nil
	}
	b := newBatch()
	if client != asker(c.plain) { // which tracks nothing
		c.addUntracked(b)
	}
	b.eval(c.script(scriptAdmit), c.log)
	b.more(c.channel, d.history, flag(d.back))
	results := run(ctx, client, b)
	logged, err := results[len(results)-1].number()
	if err != nil {
		return false, logFailure(err)
	}
	if logged == 1 {
		c.histories.told(d)
	}
	return logged == 1, nil
}
