package coherence

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/internal/faultproxy"
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
}

// spared says where a fault may do to a key what the cache does not promise to
// find out.
type spared int

const (
	nowhere spared = iota
	tracked        // without tracking, the change log tells of it
	everywhere
)

func (s spared) in(cfg Config) bool { return s == everywhere || s == tracked && !cfg.NoTracking }

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
	{name: "notices duplicated", run: pushes("invalidate", faultproxy.Rule{Action: faultproxy.Duplicate})},
	// A server that sent a notice has forgotten that the key is tracked, so what a
	// lost or late one would have taken away stays: TCP does not lose or reorder.
	// What the log carries must hold without any notice.
	{name: "notices dropped", spares: tracked, run: thenCut(pushes("invalidate", faultproxy.Rule{Action: faultproxy.Drop}))},
	{name: "notices held", spares: tracked, run: thenCut(pushes("invalidate", faultproxy.Rule{Action: faultproxy.Hold}))},
	{name: "notices reordered", spares: tracked, run: thenCut(pushes("invalidate", faultproxy.Rule{Action: faultproxy.Reorder}))},
	{name: "replies held, notices overtake them", run: func(w *world) int {
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
	{name: "connections forgotten, and remembered", spares: everywhere, run: func(w *world) int {
		return w.some(func(p *faultproxy.Proxy) { p.FreezePresent() })
	}},
	{name: "half-open, to the server", run: func(w *world) int {
		return w.some(func(p *faultproxy.Proxy) { p.Freeze(faultproxy.ToServer) })
	}},
	{name: "half-open, to the client", run: func(w *world) int {
		return w.some(func(p *faultproxy.Proxy) { p.Freeze(faultproxy.ToClient) })
	}},
	{name: "throttled", run: func(w *world) int {
		return w.some(func(p *faultproxy.Proxy) { p.Throttle(faultproxy.ToClient, 20_000) })
	}},
	{name: "connections cut", run: times(4, func(w *world) { w.any().Cut() })},
	{name: "connections reset", run: times(4, func(w *world) { w.any().Reset() })},
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
