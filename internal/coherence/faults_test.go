package coherence

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/internal/faultproxy"
	"github.com/tiercache/tiercache/tier"
)

// fault is one thing that production does to a cache. run does it, lets it last,
// heals it, and returns how often it did it.
type fault struct {
	name string
	run  func(w *world) int
	// spares cells: nothing is decided about keys that are set and deleted, from
	// the fault until each has been written again. Each has its reason beside it.
	spares     spared
	stepsClock bool // and so needs a server whose clock can be
	slow       bool // takes seconds, so one round of three has it, at full speed
	// lies: what is read while it lasts is not judged at all, but that the processes
	// live and go on; docs change once more, and everything is flushed, before they
	// are judged again.
	lies bool
}

// spared says where a fault may do to a key what the cache does not promise to
// find out.
type spared int

const (
	nowhere spared = iota
	tracked        // without tracking, the change log tells of it
	everywhere
)

func (s spared) in(cfg Config) bool {
	return s == everywhere || s == tracked && !cfg.NoTracking
}

// Faults of one server and of the network before it.
var faults = []fault{
	{name: "kill -9 and restart of the server", run: func(w *world) int {
		w.server.Kill()
		if w.rng.IntN(2) == 0 {
			w.hold(w.span())
		}
		w.server.Restart()
		return 1
	}},
	{name: "SIGSTOP of the server", run: func(w *world) int {
		w.server.Pause()
		w.hold(w.span())
		w.server.Resume()
		return 1
	}},
	{name: "SIGSTOP of a client process", run: func(w *world) int {
		p := w.procs[here+w.rng.IntN(there-here)]
		require.NoError(w.t, p.Pause())
		w.hold(w.span())
		require.NoError(w.t, p.Resume())
		return 1
	}},
	{name: "kill -9 of a client process", run: func(w *world) int {
		i := here + w.rng.IntN(there-here)
		w.procs[i].Kill()
		w.hold(2 * w.cfg.Timeout) // what it was writing when it died is performed, or is too late
		for s := range w.board.subjects {
			w.board.Subject(s).Replaced(i)
		}
		w.spawn(i)
		return 1
	}},
	{name: "CLIENT KILL of all connections", run: times(4, func(w *world) { w.do("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes") })},
	{name: "CLIENT KILL of subscriptions", run: times(4, func(w *world) { w.do("CLIENT", "KILL", "TYPE", "pubsub") })},
	{name: "CLIENT KILL of one connection", run: times(4, killOne)},
	{name: "FLUSHALL", run: times(4, func(w *world) { w.do("FLUSHALL") })},
	{name: "SCRIPT FLUSH", run: times(4, func(w *world) { w.do("SCRIPT", "FLUSH") })},
	{name: "SWAPDB", run: func(w *world) int {
		w.do("SWAPDB", "0", "1")
		w.recovered() // on an empty server
		w.do("SWAPDB", "0", "1")
		return 2
	}},
	{name: "DEL of the change log", run: times(8, func(w *world) { w.do("DEL", w.logKey()) })},
	{name: "the change log without its incarnation", run: times(8, func(w *world) { w.do("ZREMRANGEBYSCORE", w.logKey(), "-1", "-1") })},
	{name: "the change log overwritten by a string", run: times(4, func(w *world) { w.do("SET", w.logKey(), "x") })},
	{name: "DEL of entries", run: times(8, func(w *world) { w.del("", w.rng.IntN(2)) })},
	{name: "DEL of leases", run: times(8, func(w *world) { w.del("!", 0) })},
	{name: "entries overwritten with rubbish", run: times(4, func(w *world) {
		for _, k := range w.keys("") {
			w.do("SET", k, "rubbish", "XX")
		}
	})},
	{name: "tracking table overflow", run: func(w *world) int {
		w.config1("tracking-table-max-keys", "5")
		w.hold(w.span())
		w.config1("tracking-table-max-keys", "1000000")
		return 1
	}},
	{name: "pub/sub output buffer kill", run: func(w *world) int {
		w.config1("client-output-buffer-limit", "pubsub 65536 0 0")
		before := w.stat("client_output_buffer_limit_disconnections")
		for range 4 {
			w.do("PUBLISH", w.cfg.Prefix+":{"+w.cfg.Prefix+"}:changes", strings.Repeat("x", 4<<20))
		}
		w.config1("client-output-buffer-limit", "pubsub 33554432 8388608 60")
		w.killed += w.stat("client_output_buffer_limit_disconnections") - before // not each time: some read quickly
		return 4
	}},
	{name: "slow server (DEBUG SLEEP)", run: times(2, func(w *world) { w.do("DEBUG", "SLEEP", fmt.Sprintf("%.3f", w.span().Seconds())) })},
	{name: "CLIENT PAUSE", run: func(w *world) int {
		w.do("CLIENT", "PAUSE", fmt.Sprint(w.span().Milliseconds()), []string{"ALL", "WRITE"}[w.rng.IntN(2)])
		return 1
	}},
	{name: "server clock stepped forwards", stepsClock: true, run: func(w *world) int { return w.step(time.Hour) }},
	{name: "server clock stepped backwards", stepsClock: true, run: func(w *world) int { return w.step(-time.Hour) }},
	{name: "messages dropped", run: pushes("message", faultproxy.Rule{Action: faultproxy.Drop})},
	{name: "messages dropped at random", run: pushes("message", faultproxy.Rule{Action: faultproxy.Drop, Share: 0.5})},
	{name: "messages held", run: pushes("message", faultproxy.Rule{Action: faultproxy.Hold})},
	{name: "messages delayed", run: pushes("message", faultproxy.Rule{Action: faultproxy.Delay, By: 30 * time.Millisecond})},
	{name: "messages duplicated", run: pushes("message", faultproxy.Rule{Action: faultproxy.Duplicate})},
	{name: "messages reordered", run: pushes("message", faultproxy.Rule{Action: faultproxy.Reorder})},
	{name: "invalidations duplicated", run: pushes("invalidate", faultproxy.Rule{Action: faultproxy.Duplicate})},
	// A server that sent an invalidation has forgotten that the key is tracked, so what a
	// lost or late one would have taken away stays: TCP does not lose or reorder.
	// What the log carries must hold without any invalidation.
	{name: "invalidations dropped", spares: tracked, run: thenCut(pushes("invalidate", faultproxy.Rule{Action: faultproxy.Drop}))},
	{name: "invalidations held", spares: tracked, run: thenCut(pushes("invalidate", faultproxy.Rule{Action: faultproxy.Hold}))},
	{name: "invalidations reordered", spares: tracked, run: thenCut(pushes("invalidate", faultproxy.Rule{Action: faultproxy.Reorder}))},
	{name: "replies held, invalidations overtake them", run: func(w *world) int {
		return w.some(func(p *faultproxy.Proxy) { p.Apply(faultproxy.Rule{Class: faultproxy.Reply, Action: faultproxy.Hold}) })
	}},
	{name: "requests held", run: func(w *world) int {
		return w.some(func(p *faultproxy.Proxy) {
			p.Apply(faultproxy.Rule{Class: faultproxy.Request, Action: faultproxy.Hold})
		})
	}},
	{name: "half-open, both ways", run: func(w *world) int {
		return w.some(func(p *faultproxy.Proxy) { p.Freeze(faultproxy.ToServer, faultproxy.ToClient) })
	}},
	// What was sent arrives late, after what was sent on other connections: see
	// TestI1ASetThatFailedDoesNotOverwriteALaterOne.
	{name: "connections forgotten, and remembered", run: func(w *world) int {
		return w.some(func(p *faultproxy.Proxy) { p.FreezePresent() })
	}},
	{name: "half-open, to the server", run: func(w *world) int {
		return w.some(func(p *faultproxy.Proxy) { p.Freeze(faultproxy.ToServer) })
	}},
	{name: "half-open, to the client", run: func(w *world) int {
		return w.some(func(p *faultproxy.Proxy) { p.Freeze(faultproxy.ToClient) })
	}},
	// A write that is given up arrives when another member has written since.
	{name: "messages late, in order", run: times(3, func(w *world) {
		w.some(func(p *faultproxy.Proxy) {
			p.Latency(faultproxy.ToServer, w.cfg.Timeout/2)
			if w.rng.IntN(4) == 0 {
				p.Latency(faultproxy.ToClient, w.cfg.Timeout/2)
			}
		})
	})},
	{name: "throttled", run: func(w *world) int {
		return w.some(func(p *faultproxy.Proxy) { p.Throttle(faultproxy.ToClient, 20_000) })
	}},
	{name: "connections cut", run: times(4, func(w *world) { w.any().Cut() })},
	{name: "connections reset", run: times(4, func(w *world) { w.any().Reset() })},
	{name: "connections cut within a message", run: func(w *world) int {
		return w.some(func(p *faultproxy.Proxy) { p.CutWithin(1 << (5 + w.rng.IntN(12))) })
	}},
	{name: "a proxy that speaks first", run: func(w *world) int {
		return w.some(func(p *faultproxy.Proxy) {
			p.Greet(0.2+0.8*w.rng.Float64(), faultproxy.MaxClients, faultproxy.Denied)
			p.Cut()
		})
	}},
	{name: "maxclients reached", run: func(w *world) int {
		s := w.server.Session(w.t)
		defer s.Close()
		for range 3 {
			s.Do(fmt.Sprint("CONFIG SET maxclients ", 1+w.rng.IntN(2*there)), "CLIENT KILL TYPE normal SKIPME yes", "CLIENT KILL TYPE pubsub")
			w.hold(w.span() / 2)
			s.Do("CONFIG SET maxclients 10000")
		}
		return 3
	}},
	{name: "rights revoked", run: func(w *world) int {
		for _, right := range []string{"-@read", "-@write", "-@scripting", "-@sortedset", "-@pubsub"} {
			w.do("ACL", "SETUSER", "default", right)
			w.hold(w.span() / 2)
			w.do("ACL", "SETUSER", "default", "+@all")
			w.hold(time.Duration(w.rng.Int64N(int64(2 * w.cfg.Heartbeat))))
		}
		return 5
	}},
	// An answer that comes twice answers the next request, so anything may be believed.
	{name: "answers duplicated", lies: true, run: thenCut(func(w *world) int {
		return w.some(func(p *faultproxy.Proxy) {
			p.Apply(faultproxy.Rule{Class: faultproxy.Reply, Action: faultproxy.Duplicate, Share: 0.02})
		})
	})},
	// What the server had acknowledged since its snapshot is lost, and made up for by
	// the members that know of it.
	{name: "set back to a snapshot, by a restart", slow: true, run: func(w *world) int {
		w.setBack("by a restart", func() {}, func() {
			w.server.Kill()
			w.server.Restart()
		})
		return 1
	}},
	{name: "set back to a snapshot, DEBUG RELOAD", slow: true, run: func(w *world) int {
		w.setBack("DEBUG RELOAD", func() {}, func() { w.untold(func() { w.do("DEBUG", "RELOAD", "NOSAVE") }) })
		return 1
	}},
	// As a virtual machine is: the process goes on as it was, its replication id, offset
	// and counters too, and connections of later are gone. (What cannot be had here: a
	// replication offset that goes back. It stays 0 without replica.)
	{name: "set back to a snapshot, with the process", slow: true, run: func(w *world) int {
		w.setBack("with the process", func() {}, func() {
			s := w.server.Session(w.t)
			defer s.Close()
			s.Do("CLIENT KILL TYPE normal SKIPME yes", "CLIENT KILL TYPE pubsub", "DEBUG RELOAD NOSAVE", "CONFIG RESETSTAT")
		})
		return 1
	}},
	// What tells that keys are written must last as long as the keys do.
	{name: "clock stepped by days, then set back to a snapshot", stepsClock: true, slow: true, run: func(w *world) int {
		w.setBack("days", func() {
			for _, d := range []time.Duration{8 * 24 * time.Hour, -8 * 24 * time.Hour} {
				w.server.StepClock(d)
				w.recovered()
				w.fill(w.members[0].Store())
				w.server.StepClock(0)
				w.recovered()
			}
			w.rewriteCells()
		}, func() {
			w.server.Kill()
			w.server.Restart()
		})
		return 3
	}},
	{name: "a store of short WithMaxTTL, then set back to a snapshot", slow: true, run: func(w *world) int {
		w.setBack("short", w.trim, func() {
			w.server.Kill()
			w.server.Restart()
		})
		return 1
	}},
}

