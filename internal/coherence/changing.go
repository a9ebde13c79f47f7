package coherence

import (
	"context"
	"math/rand/v2"
	"strconv"
)

// change changes subjects that the member owns, one at a time, and reads each at
// once: that is what invariant I1 is about.
func (m *Member) change(ctx context.Context, rng *rand.Rand) {
	r := m.newReading(ctx, rng)
	m.paced(ctx, m.cfg.Pace, func() {
		for s := m.cfg.Member; s < m.subjects(); s += m.cfg.Members {
			if m.board.Subject(s).Wanted() && m.changeOne(ctx, s, rng) == nil {
				m.board.Subject(s).wanted.Store(0)
			}
		}
		if rng.IntN(1000) < m.cfg.Changes {
			s := m.owned(rng)
			_ = m.changeOne(ctx, s, rng) // noted there
			m.tally.Reads.Add(r.get(s, rng.IntN(4) == 0))
		}
	})
}

func (m *Member) changeOne(ctx context.Context, s int, rng *rand.Rand) error {
	if m.isCell(s) {
		return m.changeCell(ctx, s, rng)
	}
	return m.changeDoc(ctx, s, rng)
}

// owned picks a subject that nobody else changes.
func (m *Member) owned(rng *rand.Rand) int {
	n := (m.subjects() - m.cfg.Member + m.cfg.Members - 1) / m.cfg.Members
	return m.cfg.Member + rng.IntN(n)*m.cfg.Members
}

// changeDoc changes the truth and then tells. That the call failed is no excuse
// for this member's own reads.
func (m *Member) changeDoc(ctx context.Context, s int, rng *rand.Rand) error {
	return m.version(s, func(v int64) error {
		var err error
		switch rng.IntN(50) {
		case 0:
			_, err = m.store.InvalidateAll(ctx)
		case 1, 2:
			_, err = m.docs[s%docNamespaces].Invalidate(ctx)
		default:
			_, err = m.store.InvalidateSource(ctx, source(s))
		}
		return err
	}, true)
}

// changeCell sets or deletes a key. After an error nobody knows what the key
// holds (a Set promises nothing then), so only success counts.
func (m *Member) changeCell(ctx context.Context, s int, rng *rand.Rand) error {
	return m.version(s, func(v int64) error {
		key := strconv.Itoa(s)
		if rng.IntN(4) == 0 {
			return m.cells.Delete(ctx, key)
		}
		return m.cells.Set(ctx, key, newValue(v, 0))
	}, false)
}

// version begins the next version of a subject and has it told.
func (m *Member) version(s int, tell func(v int64) error, distrusted bool) error {
	m.tally.Changing.Store(int64(s))
	subject := m.board.Subject(s)
	v := subject.Advance()
	note := func(k Kind) {
		subject.Note(Event{At: Now(), Kind: k, Member: m.cfg.Member, Version: v})
	}
	note(InvCall)
	err := tell(v)
	if err == nil || distrusted {
		subject.Returned(m.cfg.Member, v)
	}
	if err != nil {
		note(InvErr)
		return err
	}
	m.board.Accepted(subject, v, Now())
	note(InvAck)
	m.tally.Changes.Add(1)
	return nil
}
