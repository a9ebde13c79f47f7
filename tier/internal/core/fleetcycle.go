package core

import (
	"context"
	"fmt"
	"time"

	"github.com/tiercache/tiercache/internal/backend"
	"github.com/tiercache/tiercache/internal/mono"
	"github.com/tiercache/tiercache/tier/internal/inflight"
	"github.com/tiercache/tiercache/tier/internal/loads"
	"github.com/tiercache/tiercache/tier/internal/waits"
)

// fleetWait is the wait of a run for keys that other processes load. If loaders of this process wait for it, other
// processes may wait for those: see package waits.
type fleetWait struct {
	run   *loadRun
	next  mono.Time // the next look
	looks map[*inflight.Call]*waits.Looks
	notes map[string]string // tokens of the notes that this wait has left, by name
}

// awaitOthers begins such a wait.
func (l *loadRun) awaitOthers() *fleetWait {
	return &fleetWait{run: l, next: mono.Now().Add(l.s.Config.LeaseTTL / 3)}
}

// noteLasts is how long a note is believed that is not renewed, as it is with each look.
func (w *fleetWait) noteLasts() time.Duration { return w.run.s.Config.LeaseTTL/3 + maxLeaseWait/2 }

// mostNoted bounds the keys for which it is noted what their loaders wait for.
const mostNoted = 64

// endCycles ends the calls that wait for a loader of this process, and returns the others. It looks for them when a third of a
// lease period has passed, and once a third from then on. Nothing is asked if no loader waits for the calls.
func (w *fleetWait) endCycles(ctx context.Context, held []*inflight.Call) (waiting []*inflight.Call) {
	now := mono.Now()
	if now < w.next {
		return held
	}
	l := w.run
	w.next = now.Add(l.s.Config.LeaseTTL / 3)
	for _, f := range held {
		if err := w.look(ctx, f); err != nil {
			l.finishAll([]*inflight.Call{f}, inflight.Outcome{Err: err})
			continue
		}
		waiting = append(waiting, f)
	}
	return waiting
}

// look notes for what the loaders that wait for f wait, and returns an error if f waits for one of them.
func (w *fleetWait) look(ctx context.Context, f *inflight.Call) error {
	own := leasedBy(f.Target.Waiters())
	if len(own) == 0 {
		return nil
	}
	l := w.run
	rctx := l.s.Session.Request(ctx)
	defer rctx.End()
	key := waits.Key{Name: f.Name, Space: l.ns.Path, Key: f.Key}
	err := w.note(rctx, own, waits.Note{By: l.token, For: key})
	var way []waits.Note
	if err == nil {
		way, err = waits.Follow(rctx, f.Name, func(name string) bool { return own[name] }, func(ctx context.Context, name string) (string, error) {
			items, err := l.s.Session.Conn.GetUntracked(ctx, []string{name + backend.LeaseSuffix})
			if err != nil || len(items) == 0 {
				return "", err
			}
			return items[0].Raw, nil
		})
	}
	if err != nil {
		l.countRemoteError(err)
		return nil // the load timeout remains
	}
	looks := w.looks[f]
	if looks == nil {
		if w.looks == nil {
			w.looks = make(map[*inflight.Call]*waits.Looks)
		}
		looks = &waits.Looks{}
		w.looks[f] = looks
	}
	if !looks.Confirmed(way, mono.Now(), w.noteLasts()) {
		return nil
	}
	return fmt.Errorf("%w: %s", ErrRecursiveLoad, waits.Describe(key, way))
}

// note leaves the note for each of the names, or renews it. Where another load has left one, that stays: of the
// keys that a loader waits for at once, one is noted.
func (w *fleetWait) note(ctx context.Context, own map[string]bool, n waits.Note) error {
	token := n.Encode()
	var asked []backend.LeaseRequest
	var left []string
	for name := range own {
		name = waits.NameOf(name)
		switch was, ok := w.notes[name]; {
		case !ok:
			asked = append(asked, backend.LeaseRequest{Key: name, Token: token, TTL: w.noteLasts(), Any: true})
		case was == token:
			left = append(left, name)
		}
	}
	conn := w.run.s.Session.Conn
	if len(asked) > 0 {
		got, err := conn.Lease(ctx, asked)
		if err != nil {
			return err
		}
		if w.notes == nil {
			w.notes = make(map[string]string)
		}
		for i := range got {
			if got[i].Acquired {
				w.notes[asked[i].Key] = token
			}
		}
	}
	if len(left) == 0 {
		return nil
	}
	return conn.Extend(ctx, left, token, w.noteLasts())
}

// end takes the notes away. One that is not, since the server does not answer, ends by itself.
func (w *fleetWait) end() {
	byToken := make(map[string][]string)
	for name, token := range w.notes {
		byToken[token] = append(byToken[token], name)
	}
	for token, names := range byToken {
		w.run.s.Goroutines.RunInBackground(func() {
			w.run.s.Session.Release(w.run.s.Goroutines.Ctx, names, token, w.run.countReleaseError)
		})
	}
}

// leasedBy returns the remote names of the keys that the loads hold leases of, and those of the loads whose loaders wait for them.
func leasedBy(waiting []*loads.Load) map[string]bool {
	var names map[string]bool
	seen := make(map[*loads.Load]bool, len(waiting))
	for len(waiting) > 0 && len(names) < mostNoted {
		w := waiting[len(waiting)-1]
		waiting = waiting[:len(waiting)-1]
		if seen[w] {
			continue
		}
		seen[w] = true
		run, ok := w.Run.(*loadRun)
		if !ok {
			continue
		}
		for _, f := range run.ready {
			if !run.cfg.LocalOnly && f.Lease == inflight.LeaseOwned {
				if names == nil {
					names = make(map[string]bool)
				}
				names[f.Name] = true
			}
			waiting = append(waiting, f.Target.Waiters()...)
		}
	}
	return names
}
