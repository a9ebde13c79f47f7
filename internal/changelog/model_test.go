package changelog_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/internal/backend"
	"github.com/tiercache/tiercache/internal/changelog"
	"github.com/tiercache/tiercache/internal/embedded"
)

// fleet is several tails on one log whose messages are lost and reordered, and
// the naive model: every change that was acknowledged, in a list.
type fleet struct {
	hub   *embedded.Remote
	tails []*changelog.Tail
	conns []backend.Conn

	mu    sync.Mutex
	acked map[uint64][]change // by incarnation
	wires []*wire
}

// written is a connection that notes in the list what it records: tails record
// changes of their own accord as well.
type written struct {
	changelog.Log
	f *fleet
}

func (w written) Append(ctx context.Context, c changelog.Change) (changelog.Appended, error) {
	w.f.mu.Lock()
	defer w.f.mu.Unlock()
	a, err := w.Log.Append(ctx, c)
	if err == nil {
		w.f.acked[a.Incarnation] = append(w.f.acked[a.Incarnation], change{a.Tick, c.Scopes, c.All})
	}
	return a, err
}

const fleetPrefix = "model"

func newFleet(t *testing.T, n int, seed uint64) *fleet {
	f := &fleet{hub: embedded.New(0), acked: make(map[uint64][]change)}
	for i := range n {
		w := &wire{rnd: rand.New(rand.NewPCG(seed, uint64(i)))}
		conn, err := f.hub.Connect(t.Context(), backend.Options{Prefix: fleetPrefix, Timeout: time.Second, Events: backend.Events{
			Changed: func([]string) {}, Lost: w.lost, Published: w.published,
		}})
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, conn.Close()) })
		tail := follow(t, written{conn, f}, maxKnown(24))
		w.mu.Lock()
		w.tail = tail
		w.mu.Unlock()
		f.tails, f.conns, f.wires = append(f.tails, tail), append(f.conns, conn), append(f.wires, w)
	}
	return f
}

// wire loses, keeps back and repeats messages.
type wire struct {
	mu   sync.Mutex
	tail *changelog.Tail
	rnd  *rand.Rand
	kept []changelog.Message

	several int // messages of several changes
}

func (w *wire) lost() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.tail != nil {
		w.tail.Lost()
	}
}

func (w *wire) published(raw string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	m, err := changelog.ParseMessage(raw)
	if w.tail == nil || err != nil {
		return
	}
	if m.Several && len(m.Changes) > 1 {
		w.several++
	}
	switch w.rnd.IntN(5) {
	case 0: // lost
	case 1:
		w.kept = append(w.kept, m)
	case 2:
		w.tail.Receive(m)
		w.tail.Receive(m)
	default:
		w.tail.Receive(m)
	}
	if len(w.kept) > 0 && w.rnd.IntN(3) == 0 {
		for _, m := range w.kept {
			w.tail.Receive(m)
		}
		w.kept = nil
	}
}

// valid is rule R1 by the model, given the log's present incarnation.
func (f *fleet) valid(now uint64, e *entry) bool {
	if e.asOf.Incarnation != now {
		return false
	}
	for _, c := range f.acked[now] {
		if c.tick <= e.asOf.Tick {
			continue
		}
		if c.all {
			return false
		}
		for _, s := range c.scopes {
			for _, mine := range e.scopes {
				if s == mine {
					return false
				}
			}
		}
	}
	return true
}

// entry is a value as of some moment; the tail that loaded it holds its marks,
// as a local copy does.
type entry struct {
	asOf   AsOf
	scopes []Scope
	owner  int
	epoch  uint64
	marks  []*changelog.Mark
}

func randomScopes(rnd *rand.Rand, most int) []Scope {
	var out []Scope
	for range 1 + rnd.IntN(most) {
		// A few scopes change often, many seldom.
		n := rnd.IntN(8)
		if rnd.IntN(2) == 0 {
			n = rnd.IntN(80)
		}
		out = append(out, Scope(fmt.Sprintf("s:%d", n)))
	}
	return out
}

