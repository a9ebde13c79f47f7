package coherence

import (
	"net/url"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/internal/valkeytest"
)

// clusterWorld is what a fleet on a cluster has beside its members.
type clusterWorld struct {
	*valkeytest.Cluster
	owner map[int]int // of slots that have been moved, by the number of their shard
}

// url names all servers, so that a member can join while one is gone.
func (c *clusterWorld) url() string {
	u := url.URL{Scheme: "valkey"}
	q := url.Values{}
	for i, addr := range c.Addrs() {
		if i == 0 {
			u.Host = addr
		} else {
			q.Add("addr", addr)
		}
	}
	u.RawQuery = q.Encode()
	return u.String()
}

// swapped notes that a shard's replica has been promoted.
func (c *clusterWorld) swapped(shard int) {
	c.Primaries[shard], c.Replicas[shard] = c.Replicas[shard], c.Primaries[shard]
}

// settle waits until each shard has one primary, and notes which: on a slow machine
// the servers may find each other dead without being asked.
func (w *world) settle() *clusterWorld {
	c := w.cluster
	w.until("each shard has one primary", func() bool {
		for i, p := range c.Primaries {
			a, b := p.Role(w.t), c.Replicas[i].Role(w.t)
			if a == b {
				return false
			}
			if b == "master" {
				c.swapped(i)
			}
		}
		return true
	})
	c.AwaitWhole(w.t)
	return c
}

// ownerOf returns the number of the shard that has a slot.
func (c *clusterWorld) ownerOf(slot int) int {
	if i, moved := c.owner[slot]; moved {
		return i
	}
	const slots = 16384
	for i := range c.Primaries {
		if n := len(c.Primaries); slot >= i*slots/n && slot < (i+1)*slots/n {
			return i
		}
	}
	panic("no such slot")
}

// move has another shard have a slot. The members go on, and meet every moment of it.
func (w *world) move(slot int64) {
	c, hold := w.settle(), w.rng.IntN(2) == 0
	from := c.ownerOf(int(slot))
	to := (from + 1 + w.rng.IntN(len(c.Primaries)-1)) % len(c.Primaries)
	c.MoveSlot(w.t, int(slot), c.Primaries[from], c.Primaries[to], func() {
		if hold {
			w.hold(w.span())
		}
	})
	c.owner[int(slot)] = to
}

func (w *world) slotOf(key string) int64 {
	slot, err := w.cluster.Primaries[0].Do(w.t, "CLUSTER", "KEYSLOT", key).AsInt64()
	require.NoError(w.t, err)
	return slot
}

// anyKey returns a key of some member's making.
func (w *world) anyKey() string {
	for {
		s := w.cluster.Primaries[w.rng.IntN(len(w.cluster.Primaries))]
		keys, err := s.Do(w.t, "KEYS", w.cfg.Prefix+":d:*}").AsStrSlice()
		require.NoError(w.t, err)
		if len(keys) > 0 {
			return keys[w.rng.IntN(len(keys))]
		}
	}
}

func (w *world) anyShard() int { return w.rng.IntN(len(w.cluster.Primaries)) }

// Faults of a cluster of three primaries, each with a replica.
var clusterFaults = []fault{
	{name: "CLUSTER FAILOVER", run: func(w *world) int {
		w.settle()
		i := w.anyShard()
		w.cluster.Replicas[i].AwaitReplica(w.t, w.cluster.Primaries[i])
		w.cluster.Failover(w.t, w.cluster.Replicas[i])
		w.cluster.swapped(i)
		w.cluster.Replicas[i].AwaitReplica(w.t, w.cluster.Primaries[i])
		return 1
	}},
	{name: "a primary killed, its replica promoted", run: func(w *world) int {
		w.settle()
		w.board.Excuse()
		i := w.anyShard()
		w.cluster.Primaries[i].Kill()
		w.cluster.AwaitPromoted(w.t, w.cluster.Replicas[i])
		w.cluster.swapped(i)
		w.cluster.Replicas[i].Restart()
		w.cluster.Replicas[i].AwaitReplica(w.t, w.cluster.Primaries[i])
		w.recovered()
		w.board.Forgive(Now())
		return 1
	}},
	{name: "SIGSTOP of a primary", run: func(w *world) int {
		s := w.settle().Primaries[w.anyShard()]
		s.Pause()
		w.hold(w.span()) // less than it takes to be replaced
		s.Resume()
		w.cluster.AwaitWhole(w.t)
		return 1
	}},
	{name: "the slot of the change log moved", run: func(w *world) int {
		w.move(w.slotOf(w.logKey()))
		return 1
	}},
	{name: "slots of entries moved", run: times(3, func(w *world) { w.move(w.slotOf(w.anyKey())) })},
	{name: "CLIENT KILL at one primary", run: times(4, func(w *world) {
		w.settle().Primaries[w.anyShard()].Do(w.t, "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
	})},
	{name: "FLUSHALL at one primary", run: times(4, func(w *world) { w.settle().Primaries[w.anyShard()].Do(w.t, "FLUSHALL") })},
	{name: "SCRIPT FLUSH at one primary", run: times(4, func(w *world) { w.settle().Primaries[w.anyShard()].Do(w.t, "SCRIPT", "FLUSH") })},
}

func TestClusterFaults(t *testing.T) {
	if raceDetector {
		t.Skip("it is run at full speed as well")
	}
	cfg := testConfig()
	// Seven servers share the machine with the fleet.
	cfg.MaxStaleness, cfg.Timeout = 2*cfg.MaxStaleness, 2*cfg.Timeout
	w := emptyWorld(t, cfg)
	w.cluster = &clusterWorld{valkeytest.StartCluster(t, 3), make(map[int]int)}
	w.populate()
	w.calm(100_000 / cfg.slowness())
	for range max(1, (rounds(t)+1)/2) {
		w.round(chosen(clusterFaults))
	}
	w.conclude()
}