func init() {
	for _, policy := range []string{"noeviction", "allkeys-lru", "allkeys-lfu", "allkeys-random", "volatile-lru", "volatile-lfu", "volatile-random", "volatile-ttl"} {
		faults = append(faults, fault{name: "eviction, " + policy, run: func(w *world) int { return w.evict(policy) }})
	}
}

// step sets the server's clock d ahead or behind, and back after a while, both
// while the fleet reads and loads.
func (w *world) step(d time.Duration) int {
	w.server.StepClock(d)
	w.recovered()
	w.hold(w.span())
	w.server.StepClock(0)
	return 2
}

// setBack has the server save, and later have what it had then. Every other time
// that it is done in this way nothing but keys changes in between, so that the change
// log is what it was.
func (w *world) setBack(way string, before, back func()) {
	w.board.Excuse()
	before()
	if w.setBacks[way]++; w.setBacks[way]%2 == 1 {
		w.board.OnlyCells(true)
		w.hold(time.Second) // as long as a change may take
	}
	w.server.Save(w.t)
	w.hold(w.span())
	back()
	w.recovered()
	w.board.OnlyCells(false)
	w.server.DropSnapshot()
	w.board.Forgive(Now())
}

// untold does what nothing but the next heartbeat tells stores without tracking of: their
// connections stay, and no invalidation says that everything was flushed. Until the bound has
// passed nothing is decided about cells there.
func (w *world) untold(do func()) {
	if !w.cfg.NoTracking {
		do()
		return
	}
	w.cells((*Subject).Suspend)
	defer w.cells((*Subject).Resume)
	do()
	w.hold(time.Duration(bound(w.cfg.MaxStaleness)))
}

