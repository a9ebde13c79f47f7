package session

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/tiercache/tiercache/internal/changelog"
	"github.com/tiercache/tiercache/internal/mono"
	"github.com/tiercache/tiercache/invalidation"
)

// declaration is what this process knows of a namespace's declaration in the change log:
// keys of the namespace are written by themselves.
type declaration struct {
	at    invalidation.AsOf // its position in the log
	until mono.Time         // when it is to be repeated: processes of the release before have the log forget it
}

// Declared has the declaration of a namespace; none until a key of it is set or deleted. It outlasts the Namespace.
type Declared struct{ latest atomic.Pointer[declaration] }

// holds reports whether the declaration is in the log for sure. Processes of the release
// before remove a declaration, and raise the floor to its position.
func (d *declaration) holds(v *changelog.View, now mono.Time) bool {
	// guard: I6-set-declares-below-floor
	return d.at.Incarnation == v.Incarnation && d.at.Tick > v.Floor && now < d.until
}

// hearsOthers is how recently a process that writes to single keys must have read the
// log. Stores of the other mode would not learn of the write. They can open only
// after this process has been silent for longer than that.
const hearsOthers = 30 * time.Second

// Declare makes sure, before Set or Delete write to single keys, that the change log
// has the declaration of the namespace. Such writes leave nothing else in the log, so
// without it no process would notice this:
//
//	A:       Set(k, 1); the replica has it
//	A:       Set(k, 2) returns; the replica lags
//	primary: dies; the replica is promoted, and has 1
//
// With it, the first process that finds a server with another history than those in the
// log has the namespace change.
func (s *Session) Declare(ctx context.Context, n *Namespace) error {
	if !s.Conn.LosesWrites() {
		return nil
	}
	now, v := mono.Now(), s.Tail.View()
	// guard: I2-set-hears-log-first
	if !s.Cfg.NoTracking && v.Age(now) > hearsOthers && s.Conn.OpenOutage() == nil {
		if err := s.Tail.CatchUp(ctx); err != nil {
			return err
		}
		v = s.Tail.View()
	}
	if d := n.declared.latest.Load(); d != nil && d.holds(v, now) {
		return nil
	}
	// guard: I8-first-set-in-outage
	if a := s.Conn.OpenOutage(); a != nil {
		return a // a change is sent even in an outage, and the caller would wait for this one
	}
	at, err := s.Tail.Change(ctx, []invalidation.Scope{invalidation.Written(n.Path)}, false, 0)
	if err == nil {
		n.declared.latest.Store(&declaration{at, now.Add(s.Cfg.MaxTTL / 2)})
	}
	return err
}
