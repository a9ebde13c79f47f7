package core

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/tiercache/tiercache/internal/envelope"
	"github.com/tiercache/tiercache/internal/mono"
	"github.com/tiercache/tiercache/invalidation"
	"github.com/tiercache/tiercache/tier/internal/config"
	"github.com/tiercache/tiercache/tier/internal/record"
)

// seal encodes an item for the remote tier. cost is the stated cost, or 0: then the estimate
// is stored if other processes would have to look at all of the value for theirs.
func (c *Cache) seal(it *record.Item, fresh, kept time.Duration, cost int64) ([]byte, error) {
	f := it.Meta()
	// guard: store-stated-cost
	e := envelope.Entry{
		Head:  envelope.Head{Expires: c.s.Session.ServerTimeIn(kept), Nonce: f.Nonce, AsOf: f.AsOf.Full(), Shape: c.typed.Shape, Negative: it.Negative},
		Fresh: fresh, Life: kept, Cost: cost, Namespace: c.ns.Path, Key: it.Key, Sources: it.Sources(),
	}
	if !it.Negative {
		var err error
		if e.Payload, err = c.typed.Encode(it); err != nil {
			return nil, fmt.Errorf("tier: encoding a value of namespace %q: %w", c.ns.Path, err)
		}
		// guard: largest-value
		if n := int64(len(e.Payload)); n > c.s.Config.MaxValue {
			return nil, fmt.Errorf("tier: encoding a value of namespace %q: %w", c.ns.Path, &tooLargeError{n, c.s.Config.MaxValue})
		}
		// guard: size-of-unread-value
		c.correctGuess(it, len(e.Payload))
		// guard: store-estimated-cost
		if c.typed.Travels && cost == 0 {
			e.Cost = f.Cost
		}
	}
	return envelope.EncodeWithin(&e, c.cfg.Compress, c.s.Config.MaxValue)
}

// tooLargeError is the error of a value that is longer than [WithMaxValue].
type tooLargeError struct{ size, limit int64 }

func (e *tooLargeError) Error() string {
	return fmt.Sprintf("it is %d bytes long, the limit is %d (WithMaxValue)", e.size, e.limit)
}

// expiryOf is when the server is to forget a sealed entry, by its clock.
func expiryOf(sealed []byte) time.Time { return envelope.ExpiryOf(sealed) }

// besideLink is an entry as it is stored beside one of another encoding; withoutLink is the entry.
func besideLink(link uint64, sealed []byte) []byte { return envelope.Beside(link, sealed) }

func withoutLink(beside []byte) []byte { return beside[envelope.LinkLen:] }

// describe sets all but the value of an item that was loaded or set just now.
func (c *Cache) describe(it *record.Item, key string, cfg config.Entry, asOf invalidation.AsOf, fresh, kept time.Duration) {
	now := mono.Now()
	f := it.Meta()
	it.Key = key
	it.DependOn(cfg.Sources)
	f.Nonce, f.AsOf, f.Cost = rand.Uint64()|1, record.PositionOf(asOf), cfg.Cost
	f.Born, f.Fresh, f.Expires = now, now.Add(fresh), now.Add(kept)
	c.limitLocal(it, now, 0) // the encoded length is known later, if ever: see seal
}
