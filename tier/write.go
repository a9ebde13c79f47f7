package tier

import (
	"context"

	"github.com/tiercache/tiercache/tier/internal/record"
)

// Set stores value under key in both tiers; other processes drop their copies.
// When it returns, no read in this process sees an older value, and no load that
// was under way will overwrite it. The value is true as of now, or as of
// WithAsOf. A value that cannot be encoded, is longer than [WithMaxValue], or that JSON would give back as another
// (see [WithCodec]), is an error that names the part of it, and so is a server out
// of memory (remote.ErrFull): the key is then deleted, in both tiers and for every process,
// so that no older value stays.
//
// When it returns, the value has been stored or never will be: a request that
// reaches the server later is refused there, and nothing is sent twice. So a
// Set that was given up never overwrites a later one of any process. For this it
// waits for the answer to a sent request even if ctx is cancelled, for at most
// [WithRemoteTimeout] (and, [WithoutTracking], as long again for the record in the
// change log), but not beyond ctx's deadline. It returns
//
//   - nil if the value is stored, although ctx may have ended;
//   - ctx's error alone if ctx ended before anything was sent: it is not stored;
//   - [ErrUnavailable], together with ctx's error if that ended, if no answer came:
//     the value is stored or not, and that will not change; or, as the text says, if
//     the server refused it as too late: it is not stored. The causes of that are a
//     slow network, and a server whose clock has been set.
func (c *Cache[V]) Set(ctx context.Context, key string, value V, options ...EntryOption) error {
	return c.view.Cache().SetAll(ctx, []string{key}, []*record.Item{record.NewItemOf(c.view.Cache().Kind(), value)}, entryOptions(options))
}

// SetMany is Set of any number of keys with the same options: one request for each 128 of
// them or 128 KiB, one after another. Each key is stored or not on its own, and those with
// bad names are not; the errors are joined, and name a key of each request that failed. A
// request that got no answer is not sent again, and those that follow are sent. After two
// in a row without an answer, or five in all, no more are: an error says how many keys
// were not attempted.
func (c *Cache[V]) SetMany(ctx context.Context, values map[string]V, options ...EntryOption) error {
	keys, items := make([]string, 0, len(values)), make([]*record.Item, 0, len(values))
	for k, v := range values {
		keys, items = append(keys, k), append(items, record.NewItemOf(c.view.Cache().Kind(), v))
	}
	return c.view.Cache().SetAll(ctx, keys, items, entryOptions(options))
}

// Delete removes keys from both tiers; other processes drop their copies. When
// it returns, no read in this process sees an older value, and no load that was
// under way will store one. Deleting a key that does not exist is no error. Each key
// has been deleted when Delete returns, or never will be, so that no value is removed
// that was set later. Keys with bad names are errors, and the others are deleted. Many keys
// are deleted in several requests, 128 in each. Of several, one that got no answer is sent
// once more when the server cannot perform it any more; two in a row without an answer end it
// as they end a SetMany. It waits as Set does, and its errors say as much about the keys as
// those of Set; they are joined.
func (c *Cache[V]) Delete(ctx context.Context, keys ...string) error {
	return c.view.Cache().Delete(ctx, keys...)
}
