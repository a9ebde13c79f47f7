package remote

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/valkey-io/valkey-go"

	"github.com/tiercache/tiercache/internal/backend"
	"github.com/tiercache/tiercache/internal/changelog"
	"github.com/tiercache/tiercache/internal/joined"
	"github.com/tiercache/tiercache/internal/mono"
	"github.com/tiercache/tiercache/internal/recovery"
	"github.com/tiercache/tiercache/internal/serverclock"
)

// shards are the primaries of a cluster as they say of themselves that they are:
// each is asked, with every heartbeat, which slots it has. That is what tells of a
// slot that moved: the server says nothing to those that had read a missing key of
// it, and the client finds out when it is next redirected.
type shards struct {
	c    *valkeyConn
	wake chan struct{} // a probe is wanted now

	bySlot atomic.Pointer[[backend.Slots]*backend.Shard]

	mu     sync.Mutex // guards what follows, and that bySlot is made of it
	nodes  map[string]*node
	owners *[backend.Slots]*node // of which bySlot was made; nil of a slot that is no server's
	logAt  mono.Time             // when the log was last asked for; 0: not yet
	probes map[string]*probes
}

// node is a primary.
type node struct {
	address string
	shards  [backend.Slots / backend.SlotsTogether]*backend.Shard // nil where it has no slot
	state   nodeState
	sent    mono.Time // when it was asked
	// what was asked by then proves nothing
	lostAt mono.Time
}

func newShards(c *valkeyConn) *shards {
	k := &shards{c: c, wake: make(chan struct{}, 1), nodes: make(map[string]*node), owners: new([backend.Slots]*node), probes: make(map[string]*probes)}
	k.publishLocked()
	return k
}

// of returns the shard of a key.
func (k *shards) of(key string) *backend.Shard { return k.bySlot.Load()[backend.SlotOf(key)] }

// run probes until ctx ends.
func (k *shards) run(ctx context.Context) {
	heartbeat := k.c.o.Heartbeat
	tick := time.NewTicker(heartbeat)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			// guard: idle-cluster
			if k.idle(mono.Now()) {
				continue
			}
		case <-k.wake:
		}
		pctx, cancel := context.WithTimeout(ctx, max(heartbeat, k.c.o.Timeout))
		_ = k.prove(pctx) // a read that needs a proof sees that there is none
		cancel()
	}
}

// idle reports whether the log is not being followed with every heartbeat: the store is idle, and
// needs no proofs either. A read after that asks for what it needs, and for the log, and so ends it.
// A heartbeat that waits for its answer is no idling.
func (k *shards) idle(now mono.Time) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.logAt != 0 && now.Sub(k.logAt) > max(4*k.c.o.Heartbeat, 2*k.c.o.Timeout)
}

