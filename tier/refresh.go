package tier

import (
	"context"

	"github.com/tiercache/tiercache/tier/internal/core"
)

// Refresh loads key now, whatever the tiers hold, and returns the new value. It
// waits for a load that is under way, here or in another process, and begins its own after
// that; callers that ask at once share one. If the new value cannot be stored, the older one is
// removed from both tiers, where they answer. Errors are as of Get.
func (c *Cache[V]) Refresh(ctx context.Context, key string, load Loader[V]) (V, error) {
	var zero V
	if load == nil {
		return zero, ErrNilLoader
	}
	out, err := c.view.Cache().Refresh(ctx, key, core.LoadFunc{Run: c.view.Plan().Single, Loader: load})
	if err != nil {
		return zero, err
	}
	return c.unpack(out)
}