// trim opens a store whose entries are short-lived, and which has no use for older
// changes, if the others allow it. It changes things until it has trimmed the log.
func (w *world) trim() {
	const short = time.Second
	s, err := tier.Open(context.Background(), tier.WithValkey(w.server.URL()), tier.WithPrefix(w.cfg.Prefix), tier.WithMaxTTL(short),
		tier.WithLogger(slog.New(slog.NewTextHandler(io.Discard, nil))))
	if err != nil {
		return // refused, which is safe
	}
	defer s.Close()
	w.hold(short + short/4)
	w.fill(s)
	w.rewriteCells()
}

// fill records so many changes that the change log is trimmed. Not each has to be
// acknowledged.
func (w *world) fill(s *tier.Store) {
	for i := range 100 {
		_, _ = s.InvalidateSource(context.Background(), fmt.Sprint("fill-", i))
	}
}

// times repeats what is over at once, while the fleet goes on.
func times(n int, f func(w *world)) func(w *world) int {
	return func(w *world) int {
		for range n {
			f(w)
			w.hold(time.Duration(w.rng.Int64N(int64(2 * w.cfg.Heartbeat))))
		}
		return n
	}
}

func (w *world) do(args ...string) { w.server.Do(w.t, args...) }

func (w *world) config1(name, value string) { w.do("CONFIG", "SET", name, value) }

