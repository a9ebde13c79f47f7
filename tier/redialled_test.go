package tier_test

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/internal/embedded"
	"github.com/tiercache/tiercache/internal/interpose"
	"github.com/tiercache/tiercache/tier"
)

// Guard: ensureClock. What is dialled may be another server, with another clock: a write
// whose time was over by the one before may be performed there.
//
//	A: is connected to another server; Set(k, 1)
//	heartbeat: asks that server for its clock, and is answered later
func TestI1AWriteOverANewConnectionIsBoundByItsServersClock(t *testing.T) {
	for op, write := range map[string]func(*tier.Cache[int64]) error{
		"set":    func(c *tier.Cache[int64]) error { return c.Set(bg, "k", 1) },
		"delete": func(c *tier.Cache[int64]) error { return c.Delete(bg, "k") },
	} {
		w := &world{t, nil, "test", nil}
		hub := embedded.New(0)
		w.inner, w.raw = hub, embeddedRaw{hub}
		s, hooks := w.open(quiet...)
		c := cacheOf[int64](t, s)
		require.NoError(t, c.Set(bg, "k", 0))
		var asked atomic.Int64
		var told atomic.Bool
		second := make(chan struct{}) // the write asks, too; or it is over
		release := sync.OnceFunc(func() { close(second) })
		t.Cleanup(release)
		hooks.Before(func(o interpose.Op) error {
			switch o {
			case interpose.Delta:
				if asked.Add(1) == 2 {
					release()
				}
				<-second
			case interpose.Write, interpose.Delete:
				assert.True(t, told.Load(), "%s before the clock is known", op)
			}
			return nil
		})
		hooks.After(func(o interpose.Op) error {
			if o == interpose.Delta {
				told.Store(true)
			}
			return nil
		})
		w.raw.disconnect()
		within(t, "the loss is found", func() bool { return s.Health(bg).Staleness > time.Hour })
		require.NoError(t, write(c))
		release()
	}
}
