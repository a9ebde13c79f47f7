package coherence

import (
	"context"
	"errors"
	"math/rand/v2"
	"strconv"

	"github.com/tiercache/tiercache/tier"
)

// change changes docs that the member owns and cells that it can get hold of, and
// reads each at once: that is what invariant I1 is about.
func (m *Member) change(ctx context.Context, rng *rand.Rand) {
	r := m.newReading(ctx, rng)
	defer r.finish()
	m.paced(ctx, m.cfg.Pace, func() {
		for s := m.cfg.Member; s < m.subjects(); s += m.cfg.Members {
			if m.board.Subject(s).Wanted() && m.changeOne(ctx, s, rng, r) == nil {
				m.board.Subject(s).wanted.Store(0)
			}
		}
		if rng.IntN(1000) < m.cfg.Changes {
			s := m.changeable(rng)
			brief, cancel := m.context(ctx, rng)
			_ = m.changeOne(brief, s, rng, r) // noted there
			cancel()
			m.tally.Reads.Add(r.get(s, rng.IntN(4) == 0))
		}
	})
}

func (m *Member) changeOne(ctx context.Context, s int, rng *rand.Rand, r *reading) error {
	if m.isCell(s) {
		return m.changeCells(ctx, s, rng)
	}
	return m.changeDoc(ctx, s, rng, r)
}

// changeable picks a doc that no other member changes, or any cell: every other time
// the one whose write failed last.
func (m *Member) changeable(rng *rand.Rand) int {
	n := rng.IntN(m.subjects())
	if m.board.quiet.Load() != 0 && m.cfg.Cells > 0 {
		n = m.cfg.Docs + rng.IntN(m.cfg.Cells)
	}
	if n >= m.cfg.Docs {
		if s, ok := m.board.LatestGivenUp(); ok && rng.IntN(2) == 0 {
			return s
		}
		return n
	}
	n = (m.cfg.Docs - m.cfg.Member + m.cfg.Members - 1) / m.cfg.Members
	return m.cfg.Member + rng.IntN(n)*m.cfg.Members
}

// changeDoc changes the truth and then tells. That the call failed is no excuse
// for this member's own reads. Now and then the member reads the new truth, before
// it tells: its own reads give no less from then on.
func (m *Member) changeDoc(ctx context.Context, s int, rng *rand.Rand, r *reading) error {
	return m.version([]int{s}, func([]int64) error {
		if rng.IntN(8) == 0 {
			m.tally.Reads.Add(r.ahead(s))
		}
		var err error
		switch rng.IntN(50) {
		case 0:
			_, err = m.store.InvalidateAll(ctx)
		case 1, 2:
			_, err = m.docs[s%docNamespaces][0].Invalidate(ctx)
		default:
			_, err = m.store.InvalidateSource(ctx, source(s))
		}
		return err
	}, true)
}

var errHeld = errors.New("coherence: another member is writing")

// changeCells sets or deletes a key, or sets several, through any view. After an
// error it is not known what they hold (a Set promises nothing then), so only
// success counts.
func (m *Member) changeCells(ctx context.Context, s int, rng *rand.Rand) error {
	var held []int
	for i := range 1 + rng.IntN(3)/2*2 { // one, or three
		if next := m.cfg.Docs + (s-m.cfg.Docs+i)%m.cfg.Cells; m.board.Subject(next).Hold(m.cfg.Member) {
			held = append(held, next)
		} else if i == 0 {
			return errHeld
		}
	}
	defer func() {
		for _, s := range held {
			m.board.Subject(s).Free(m.cfg.Member)
		}
	}()
	c := m.cells[rng.IntN(len(m.cells))]
	return m.version(held, func(versions []int64) error {
		keys, values := make([]string, len(held)), make(map[string]Value)
		for i, s := range held {
			keys[i] = strconv.Itoa(s)
			values[keys[i]] = newValue(versions[i], 0)
		}
		switch {
		case rng.IntN(4) == 0:
			return c.Delete(ctx, keys...)
		case len(keys) > 1:
			return c.SetMany(ctx, values)
		case rng.IntN(8) == 0:
			return c.Set(ctx, keys[0], values[keys[0]], tier.WithAsOf(m.store.AsOf()))
		}
		return c.Set(ctx, keys[0], values[keys[0]])
	}, false)
}

// version begins the next version of each subject and has it told.
func (m *Member) version(subjects []int, tell func(versions []int64) error, distrusted bool) error {
	versions := make([]int64, len(subjects))
	note := func(k Kind) {
		for i, s := range subjects {
			m.board.Subject(s).Note(Event{At: Now(), Kind: k, Member: m.cfg.Member, Version: versions[i]})
		}
	}
	m.tally.Changing.Store(int64(subjects[0]))
	for i, s := range subjects {
		versions[i] = m.board.Subject(s).Advance()
	}
	note(InvCall)
	err := tell(versions)
	for i, s := range subjects {
		if err == nil || distrusted {
			m.board.Subject(s).Returned(m.cfg.Member, versions[i])
		}
		if err == nil {
			m.board.Accepted(m.board.Subject(s), versions[i], Now())
		}
	}
	if err != nil {
		if m.isCell(subjects[0]) {
			m.board.GivenUp(subjects[0])
		}
		note(InvErr)
		return err
	}
	note(InvAck)
	m.tally.Changes.Add(1)
	return nil
}
