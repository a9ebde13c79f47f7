package remote

import (
	"context"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/valkey-io/valkey-go"

	"github.com/tiercache/tiercache/internal/backend"
)

// purgeBatch is how many keys one SCAN looks at. It is what the server does
// without serving others in between: about a millisecond.
const purgeBatch = 1000

// purgeTimeout bounds one page.
const purgeTimeout = 5 * time.Second

// Purge implements [backend.Server]. A cursor of SCAN stays good on its server, so a
// purge can be resumed much later. Keys of slots that move while a cluster is
// purged may be left.
func (c *valkeyConn) Purge(ctx context.Context, p backend.PurgeRequest) (backend.PurgeProgress, error) {
	done := backend.PurgeProgress{Resume: p.Resume}
	at, err := p.Position()
	if err != nil {
		return backend.PurgeProgress{}, err
	}
	pctx, cancel := c.pageContext(ctx)
	servers, err := c.primaries(pctx)
	cancel()
	if err != nil {
		return done, err
	}
	for ; at.Prefix < len(p.Prefixes); at = (backend.PurgePosition{Prefix: at.Prefix + 1}) {
		match := escapeGlob(p.Prefixes[at.Prefix]) + "*"
		for _, s := range servers {
			if s.address < at.Address {
				continue
			}
			if s.address > at.Address {
				at.Address, at.Cursor = s.address, 0
			}
			if err := c.purgeServer(ctx, s, match, at, &done, p.Progress); err != nil {
				return done, err
			}
		}
	}
	done.Resume = ""
	if p.Progress != nil {
		p.Progress(done)
	}
	return done, nil
}

// purgeServer removes the matching keys of one server, from at on.
func (c *valkeyConn) purgeServer(ctx context.Context, s primaryClient, match string, at backend.PurgePosition, done *backend.PurgeProgress, progress func(backend.PurgeProgress)) error {
	left, begun := c.keysOf(ctx, s), at.Cursor == 0
	for {
		done.Resume = at.String()
		if err := ctx.Err(); err != nil {
			return err
		}
		page, removed, err := c.purgePage(ctx, s, at.Cursor, match)
		done.Removed += removed
		if err != nil {
			return err
		}
		step := min(purgeBatch, left)
		if at.Cursor = page.Cursor; at.Cursor == 0 && begun && left < unknownKeys {
			step = left // that was all
		}
		done.Scanned, left = max(done.Scanned+step, done.Removed), left-step
		if at.Cursor == 0 {
			return nil
		}
		done.Resume = at.String()
		if progress != nil {
			progress(*done)
		}
	}
}

// unknownKeys is more keys than any server has.
const unknownKeys = math.MaxInt64 / 4

// keysOf returns how many keys a server has, as its INFO says: the server does not tell how many a step of a scan has looked at.
func (c *valkeyConn) keysOf(ctx context.Context, s primaryClient) int64 {
	ctx, cancel := c.pageContext(ctx)
	defer cancel()
	text, err := s.Do(ctx, s.B().Arbitrary("INFO", "keyspace").Build()).ToString()
	if err != nil {
		return unknownKeys
	}
	first, _, _ := strings.Cut(fieldsOf(text)["db"+strconv.Itoa(c.db)], ",")
	keys, err := strconv.ParseInt(strings.TrimPrefix(first, "keys="), 10, 64)
	if err != nil {
		return unknownKeys
	}
	return keys
}

// pageContext gives a page a deadline of its own: a purge may have none, and the
// client tries for ever.
func (c *valkeyConn) pageContext(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, max(purgeTimeout, c.o.Timeout))
}

// purgePage removes the matching keys of one page of the scan.
func (c *valkeyConn) purgePage(ctx context.Context, s primaryClient, cursor uint64, match string) (page valkey.ScanEntry, removed int64, err error) {
	ctx, cancel := c.pageContext(ctx)
	defer cancel()
	page, err = s.Do(ctx, s.B().Scan().Cursor(cursor).Match(match).Count(purgeBatch).Build()).AsScanEntry()
	if err != nil {
		return page, 0, failure(err)
	}
	removed, err = c.unlink(ctx, page.Elements)
	return page, removed, err
}

func (c *valkeyConn) unlink(ctx context.Context, keys []string) (removed int64, err error) {
	if len(keys) == 0 {
		return 0, nil
	}
	cmds := make([]valkey.Completed, len(keys))
	for i, k := range keys {
		cmds[i] = c.plain.B().Unlink().Key(k).Build()
	}
	for _, r := range c.plain.DoMulti(ctx, cmds...) {
		n, err := r.AsInt64()
		if err != nil {
			return removed, failure(err)
		}
		removed += n
	}
	return removed, nil
}

// escapeGlob makes s match itself in a pattern.
func escapeGlob(s string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`, `]`, `\]`).Replace(s)
}
