package remote

import (
	"context"
	"maps"
	"sync"
	"time"

	"github.com/tiercache/tiercache/internal/changelog"
	"github.com/tiercache/tiercache/internal/mono"
)

// origin is what an answer tells about the server that gave it.
type origin struct {
	history  string
	counters counters
}

// counters are counts of a server under one history: they never decrease, unless the
// server goes on from an earlier state of itself, or an administrator resets them.
type counters struct{ offset, commands int64 }

// untold is a counter that the server was not asked for, or did not tell.
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

// histories is what a connection knows of the histories of the servers that answer it,
// and which of them have been admitted to the change log. A server of a history that was
// not admitted may have lost writes to single keys. So may a server that reports a flush
// of everything, or whose counters are lower than before: it was set back to an earlier
// state of itself, which keeps its replication id. Either is admitted to the log, which
// has all namespaces change that may have lost writes, before an answer is used.
type histories struct {
	mu sync.Mutex // guards all below
	// admitted has the value of admissions after the first admission of each history.
	admitted map[string]int64
	// admissions counts the admissions to the log; lastRollback is its value after the latest
	// admission of a server that went back.
	admissions, lastRollback int64
	// flushes counts the invalidations of everything, flushesAdmitted those that have been
	// admitted to the log.
	flushes, flushesAdmitted int64
	// counted has the highest counters of each history. The map is replaced, never
	// changed: a question that was sent keeps the map from then.
	counted map[string]counters
	// rollbacks has the value of admissions after the latest admission, for each history,
	// of a server that went back.
	rollbacks map[string]int64
	// countedAt is when the question for the latest usable answer with a count of commands
	// was sent, and dials the number of dials by then.
	countedAt mono.Time
	dials     int64
}

// question is what was known when a question was sent.
type question struct {
	sent                     mono.Time
	admissions, lastRollback int64
	counted                  map[string]counters
	dials                    int64
	counts                   bool // it asks for the number of commands
}

// countEvery is how often the number of commands is asked for over one connection: a
// machine that is set back to a snapshot has other connections, unless nothing was sent
// over one since the snapshot.
const countEvery = 100 * time.Millisecond

func newHistories() *histories {
	return &histories{admitted: make(map[string]int64), counted: make(map[string]counters), rollbacks: make(map[string]int64)}
}

// ask is called before a question is sent; dials is the number of connections made by
// then.
func (h *histories) ask(dials int64) question {
	now := mono.Now()
	h.mu.Lock()
	defer h.mu.Unlock()
	// guard: I6-count-after-dial
	return question{now, h.admissions, h.lastRollback, h.counted, dials, h.countedAt == 0 || h.dials != dials || now.Sub(h.countedAt) >= countEvery}
}

// flushed counts an invalidation of everything.
func (h *histories) flushed() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.flushes++
}

// doubt is why an answer is not to be used yet.
type doubt struct {
	history    string
	rolledBack bool // the server may have gone back to an earlier state
	flushes    int64
	rollback   int64 // histories.rollbacks of the history, when the answer was judged
}

// judge reports whether all that s shows had been admitted to the log when q was sent. If
// not, the doubt is what has to be admitted. It is not enough that it has been admitted
// by now:
//
//	heartbeat: reads the log
//	Sync:      reads the log
//	heartbeat: has the server admitted, which changes namespaces
//	Sync:      does not know those changes
//
// The counters are compared with those that were known when the question was sent: two
// answers that were on their way at once may be judged in either order.
func (h *histories) judge(q question, s origin) (d doubt, ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	d = doubt{history: s.history, flushes: h.flushes, rollback: h.rollbacks[s.history]}
	// guard: crossing-answers
	before, counted := q.counted[s.history]
	// guard: I6-counters-behind
	d.rolledBack = h.flushes > h.flushesAdmitted || counted && s.counters.behind(before) && q.lastRollback == h.lastRollback
	admittedAt, known := h.admitted[s.history]
	// guard: I6-read-again-after-rollback
	// guard: I3-read-again-after-admission
	return d, !d.rolledBack && known && admittedAt <= q.admissions && h.lastRollback <= q.admissions
}

// use takes the counters of an answer that is used.
func (h *histories) use(q question, s origin) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if q.lastRollback != h.lastRollback {
		return // it may be from before the server went back
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

// isAdmitted reports whether the doubt has been admitted to the log. A server that went back
// must have been admitted by this process, since the answer that showed it was judged: an
// admission by another process may be of another rollback.
//
//	shard 1: is set back
//	A:       admits that, which has all namespaces change that may have lost writes
//	shard 2: a key is set; then shard 2 is set back
//	B:       finds that out, and reads A's admission for the first time
func (h *histories) isAdmitted(d doubt) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	_, known := h.admitted[d.history]
	// guard: I6-two-flushes
	// guard: I6-rollback-told-by-others
	// guard: rollback-told-once
	return known && (!d.rolledBack || d.flushes <= h.flushesAdmitted && d.rollback != h.rollbacks[d.history])
}

// recordAdmission notes that a doubt has been admitted to the log.
func (h *histories) recordAdmission(d doubt) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.admissions++
	if _, known := h.admitted[d.history]; !known {
		h.admitted[d.history] = h.admissions
	}
	if !d.rolledBack {
		return
	}
	h.lastRollback, h.flushesAdmitted, h.rollbacks[d.history] = h.admissions, max(h.flushesAdmitted, d.flushes), h.admissions
	h.counted = maps.Clone(h.counted)
	delete(h.counted, d.history)
}

// admits reports whether an answer can be used; q was taken before its question was sent.
// If not, the reason is admitted to the log, and the question has to be sent again. Without
// a log there is nothing to admit it to.
func (c *valkeyConn) admits(ctx context.Context, client asker, s origin, d *changelog.Delta, q question) (bool, error) {
	if d.Incarnation == 0 {
		return true, nil
	}
	if !q.counts && c.dials.Load() != q.dials {
		return false, nil // the answer may have come over the new connection
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

// admit admits a server to the log, which is on the server of client. It reports whether
// there is a log.
func (c *valkeyConn) admit(ctx context.Context, client asker, d doubt) (bool, error) {
	if c.histories.isAdmitted(d) {
		return true, nil
	}
	b := newBatch()
	b.eval(c.script(scriptAdmit), c.log)
	b.more(c.channel, d.history, flag(d.rolledBack))
	logged, err := runOne(ctx, client, b).number()
	if err != nil {
		return false, logFailure(err)
	}
	if logged == 1 {
		c.histories.recordAdmission(d)
	}
	return logged == 1, nil
}