// stat is a number of INFO stats, to see that a fault took place.
func (w *world) stat(name string) int {
	text, err := w.server.Do(w.t, "INFO", "stats").ToString()
	require.NoError(w.t, err)
	_, rest, _ := strings.Cut(text, name+":")
	value, _, _ := strings.Cut(rest, "\r\n")
	n, err := strconv.Atoi(value)
	require.NoError(w.t, err, name)
	return n
}

func (w *world) logKey() string { return w.cfg.Prefix + ":{" + w.cfg.Prefix + "}:log" }

func (w *world) any() *faultproxy.Proxy { return w.proxies[w.rng.IntN(len(w.proxies))] }

// keys lists the fleet's entries, or with the suffix their leases.
func (w *world) keys(suffix string) (out []string) {
	all, err := w.server.Do(w.t, "KEYS", w.cfg.Prefix+":d:*}"+suffix).AsStrSlice()
	require.NoError(w.t, err)
	return all
}

// del deletes entries or leases, all or each second one.
func (w *world) del(suffix string, half int) {
	args := []string{"DEL", "-"}
	for i, k := range w.keys(suffix) {
		if half == 0 || i%2 == 0 {
			args = append(args, k)
		}
	}
	w.do(args...)
}

func killOne(w *world) {
	list, err := w.server.Do(w.t, "CLIENT", "LIST", "TYPE", "normal").ToString()
	require.NoError(w.t, err)
	var ids []string
	for field := range strings.FieldsSeq(list) {
		if id, ok := strings.CutPrefix(field, "id="); ok {
			ids = append(ids, id)
		}
	}
	if len(ids) > 0 {
		w.do("CLIENT", "KILL", "ID", ids[w.rng.IntN(len(ids))])
	}
}

