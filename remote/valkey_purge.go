package remote

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/valkey-io/valkey-go"
)

// purgeBatch is how many keys one SCAN looks at. It is what the server does
// without serving others in between: about a millisecond.
const purgeBatch = 1000

// purgeTimeout bounds one page.
const purgeTimeout = 5 * time.Second

// Purge implements [Conn]. A cursor of SCAN stays good on its server, so a
// purge can be resumed much later.
func (c *valkeyConn) Purge(ctx context.Context, p PurgeRequest) (PurgeProgress, error) {
	var done PurgeProgress
	which, cursor, err := parseResume(p)
	if err != nil {
		return done, err
	}
	for ; which < len(p.Prefixes); which, cursor = which+1, 0 {
		match := escapeGlob(p.Prefixes[which]) + "*"
		for {
			done.Resume = fmt.Sprintf("%d:%d", which, cursor)
			if err := ctx.Err(); err != nil {
				return done, err
			}
			page, removed, err := c.purgePage(ctx, cursor, match)
			done.Removed += removed
			if err != nil {
				return done, err
			}
			done.Scanned += purgeBatch
			if cursor = page.Cursor; cursor == 0 {
				break
			}
			done.Resume = fmt.Sprintf("%d:%d", which, cursor)
			if p.Progress != nil {
				p.Progress(done)
			}
		}
	}
	done.Resume = ""
	if p.Progress != nil {
		p.Progress(done)
	}
	return done, nil
}

// purgePage removes the matching keys of one page of the scan. It has a deadline
// of its own: a purge may have none, and the client tries for ever.
func (c *valkeyConn) purgePage(ctx context.Context, cursor uint64, match string) (page valkey.ScanEntry, removed int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, max(purgeTimeout, c.o.Timeout))
	defer cancel()
	page, err = c.plain.Do(ctx, c.plain.B().Scan().Cursor(cursor).Match(match).Count(purgeBatch).Build()).AsScanEntry()
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

func parseResume(p PurgeRequest) (which int, cursor uint64, err error) {
	if p.Resume == "" {
		return 0, 0, nil
	}
	a, b, ok := strings.Cut(p.Resume, ":")
	which, err1 := strconv.Atoi(a)
	cursor, err2 := strconv.ParseUint(b, 10, 64)
	if !ok || err1 != nil || err2 != nil || which < 0 || which >= len(p.Prefixes) {
		return 0, 0, fmt.Errorf("purge cannot be resumed at %q: it is %w", p.Resume, ErrResume)
	}
	return which, cursor, nil
}

// escapeGlob makes s match itself in a pattern.
func escapeGlob(s string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`, `]`, `\]`).Replace(s)
}
