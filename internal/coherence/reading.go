package coherence

import (
	"context"
	"errors"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/tiercache/tiercache/tier"
)

// reading is one goroutine that reads, in all the ways there are.
type reading struct {
	*Member
	ctx     context.Context
	forever context.Context // ctx, which cannot end: callers of one may run their loaders themselves
	rng     *rand.Rand
	reader  *Reader
	keys    []string
	loaders []tier.Loader[Value]
	plain   int // how many of the reads of bursts there have been

	// A context that ends early is used by several reads, as that of a request is.
	brief context.Context
	end   context.CancelFunc
}

func (m *Member) newReading(ctx context.Context, rng *rand.Rand) *reading {
	r := &reading{Member: m, ctx: ctx, rng: rng, reader: NewReader(m.board, m.cfg.Member, m.cfg.MaxStaleness)}
	r.forever, r.end = context.WithoutCancel(ctx), func() {}
	if m.cfg.OwnReads {
		r.reader.Calm = m.calm
	}
	for s := range m.subjects() {
		r.keys = append(r.keys, strconv.Itoa(s))
		r.loaders = append(r.loaders, m.loader(s))
	}
	return r
}

func (m *Member) read(ctx context.Context, rng *rand.Rand) {
	r := m.newReading(ctx, rng)
	defer r.finish()
	m.paced(ctx, m.cfg.Pace, r.burst)
	m.mu.Lock()
	defer m.mu.Unlock()
	for p := range m.staleness {
		m.staleness[p].Merge(&r.reader.Staleness[p])
	}
}

func (r *reading) finish() { r.end() }

// pick is any subject, or every fourth time one that is being changed.
func (r *reading) pick(i int) int {
	if i%4 == 0 {
		return int(r.board.Tally(r.rng.IntN(r.cfg.Members)).Changing.Load())
	}
	return r.rng.IntN(r.subjects())
}

// burst is mostly plain reads, with other views between them, and some of the other
// calls.
func (r *reading) burst() {
	done := int64(0)
	for range r.cfg.Burst {
		i := r.plain
		r.plain++
		if i%16 == 0 {
			r.tally.Reads.Add(done)
			if done = 0; r.ctx.Err() != nil || r.board.Stopped() {
				return
			}
		}
		switch s := r.pick(i); {
		case i%128 == 127:
			done += r.getFrom(r.anyView(s), s, nil)
		case i%8 == 7 && !r.isCell(s):
			done += r.getOwn(s)
		default:
			done += r.getFrom(r.views(s)[0], s, nil)
		}
	}
	switch s := r.pick(r.rng.IntN(8)); r.rng.IntN(18) {
	case 0, 1, 2, 3, 4, 5:
		done += r.get(r.pick(0), true)
	case 6, 7:
		done += r.refresh(s)
	case 8, 9, 10:
		done += r.many(s, r.someOptions()...)
	case 11:
		done += r.getFrom(r.anyView(s), s, noLocal)
	case 12:
		done += r.lookup(s)
	case 13, 14:
		done += r.peek(s)
	case 15:
		done += r.ahead(s)
	case 16:
		done += r.badly(s)
	case 17:
		r.beside(s)
	}
	r.tally.Reads.Add(done)
}

var (
	fresh   = []tier.CallOption{tier.Fresh()}
	noLocal = []tier.CallOption{tier.NoLocal()}
)

func (r *reading) anyView(s int) *tier.Cache[Value] {
	all := r.views(s)
	return all[r.rng.IntN(len(all))]
}

func (r *reading) someOptions() []tier.CallOption {
	return [][]tier.CallOption{nil, noLocal, noLocal, fresh}[r.rng.IntN(4)]
}

// callContext is for one call. Of those that do not end early every other one cannot
// be called off.
func (r *reading) callContext() context.Context {
	if r.rng.IntN(100) < r.cfg.Ended {
		return r.briefly()
	}
	if r.rng.IntN(2) == 0 {
		return r.forever
	}
	return r.ctx
}

// briefly returns the present context that ends early, or the next one if it was
// over when it was last used: so one call each begins with one that has ended.
func (r *reading) briefly() context.Context {
	if r.brief == nil || r.brief.Err() != nil {
		r.end()
		last := r.brief
		if r.brief, r.end = brief(r.ctx, r.rng); last != nil {
			return last
		}
	}
	return r.brief
}

// get returns how many reads were checked.
func (r *reading) get(s int, reflects bool) int64 {
	if reflects {
		return r.getFrom(r.anyView(s), s, fresh)
	}
	return r.getFrom(r.views(s)[0], s, nil)
}

func (r *reading) getFrom(c *tier.Cache[Value], s int, options []tier.CallOption) int64 {
	ctx := r.callContext()
	e := r.reader.Call(s, len(options) == 1 && &options[0] == &fresh[0], Now())
	v, err := c.Get(ctx, r.keys[s], r.loaders[s], options...)
	return r.judge(ctx, s, e, v, err)
}

// getOwn reads a key that this process has for itself, made from the same source.
func (r *reading) getOwn(s int) int64 {
	ctx := r.callContext()
	e := r.reader.Call(s, false, Now())
	e.Apart()
	v, err := r.own[s%docNamespaces][0].Get(ctx, r.keys[s], r.loaders[s])
	return r.judge(ctx, s, e, v, err)
}

