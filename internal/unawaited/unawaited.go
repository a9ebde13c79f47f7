// Package unawaited marks the contexts of work for which no caller waits: refreshes in the
// background, heartbeats, what ends a load whose callers were answered.
package unawaited

import "context"

type key struct{}

// Mark returns a context with the values of ctx that says that no caller waits.
func Mark(ctx context.Context) context.Context {
	if Is(ctx) {
		return ctx
	}
	return context.WithValue(ctx, key{}, true)
}

// Is reports whether ctx says that no caller waits.
func Is(ctx context.Context) bool {
	marked, _ := ctx.Value(key{}).(bool)
	return marked
}

// Background is context.Background, of work for which no caller waits.
func Background() context.Context { return background }

var background = Mark(context.Background())