// pushes treats the pushes of a name to some members for a while.
func pushes(name string, r faultproxy.Rule) func(w *world) int {
	r.Class, r.Only = faultproxy.Push, name
	return func(w *world) int {
		return w.some(func(p *faultproxy.Proxy) { p.Apply(r) })
	}
}

// thenCut ends the connections, which makes members forget what they keep.
func thenCut(f func(w *world) int) func(w *world) int {
	return func(w *world) int {
		n := f(w)
		for _, p := range w.proxies {
			p.Cut()
		}
		return n
	}
}

// some breaks the proxies of some members, lets that last, and heals them; each
// is one injection.
func (w *world) some(f func(p *faultproxy.Proxy)) (n int) {
	for i, p := range w.proxies {
		if i == w.rng.IntN(len(w.proxies)) || w.rng.IntN(2) == 0 {
			f(p)
			n++
		}
	}
	w.hold(w.span())
	for _, p := range w.proxies {
		p.Heal()
	}
	return n
}

// evict fills the server beyond maxmemory, so that it evicts, or refuses.
func (w *world) evict(policy string) int {
	before := w.stat("evicted_keys")
	w.config1("maxmemory-policy", policy)
	used, err := w.server.Do(w.t, "EVAL", "return tonumber(string.match(redis.call('INFO','memory'), 'used_memory:(%d+)'))", "0").ToInt64()
	require.NoError(w.t, err)
	w.config1("maxmemory", fmt.Sprint(used+100_000))
	// By a script that ignores refusals: the server makes room before each write.
	w.do("EVAL", "for i = 1, 200 do redis.pcall('SET', 'junk:' .. i, string.rep('x', 2000), 'PX', 600000) end", "0")
	w.hold(w.span())
	w.config1("maxmemory", fmt.Sprint(used-200_000))
	w.hold(w.span())
	if policy != "noeviction" {
		require.Greater(w.t, w.stat("evicted_keys"), before, "%s has to evict", policy)
	}
	w.config1("maxmemory", "0")
	w.do("EVAL", "for i = 1, 200 do redis.call('DEL', 'junk:' .. i) end", "0")
	return 2
}