// wakeUp never blocks.
func (k *shards) wakeUp() {
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

// lost is called when it is not known what was lost.
func (k *shards) lost() {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, n := range k.nodes {
		n.lose()
	}
	k.publishLocked()
	k.wakeUp()
}

// lose is called when the connection to a server has ended, or another is about to be used: what it told of its keys may be lost.
// A server that is not known as a primary has told of no key by which a copy is believed.
func (k *shards) lose(address string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if n := k.nodes[address]; n != nil {
		// guard: V1-lost-shard
		n.lose()
		k.publishLocked()
	}
	k.wakeUp()
}

// lose has the shards be gone. Nothing that was asked before proves the next.
func (n *node) lose() {
	n.lostAt = mono.Now()
	for i := range n.shards {
		n.replace(i)
	}
}

// replace has a shard be gone, if there is one, and another in its place.
func (n *node) replace(i int) {
	was := n.shards[i]
	if was == nil {
		return
	}
	next := &backend.Shard{Addr: n.address}
	next.Reading.Store(was.Reading.Load())
	was.ProvenAt.Store(0)
	n.shards[i] = next
}

// shardOf is that of a slot which the server has.
func (n *node) shardOf(slot int) *backend.Shard {
	i := slot / backend.SlotsTogether
	if n.shards[i] == nil {
		n.shards[i] = &backend.Shard{Addr: n.address}
	}
	return n.shards[i]
}

// prove has the primaries answer. It returns an error if none does for some slot.
func (k *shards) prove(ctx context.Context) error {
	begun, clients := mono.Now(), k.c.cluster.Nodes()
	known := k.knownPrimaries(clients)
	err := k.probeAll(ctx, clients, func(address string) bool { return known[address] })
	if k.uncovered(begun) < 0 {
		return nil
	}
	// A replica may have been promoted; or a slot has moved from a server that had not been asked yet to one that had.
	err = joined.Errors(err, k.probeAll(ctx, clients, func(string) bool { return true }))
	slot := k.uncovered(begun)
	if slot < 0 {
		return nil
	}
	// Perhaps a server has it of which the client does not know: being redirected,
	// it will.
	b := newBatch()
	b.add("EXISTS", k.keyIn(slot))
	runOne(ctx, k.c.cluster, b)
	return joined.Errors(fmt.Errorf("no primary of the cluster answers for slot %d", slot), err)
}

// proveOf has those primaries answer that have the keys.
func (k *shards) proveOf(ctx context.Context, keys []string) error {
	addresses := make(map[string]bool)
	for _, key := range keys {
		addresses[k.of(key).Addr] = true
	}
	if !addresses[backend.NoShard.Addr] {
		err := k.probeAll(ctx, k.c.cluster.Nodes(), func(address string) bool { return addresses[address] })
		// One that is a replica by now has answered, and proves nothing.
		// guard: R6-demoted-server-proves-nothing
		if err == nil && !slices.ContainsFunc(keys, func(key string) bool { return k.of(key).Gone() }) {
			return nil
		}
	}
	return k.prove(ctx)
}

// knownPrimaries returns the addresses of the primaries that there were, and forgets those
// that the client does not have any more.
func (k *shards) knownPrimaries(clients map[string]valkey.Client) map[string]bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	known, left := make(map[string]bool, len(k.nodes)), false
	for address := range k.nodes {
		if clients[address] != nil {
			known[address] = true
		} else {
			left = k.dropLocked(address)
		}
	}
	if left {
		k.publishLocked()
	}
	return known
}

// probeAll probes servers, at once.
func (k *shards) probeAll(ctx context.Context, clients map[string]valkey.Client, which func(address string) bool) error {
	var asked sync.WaitGroup
	var mu sync.Mutex // guards errs
	var errs []error
	for address, client := range clients {
		if !which(address) {
			continue
		}
		asked.Go(func() {
			err := recovery.ErrPanicked // unless it returns
			defer k.c.o.Panics.Recover("asking the servers of a cluster", k.lost)
			defer func() {
				if err != nil {
					mu.Lock()
					defer mu.Unlock()
					errs = append(errs, fmt.Errorf("%s: %w", address, err))
				}
			}()
			err = k.joinProbe(ctx, address, client)
		})
	}
	asked.Wait()
	return joined.Errors(errs...)
}

// recordState notes what a server said to a probe, and its clock then. usable: that proves its keys.
func (k *shards) recordState(address string, said nodeState, clock serverclock.Reading, usable bool) {
	sent := clock.Asked
	k.mu.Lock()
	defer k.mu.Unlock()
	n := k.nodes[address]
	switch {
	case n != nil && sent < n.sent:
		return // a later answer was here first
	case said.slots == "":
		if k.dropLocked(address) {
			k.publishLocked()
		}
		return
	case n == nil || !n.state.sameServer(said):
		k.dropLocked(address)
		n = &node{address: address}
		k.nodes[address] = n
	}
	changed := n.sent == 0 || n.state != said
	n.state, n.sent = said, sent
	if changed {
		k.publishLocked() // which makes the shards
	}
	for _, s := range n.shards {
		if s == nil {
			continue
		}
		s.Reading.Store(&clock)
		// guard: I2-isolated-primary
		// guard: V1-earlier-probe
		// guard: I6-admitted-server-is-unproven
		if said.healthy && usable && sent > n.lostAt {
			s.ProvenAt.Store(int64(sent))
		}
	}
}

