package tier

import (
	"context"

	"github.com/tiercache/tiercache/tier/internal/core"
	"github.com/tiercache/tiercache/tier/internal/inflight"
	"github.com/tiercache/tiercache/tier/internal/record"
)

// GetMany is Get of any number of keys: one request to the remote tier for each 128 of
// them, one after another, and one run of the loader for those that no tier has and no
// other caller is loading. What was read stays so if a later request fails. A
// key that is not found is absent from the result, and that is no error. If
// some keys fail, what was found is returned with the joined errors.
func (c *Cache[V]) GetMany(ctx context.Context, keys []string, load BatchLoader[V], options ...CallOption) (map[string]V, error) {
	if load == nil {
		return nil, ErrNilLoader
	}
	found := make(map[string]V, len(keys))
	var missing []string
	if len(options) > 0 {
		missing = make([]string, 0, len(keys))
	}
	for _, key := range keys {
		if len(options) == 0 {
			if it := c.view.Hit(key); it != nil {
				found[key] = *record.ValueIn[V](it)
				continue
			}
		}
		missing = append(missing, key)
	}
	if len(missing) == 0 {
		return found, nil
	}
	give := func(key string, it *record.Item) {
		if !it.Negative {
			found[key] = c.valueOf(it)
		}
	}
	return found, c.view.Cache().GetMany(ctx, missing, core.LoadFunc{Run: c.view.Plan().Batch, Loader: load}, callOptions(options), give)
}

// runBatch runs a BatchLoader[V].
func runBatch[V any](ctx context.Context, k *record.Kind, loader any, fs []*inflight.Call, es []*core.LoadEntry, out []core.Loaded) {
	keys, entries := make([]string, len(fs)), Entries{make(map[string]*Entry, len(fs))}
	for i, f := range fs {
		keys[i], entries.byKey[f.Key] = f.Key, (*Entry)(es[i])
	}
	values, err := loader.(BatchLoader[V])(ctx, keys, entries)
	for i, f := range fs {
		v, ok := values[f.Key]
		switch {
		case ok:
			out[i].It = record.NewItemOf(k, v) // also with an error: the values that were found are returned
		case err != nil:
			out[i].Err = err
		default:
			out[i].Err = ErrNotFound
		}
	}
}
