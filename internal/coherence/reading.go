package coherence

import (
	"context"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/tiercache/tiercache/tier"
)

// reading is one goroutine that reads, in all the ways there are.
type reading struct {
	*Member
	ctx     context.Context
	rng     *rand.Rand
	reader  *Reader
	keys    []string
	loaders []tier.Loader[Value]
}

func (m *Member) newReading(ctx context.Context, rng *rand.Rand) *reading {
	r := &reading{Member: m, ctx: ctx, rng: rng, reader: NewReader(m.board, m.cfg.Member, m.cfg.MaxStaleness)}
	for s := range m.subjects() {
		r.keys = append(r.keys, strconv.Itoa(s))
		r.loaders = append(r.loaders, m.loader(s))
	}
	return r
}

func (m *Member) read(ctx context.Context, rng *rand.Rand) {
	r := m.newReading(ctx, rng)
	m.paced(ctx, m.cfg.Pace, r.burst)
	m.mu.Lock()
	defer m.mu.Unlock()
	for p := range m.staleness {
		m.staleness[p].Merge(&r.reader.Staleness[p])
	}
}

// pick is any subject, or every fourth time one that is being changed.
func (r *reading) pick(i int) int {
	if i%4 == 0 {
		return int(r.board.Tally(r.rng.IntN(r.cfg.Members)).Changing.Load())
	}
	return r.rng.IntN(r.subjects())
}

// burst is mostly plain reads, and one of each of the others now and then.
func (r *reading) burst() {
	done := int64(0)
	for i := range r.cfg.Burst {
		if i%16 == 0 {
			r.tally.Reads.Add(done)
			if done = 0; r.ctx.Err() != nil || r.board.Stopped() {
				return
			}
		}
		done += r.get(r.pick(i), false)
	}
	switch s := r.pick(r.rng.IntN(8)); r.rng.IntN(8) {
	case 0, 1, 2, 3:
		done += r.get(r.pick(0), true)
	case 4:
		done += r.refresh(s)
	case 5:
		done += r.many(s)
	}
	r.tally.Reads.Add(done)
}

// callContext is for one call, which cannot be called off every other time: such callers
// may run their loaders themselves.
func (r *reading) callContext() context.Context {
	if r.rng.IntN(2) == 0 {
		return context.WithoutCancel(r.ctx)
	}
	return r.ctx
}

// get returns how many reads were checked.
func (r *reading) get(s int, fresh bool) int64 {
	e := r.reader.Call(s, fresh, Now())
	var v Value
	var err error
	if fresh {
		v, err = r.cache(s).Get(r.callContext(), r.keys[s], r.loaders[s], tier.Fresh())
	} else {
		v, err = r.cache(s).Get(r.callContext(), r.keys[s], r.loaders[s])
	}
	return r.judge(s, e, v, err)
}

func (r *reading) refresh(s int) int64 {
	e := r.reader.Call(s, false, Now())
	v, err := r.cache(s).Refresh(r.callContext(), r.keys[s], r.loaders[s])
	return r.judge(s, e, v, err)
}

// many reads subjects of one cache together.
func (r *reading) many(s int) int64 {
	var keys []string
	var expected [MaxSubjects]Expected
	now := Now()
	step := docNamespaces
	if r.isCell(s) {
		step = 1
	}
	for i := s; i < r.subjects() && r.cache(i) == r.cache(s); i += step {
		keys = append(keys, r.keys[i])
		expected[i] = r.reader.Call(i, false, now)
	}
	var options []tier.CallOption
	if r.rng.IntN(2) == 0 {
		options = []tier.CallOption{tier.NoLocal()}
	}
	found, err := r.cache(s).GetMany(r.callContext(), keys, r.loadMany, options...)
	done := int64(0)
	for key, v := range found {
		i, _ := strconv.Atoi(key) // our own
		done += r.judge(i, expected[i], v, nil)
	}
	if err != nil {
		r.failed(err)
	}
	return done
}

func (r *reading) judge(s int, e Expected, v Value, err error) int64 {
	if err != nil {
		r.failed(err)
		return 0
	}
	if violation := r.reader.Return(s, e, v.version(), v.load()); violation != nil {
		r.report(violation)
	}
	return 1
}

// failed counts a read that failed, though no loader does: see invariant I8. At
// the fleet's end reads are called off, which is no failure.
func (r *reading) failed(err error) {
	if r.ctx.Err() != nil {
		return
	}
	r.tally.Failures.Add(1)
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.failures) < keptViolations {
		r.failures = append(r.failures, err.Error())
	}
}

func (m *Member) report(v *Violation) {
	m.tally.Violations.Add(1)
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.violations) < keptViolations {
		m.violations = append(m.violations, v)
	}
}

// loader reads the truth of a subject. Some loads take time before that, and
// some after it, so that changes overtake them; in every other member so few that
// loads count as quick.
func (m *Member) loader(s int) tier.Loader[Value] {
	return func(ctx context.Context, e *tier.Entry) (Value, error) {
		n := m.loads.Add(1)
		v := m.loadOne(ctx, s, n, true)
		if !m.isCell(s) {
			e.DependsOn(source(s)) // after the read: the as-of covers it
		}
		return v, nil
	}
}

func (m *Member) loadMany(ctx context.Context, keys []string, es tier.Entries) (map[string]Value, error) {
	out := make(map[string]Value, len(keys))
	for _, key := range keys {
		s, _ := strconv.Atoi(key) // our own
		out[key] = m.loadOne(ctx, s, m.loads.Add(1), false)
		if !m.isCell(s) {
			es.For(key).DependsOn(source(s))
		}
	}
	return out, nil
}

func (m *Member) loadOne(ctx context.Context, s int, n int64, slowly bool) Value {
	subject, turns := m.board.Subject(s), int64(8)
	if m.cfg.Member%2 == 1 {
		turns = 32
	}
	start := Now()
	if slowly && n%turns == 1 {
		wait(ctx, time.Millisecond)
	}
	v := subject.Truth()
	subject.Note(Event{At: start, Kind: LoadStart, Member: m.cfg.Member, Version: v, Number: n})
	if slowly && n%turns == 2 {
		wait(ctx, time.Millisecond)
	}
	subject.Note(Event{At: Now(), Kind: LoadEnd, Member: m.cfg.Member, Version: v, Number: n})
	m.tally.Loads.Add(1)
	return newValue(v, n)
}

// wait is how slow loaders spend their time.
func wait(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
