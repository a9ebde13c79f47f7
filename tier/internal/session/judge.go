package session

import (
	"context"

	"github.com/tiercache/tiercache/internal/changelog"
	"github.com/tiercache/tiercache/invalidation"
	"github.com/tiercache/tiercache/tier/internal/record"
)

// StillValid decides R1 by what is known locally, for an item whose own marks may
// have been released. keysAreScopes: changes of single keys are recorded in the log.
func (s *Session) StillValid(n *Namespace, it *record.Item, keysAreScopes bool) bool {
	marks := s.Tail.Pin(sourceScopes(it.Sources()))
	defer s.Tail.Release(marks)
	return s.checkMarks(it, n.pins.Current(), marks) == changelog.Valid && !(keysAreScopes && s.keyChanged(n, it))
}

// keyChanged judges the key's own scope, where keys are scopes.
func (s *Session) keyChanged(n *Namespace, it *record.Item) bool {
	marks := s.Tail.Pin([]invalidation.Scope{n.KeyScope(it.Key)})
	defer s.Tail.Release(marks)
	verdict := s.Tail.Judge(invalidation.AsOf{Incarnation: it.Meta().AsOf.Incarnation, Tick: it.Extra().KeyTick}, marks)
	return verdict != changelog.Valid
}

func sourceScopes(sources []string) []invalidation.Scope {
	if len(sources) == 0 {
		return nil
	}
	scopes := make([]invalidation.Scope, len(sources))
	for i, id := range sources {
		scopes[i] = invalidation.Source(id)
	}
	return scopes
}

// PinMarks pins the marks of all that the item depends on and decides R1. It asks the
// log about scopes for which this process's knowledge does not reach back far enough (R6).
func (s *Session) PinMarks(ctx context.Context, n *Namespace, it *record.Item, keysAreScopes bool) (valid bool, err error) {
	verdict := s.PinKnown(n, it, keysAreScopes)
	if verdict != changelog.Unknown {
		return verdict == changelog.Valid, nil
	}
	// guard: I8-no-fetch-in-outage
	if s.Conn.OpenOutage() != nil {
		return false, nil
	}
	scopes := n.Scopes(it.Sources())
	if m := it.Extra().KeyMark; m != nil {
		scopes = append(scopes, m.Scope())
	}
	rctx := s.Request(ctx)
	defer rctx.End()
	if err := s.Tail.Fetch(rctx, scopes); err != nil {
		return false, err
	}
	return s.validate(it) == changelog.Valid, nil
}

// PinKnown is PinMarks that asks for nothing.
func (s *Session) PinKnown(n *Namespace, it *record.Item, keysAreScopes bool) changelog.Verdict {
	t := s.Tail
	f := it.Meta()
	f.Common = n.pins.Current()
	if f.Made != nil {
		f.Made.Marks = t.Pin(sourceScopes(f.Made.Sources))
	}
	if keysAreScopes {
		it.EnsureExtra().KeyMark = t.Pin([]invalidation.Scope{n.KeyScope(it.Key)})[0]
	}
	return s.validate(it)
}

// validate decides R1 by the item's own marks.
func (s *Session) validate(it *record.Item) changelog.Verdict {
	verdict := s.checkMarks(it, it.Meta().Common, it.Marks())
	if x := it.Extra(); verdict == changelog.Valid && x.KeyMark != nil {
		verdict = s.Tail.Judge(invalidation.AsOf{Incarnation: it.Meta().AsOf.Incarnation, Tick: x.KeyTick}, []*changelog.Mark{x.KeyMark})
	}
	return verdict
}

// checkMarks decides R1 by the marks of the namespaces and of the sources.
func (s *Session) checkMarks(it *record.Item, common *changelog.Pinned, own []*changelog.Mark) changelog.Verdict {
	verdict := s.Tail.Judge(it.Meta().AsOf.Full(), common.Marks)
	if verdict == changelog.Changed || len(own) == 0 {
		return verdict
	}
	if more := s.Tail.Judge(it.Meta().AsOf.Full(), own); more != changelog.Valid {
		return more
	}
	return verdict
}
