// Package inspect is how tier/tierdebug and a store's reports see into a store, beyond what the store tells every caller:
// [Watch] samples reads and measures times, and [Of] gives what is no exported method.
package inspect

import (
	"context"
	"time"

	"github.com/tiercache/tiercache/internal/changelog"
	"github.com/tiercache/tiercache/internal/fleet"
)

// Store is what a *tier.Store tells tierdebug. The functions may be called from any goroutine.
type Store struct {
	Prefix       string
	MaxStaleness time.Duration
	// LocalBytes and LocalEntries are the bounds of the local tier; 0: none.
	LocalBytes   int64
	LocalEntries int

	Watch *Watch

	// Explain returns a tier.Explanation. It fails for a namespace that has no cache in use.
	Explain func(ctx context.Context, namespace, key string) (any, error)
	// Delete is Delete of a cache of the namespace.
	Delete func(ctx context.Context, namespace, key string) error
	// Sizes walks through the local tier, and looks at no more than so many entries.
	Sizes func(most int) Sizes
	// Delta reads the changes of the log after q.Since.
	Delta func(ctx context.Context, q changelog.DeltaQuery) (changelog.Delta, error)
	// Fleet reads the reports of all processes that make some.
	Fleet func(ctx context.Context) ([]fleet.Report, error)
	// Position returns the position up to which the log has been applied.
	Position func() (incarnation uint64, tick int64)
	// Spawn runs f in a goroutine that Close of the store waits for. It reports false, and runs nothing, once the store is closing.
	Spawn func(f func(ctx context.Context)) bool
}

// Sizes are what namespaces hold in the local tier.
type Sizes struct {
	Of map[string]Size
	// Partial: there are more entries than were looked at, and Of is scaled up.
	Partial bool
}

// Size is a number of entries, and their estimated bytes.
type Size struct{ Entries, Bytes int64 }

// Of returns what a *tier.Store tells. Package tier sets it.
var Of func(store any) *Store
