// Package background owns the goroutines of a store.
package background

import (
	"context"
	"sync"
	"time"

	"github.com/tiercache/tiercache/internal/recovery"
	"github.com/tiercache/tiercache/internal/unawaited"
)

// Group owns the goroutines of a store: Close waits for all of them.
type Group struct {
	Panics *recovery.Panics // counts and logs panics in them, and does not panic itself
	onLost func()           // is called after one: no local copy is to be believed

	Ctx    context.Context // ends with the store
	Cancel context.CancelFunc

	mu struct {
		sync.Mutex                // guards what follows
		background sync.WaitGroup // loads until their fills are answered, refreshes, and other goroutines
		loading    sync.WaitGroup // goroutines of loaders
		closing    bool
	}
}

// NewGroup returns a group without goroutines.
func NewGroup(panics *recovery.Panics, onLost func()) *Group {
	g := &Group{Panics: panics, onLost: onLost}
	g.Ctx, g.Cancel = context.WithCancel(unawaited.Background())
	return g
}

// Close has no further goroutines start. It reports whether it is the first call.
func (g *Group) Close() (first bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	first = !g.mu.closing
	g.mu.closing = true
	return first
}

// Wait waits for all goroutines but those of loaders.
func (g *Group) Wait() { g.mu.background.Wait() }

// Spawn runs f in a goroutine that Close waits for. It returns false, without
// running it, once the store is closing.
func (g *Group) Spawn(f func()) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.mu.closing {
		return false
	}
	g.RunInBackground(f)
	return true
}

// RunInBackground is spawn for background work that Close waits for in any case, since the
// caller is part of it. After a panic of f no local copy is believed: it is not known what
// f left half done.
func (g *Group) RunInBackground(f func()) {
	g.mu.background.Go(func() {
		// guard: recover-store-goroutine
		defer g.Panics.Recover("a goroutine of the store", g.onLost)
		f()
	})
}

// SpawnLoad runs f, the run of a loader, in a goroutine for which Close waits no longer
// than loaderGrace, since the loader may never return. Until loadRun.finish, Close waits
// for it in any case.
func (g *Group) SpawnLoad(f func()) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.mu.closing {
		return false
	}
	g.mu.background.Add(1)
	g.mu.loading.Go(func() {
		// guard: recover-load
		defer g.Panics.Recover("a load", g.onLost)
		f()
	})
	return true
}

// LoadDone ends what SpawnLoad has begun: Close need not wait for its goroutine any more.
func (g *Group) LoadDone() { g.mu.background.Done() }

// AwaitLoaders waits for the goroutines of loaders, for no longer than limit. It reports
// whether they have all ended.
func (g *Group) AwaitLoaders(limit time.Duration) bool {
	ended := make(chan struct{})
	go func() {
		g.mu.loading.Wait()
		close(ended)
	}()
	select {
	case <-ended:
		return true
	case <-time.After(limit):
		return false
	}
}