func (k *shards) dropLocked(address string) bool {
	n := k.nodes[address]
	if n == nil {
		return false
	}
	delete(k.nodes, address)
	for _, s := range n.shards {
		if s != nil {
			s.ProvenAt.Store(0)
		}
	}
	return true
}

// publishLocked makes bySlot of the nodes. A slot that is being moved is no server's:
// a key of it may be here or there. One that is another's than before ends the shard that it was of: the server that had it
// tells no more of its keys, missing ones included, and may go on for a while as if it had it.
func (k *shards) publishLocked() {
	owners, table := new([backend.Slots]*node), new([backend.Slots]*backend.Shard)
	nodes := slices.SortedFunc(maps.Values(k.nodes), func(a, b *node) int { return int(a.state.epoch - b.state.epoch) })
	for _, n := range nodes {
		for r := range strings.FieldsSeq(n.state.slots) {
			if moving, ok := movingSlot(r); ok {
				// guard: I2-migrating-slot
				owners[moving] = nil
				continue
			}
			from, to := slotRange(r)
			for i := from; i <= to; i++ {
				owners[i] = n
			}
		}
	}
	for i, was := range k.owners {
		// guard: I2-shard-slots
		if was != nil && owners[i] != was {
			was.replace(i / backend.SlotsTogether)
		}
	}
	for i, n := range owners {
		if table[i] = backend.NoShard; n != nil {
			table[i] = n.shardOf(i)
		}
	}
	k.owners = owners
	k.bySlot.Store(table)
}

// movingSlot reads "[93-<-id]" and "[77->-id]".
func movingSlot(s string) (slot int, ok bool) {
	if !strings.HasPrefix(s, "[") {
		return 0, false
	}
	number, _, _ := strings.Cut(s[1:], "-")
	n, err := strconv.Atoi(number)
	return n, err == nil && n >= 0 && n < backend.Slots
}

// slotRange reads "5-7" and "5"; what is neither is no slot.
func slotRange(s string) (from, to int) {
	a, b, ok := strings.Cut(s, "-")
	if !ok {
		b = a
	}
	from, err1 := strconv.Atoi(a)
	to, err2 := strconv.Atoi(b)
	if err1 != nil || err2 != nil || from < 0 || to >= backend.Slots {
		return 0, -1
	}
	return from, to
}

// uncovered returns a slot for which no primary has answered since, or -1. One that
// is being moved has its old primary for the purpose.
func (k *shards) uncovered(since mono.Time) int {
	k.mu.Lock()
	defer k.mu.Unlock()
	var covered [backend.Slots]bool
	for _, n := range k.nodes {
		if n.sent < since || !n.state.healthy {
			continue
		}
		for r := range strings.FieldsSeq(n.state.slots) {
			from, to := slotRange(r)
			for i := from; i <= to; i++ {
				covered[i] = true
			}
		}
	}
	return slices.Index(covered[:], false)
}

// keyIn returns a key of the store that is in a slot.
func (k *shards) keyIn(slot int) string {
	key := append(make([]byte, 0, 16), '{')
	for i := 0; ; i++ {
		key = append(strconv.AppendInt(key[:1], int64(i), 10), '}')
		if backend.SlotOf(string(key)) == slot {
			return k.c.o.Prefix + ":" + string(key)
		}
	}
}

