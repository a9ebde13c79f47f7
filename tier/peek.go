package tier

import (
	"context"
)

// Peek returns the value of key if a tier has it, and never loads. A remembered
// "not found" is no value, nor is one past its TTL. It does not fill the local tier. A value that was just
// loaded here and is still being stored is waited for. A local copy that a lost connection has suspended is no
// value: the remote tier's is read. It returns ErrUnavailable
// if only the remote tier could tell and did not answer. It counts as a read.
func (c *Cache[V]) Peek(ctx context.Context, key string) (V, bool, error) {
	var zero V
	got, err := c.view.Cache().Peek(ctx, key, false)
	if got.It == nil || got.It.Negative {
		return zero, false, err
	}
	return c.valueOf(got.It), true, err
}

// PeekResult is [Cache.Peek], and says where the value came from, how old it is and what it was made from. It also
// returns a value past its TTL, marked as Stale, that is kept since the view that stored it may serve it so.
func (c *Cache[V]) PeekResult(ctx context.Context, key string) (Result[V], bool, error) {
	got, err := c.view.Cache().Peek(ctx, key, true)
	if got.It == nil || got.It.Negative {
		return Result[V]{}, false, err
	}
	r, _ := c.result(got)
	return r, true, err
}