// Several goroutines change, read late and out of order, and disconnect at
// once; then all is quiet, every tail catches up, and each must judge every
// entry exactly as the list of changes does.
func TestTailsJudgeLikeTheListOfAllChanges(t *testing.T) {
	seed := rand.Uint64()
	if s := os.Getenv("TIERCACHE_SEED"); s != "" {
		seed, _ = strconv.ParseUint(s, 10, 64)
	}
	t.Logf("TIERCACHE_SEED=%d", seed)
	rounds := 300
	if testing.Short() {
		rounds = 30
	}
	f := newFleet(t, 3, seed)
	rnd := rand.New(rand.NewPCG(seed, 99))
	f.hub.Weigh(10) // so that many messages wait for the next one
	var entries []*entry
	verdicts := make(map[string]int)
	for round := range rounds {
		var all sync.WaitGroup
		var mu sync.Mutex // entries
		for i := range f.tails {
			for range 2 {
				rnd := rand.New(rand.NewPCG(rnd.Uint64(), 0))
				all.Go(func() {
					made := f.play(t, i, rnd)
					mu.Lock()
					entries = append(entries, made...)
					mu.Unlock()
				})
			}
		}
		all.Wait()
		if t.Failed() {
			return
		}
		switch rnd.IntN(12) {
		case 0:
			f.hub.Disconnect()
		case 1:
			for _, k := range f.hub.Keys() {
				if strings.HasSuffix(k, ":log") && rnd.IntN(3) == 0 {
					f.hub.Remove(k)
				}
			}
		}
		f.check(t, round, entries, verdicts)
		rnd.Shuffle(len(entries), func(i, j int) { entries[i], entries[j] = entries[j], entries[i] })
		for len(entries) > 60 {
			last := entries[len(entries)-1]
			f.tails[last.owner].Release(last.marks)
			entries = entries[:len(entries)-1]
		}
	}
	for _, e := range entries {
		f.tails[e.owner].Release(e.marks)
	}
	for _, tail := range f.tails {
		require.LessOrEqual(t, tail.Health().Scopes, 24, "nothing is held any more")
	}
	for _, w := range f.wires {
		w.mu.Lock()
		verdicts["told of several"] += w.several
		w.mu.Unlock()
	}
	t.Log(verdicts)
	require.NotZero(t, verdicts["told of several"])
	require.NotZero(t, verdicts["valid"])
	require.NotZero(t, verdicts["changed"])
	require.NotZero(t, verdicts["learnt"])
	require.NotZero(t, verdicts["local copy valid"])
}

// play is what one goroutine of a process does in a round.
func (f *fleet) play(t *testing.T, i int, rnd *rand.Rand) (made []*entry) {
	tail, ctx := f.tails[i], t.Context()
	type reading struct {
		q changelog.Query
		d changelog.Delta
	}
	var late []reading
	for range 1 + rnd.IntN(6) {
		switch rnd.IntN(8) {
		case 0, 1, 2:
			scopes, all := randomScopes(rnd, 6), rnd.IntN(150) == 0
			asOf, err := tail.Change(ctx, scopes, all, 0)
			if err != nil {
				t.Errorf("change: %v", err)
				return made
			}
			before := asOf
			before.Tick--
			marks := tail.Pin(scopes)
			if v := tail.Judge(before, marks); v == valid && before.Incarnation == tail.View().Incarnation {
				t.Errorf("own change at %v is not seen by the process that made it", asOf)
			}
			tail.Release(marks)
		case 3, 4:
			v := tail.View()
			e := &entry{asOf: v.AsOf(), epoch: v.Epoch, scopes: randomScopes(rnd, 4), owner: i}
			e.marks = tail.Pin(e.scopes)
			made = append(made, e)
		case 5:
			var ask []Scope
			if rnd.IntN(2) == 0 {
				ask = randomScopes(rnd, 4)
			}
			q := tail.Query(ask)
			d, err := f.conns[i].Delta(ctx, q.DeltaQuery)
			if err != nil {
				t.Errorf("delta: %v", err)
			}
			late = append(late, reading{q, d})
		case 6:
			if err := tail.CatchUp(ctx); err != nil {
				t.Errorf("catch up: %v", err)
			}
		default:
			if err := tail.Fetch(ctx, randomScopes(rnd, 4)); err != nil {
				t.Errorf("learn: %v", err)
			}
		}
	}
	rnd.Shuffle(len(late), func(i, j int) { late[i], late[j] = late[j], late[i] })
	for _, r := range late {
		if _, err := tail.Apply(ctx, r.q, r.d); err != nil {
			t.Errorf("apply: %v", err)
		}
	}
	return made
}

func (f *fleet) check(t *testing.T, round int, entries []*entry, verdicts map[string]int) {
	t.Helper()
	ctx := t.Context()
	for _, tail := range f.tails {
		require.NoError(t, tail.CatchUp(ctx))
	}
	for _, tail := range f.tails { // each may have turned to a new log
		require.Eventually(t, func() bool { return !tail.Health().UndeliveredAll }, 30*time.Second, 100*time.Microsecond)
	}
	for i, tail := range f.tails {
		require.NoError(t, tail.CatchUp(ctx)) // the first may have begun a new log
		now := tail.View()
		require.Equal(t, f.tails[0].View().Incarnation, now.Incarnation)
		for _, e := range entries {
			want := f.valid(now.Incarnation, e)
			if e.owner == i && e.epoch == now.Epoch {
				v := tail.Judge(e.asOf, e.marks)
				require.False(t, v == valid && !want, "round %d: tail %d serves its copy as of %v of %v, which changed", round, i, e.asOf, e.scopes)
				if v == valid {
					verdicts["local copy valid"]++
				}
			}
			marks := tail.Pin(e.scopes)
			v := tail.Judge(e.asOf, marks)
			require.False(t, v == valid && !want, "round %d: tail %d believes what is as of %v of %v, which changed", round, i, e.asOf, e.scopes)
			if v == unknown {
				verdicts["learnt"]++
				require.NoError(t, tail.Fetch(ctx, e.scopes))
				v = tail.Judge(e.asOf, marks)
			}
			tail.Release(marks)
			require.Equal(t, want, v == valid, "round %d: tail %d says %d of what is as of %v of %v", round, i, v, e.asOf, e.scopes)
			verdicts[map[bool]string{true: "valid", false: "changed"}[want]]++
		}
	}
}