// get reads keys wherever they are and, with q, has the log and all that answer
// for the keys prove meanwhile that what is read can be judged.
func (k *shards) get(ctx context.Context, heads, keys []string, q *changelog.DeltaQuery) (items []backend.Item, d changelog.Delta, err error) {
	var beside sync.WaitGroup
	var deltaErr, proofErr error
	if q != nil {
		deltaErr = recovery.ErrPanicked // unless it returns
		beside.Go(func() {
			defer k.c.o.Panics.Recover("reading the log", k.c.cluster.reset)
			d, deltaErr = k.delta(ctx, q)
		})
		if names := slices.Concat(heads, keys); len(names) > 0 {
			proofErr = recovery.ErrPanicked
			beside.Go(func() {
				defer k.c.o.Panics.Recover("asking for a proof", k.lost)
				proofErr = k.proveOf(ctx, names)
			})
		}
	}
	items, err = k.read(ctx, heads, keys)
	beside.Wait()
	return items, d, joined.Errors(deltaErr, proofErr, err)
}

func (k *shards) read(ctx context.Context, heads, keys []string) ([]backend.Item, error) {
	if len(heads) > 0 {
		return k.readHeads(ctx, heads, keys)
	}
	most := shareOf(len(keys))
	begin := func(keys []string) ([]backend.Item, error) {
		b := newBatch()
		for _, key := range keys {
			k.c.addRead(b, key, most)
		}
		return itemsOf(k.c.cluster.ask(ctx, b))
	}
	items, err := begin(keys)
	if err == nil && len(keys) > 0 {
		k.c.complete(ctx, keys, items, most, begin)
		if len(keys) == 1 {
			err = items[0].Err
		}
	}
	return items, err
}

// readHeads is read behind the heads of other entries, which it reads at the same time.
func (k *shards) readHeads(ctx context.Context, heads, keys []string) (items []backend.Item, err error) {
	var beside sync.WaitGroup
	var rest []backend.Item
	var restErr error
	if len(keys) > 0 {
		restErr = recovery.ErrPanicked // unless it returns
		beside.Go(func() {
			defer k.c.o.Panics.Recover("reading entries", k.c.cluster.reset)
			rest, restErr = k.read(ctx, nil, keys)
		})
	}
	b := newBatch()
	addHeads(b, heads)
	items, err = headsOf(k.c.cluster.ask(ctx, b))
	beside.Wait()
	return append(items, rest...), joined.Errors(err, restErr)
}

// delta asks the server that has the log, on the connection that it proves.
func (k *shards) delta(ctx context.Context, q *changelog.DeltaQuery) (changelog.Delta, error) {
	k.mu.Lock()
	k.logAt = mono.Now()
	k.mu.Unlock()
	for range maxAsked {
		address := k.of(k.c.log).Addr
		client, ok := k.c.cluster.Nodes()[address]
		if !ok {
			if err := k.prove(ctx); err != nil {
				return changelog.Delta{}, err
			}
			if k.of(k.c.log) == backend.NoShard {
				return changelog.Delta{}, errLogMoves
			}
			continue
		}
		on := server{client, k.c.cluster}
		_, d, usable, err := k.c.getWith(ctx, on, nil, nil, q)
		if err != nil {
			k.wakeUp() // another server may have it by now
		}
		if usable || err != nil {
			d.Sharded = true
			return d, err
		}
	}
	return changelog.Delta{}, errServers
}

var errLogMoves = errors.New("the change log is being moved to another server of the cluster")

// ahead is by how much the clock of a key's server is ahead of that of the log's.
func (k *shards) ahead(key string) time.Duration {
	here, known := k.of(key).Clock()
	there, both := k.of(k.c.log).Clock()
	if !known || !both {
		return 0 // not known yet
	}
	return here.At.Sub(there.At) - here.Asked.Sub(there.Asked)
}

// primaries are those that are known.
func (k *shards) primaries(clients map[string]valkey.Client) (all []primaryClient) {
	for address := range k.knownPrimaries(clients) {
		all = append(all, primaryClient{address, server{clients[address], k.c.plain}})
	}
	slices.SortFunc(all, func(a, b primaryClient) int { return strings.Compare(a.address, b.address) })
	return all
}