// badly reads a key whose loader names a source that is none, beside the right one:
// that is an error, which nothing may swallow. If something does, the value is judged.
func (r *reading) badly(s int) int64 {
	if r.isCell(s) || !r.cfg.BadSources {
		return 0
	}
	ctx := r.callContext()
	e := r.reader.Call(s, false, Now())
	e.Apart()
	v, err := r.anyView(s).Get(ctx, "bad-"+r.keys[s], func(ctx context.Context, entry *tier.Entry) (Value, error) {
		entry.DependsOn("", source(s))
		v := r.loadOne(ctx, s, r.loads.Add(1), true)
		if absent(v.version()) {
			return 0, tier.ErrNotFound
		}
		return v, nil
	})
	if err == nil || errors.Is(err, tier.ErrNotFound) {
		return r.judge(ctx, s, e, v, err)
	}
	return 0
}

// beside reads and sets a cell through a local-only view of the namespace of others,
// if such views are allowed to be: what it is given is its own affair, what the others
// are given is not.
func (r *reading) beside(s int) {
	if r.localCells == nil || !r.isCell(s) {
		return
	}
	ctx := r.callContext()
	_, _ = r.localCells.Get(ctx, r.keys[s], r.loaders[s])
	if r.rng.IntN(4) == 0 {
		_ = r.localCells.Set(ctx, r.keys[s], newValue(r.board.Subject(s).Truth(), 0))
	}
}

func (r *reading) lookup(s int) int64 {
	ctx := r.callContext()
	e := r.reader.Call(s, false, Now())
	out, err := r.anyView(s).Lookup(ctx, r.keys[s], r.loaders[s])
	return r.judge(ctx, s, e, out.Value, err)
}

func (r *reading) refresh(s int) int64 {
	ctx := r.callContext()
	e := r.reader.Call(s, false, Now())
	v, err := r.anyView(s).Refresh(ctx, r.keys[s], r.loaders[s])
	return r.judge(ctx, s, e, v, err)
}

// peek judges what it finds; that it finds nothing is always right.
func (r *reading) peek(s int) int64 {
	ctx := r.callContext()
	e := r.reader.Call(s, false, Now())
	v, ok, err := r.anyView(s).Peek(ctx, r.keys[s])
	if errors.Is(err, tier.ErrUnavailable) || err == nil && !ok {
		return 0 // it has no loader
	}
	return r.judge(ctx, s, e, v, err)
}

// ahead reads the truth, which may be ahead of what was told, and at once what the
// tiers have: in which order that becomes known is not for the caller to see.
func (r *reading) ahead(s int) int64 {
	return r.refresh(s) + r.many(s, noLocal...) + r.peek(s) + r.getFrom(r.views(s)[0], s, nil)
}

// many reads subjects of one cache together.
func (r *reading) many(s int, options ...tier.CallOption) int64 {
	var keys []string
	var expected [MaxSubjects]Expected
	ctx, now := r.callContext(), Now()
	step := docNamespaces
	if r.isCell(s) {
		step = 1
	}
	reflects := len(options) == 1 && &options[0] == &fresh[0]
	for i := s; i < r.subjects() && r.isCell(i) == r.isCell(s); i += step {
		keys = append(keys, r.keys[i])
		expected[i] = r.reader.Call(i, reflects, now)
	}
	found, err := r.anyView(s).GetMany(ctx, keys, r.loadMany, options...)
	done := int64(0)
	for _, key := range keys {
		i, _ := strconv.Atoi(key) // our own
		if v, ok := found[key]; ok {
			done += r.judge(ctx, i, expected[i], v, nil)
		} else if err == nil {
			done += r.judge(ctx, i, expected[i], 0, tier.ErrNotFound)
		}
	}
	if err != nil {
		r.failedWith(ctx, err)
	}
	return done
}

func (r *reading) judge(ctx context.Context, s int, e Expected, v Value, err error) int64 {
	var violation *Violation
	switch {
	case err == nil:
		violation = r.reader.Return(s, e, v.version(), v.load())
	case errors.Is(err, tier.ErrNotFound) && !r.isCell(s):
		violation = r.reader.ReturnAbsent(s, e)
	default:
		r.failedWith(ctx, err)
		return 0
	}
	if violation != nil {
		r.report(violation)
	}
	return 1
}

// failedWith counts a read that failed, though no loader does: see invariant I8. At
// the fleet's end reads are called off, which is no failure, and neither is it one
// that its context had ended.
func (r *reading) failedWith(ctx context.Context, err error) {
	if r.ctx.Err() != nil {
		return
	}
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		r.tally.Ended.Add(1)
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
			if absent(v.version()) {
				return 0, tier.ErrNotFound
			}
		}
		return v, nil
	}
}

func (m *Member) loadMany(ctx context.Context, keys []string, es tier.Entries) (map[string]Value, error) {
	out := make(map[string]Value, len(keys))
	for _, key := range keys {
		s, _ := strconv.Atoi(key) // our own
		v := m.loadOne(ctx, s, m.loads.Add(1), false)
		if !m.isCell(s) {
			es.For(key).DependsOn(source(s))
			if absent(v.version()) {
				continue
			}
		}
		out[key] = v
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
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}
