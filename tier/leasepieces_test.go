package tier_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/internal/embedded"
	"github.com/tiercache/tiercache/internal/interpose"
	"github.com/tiercache/tiercache/tier"
)

// A server that is silent for a moment while leases are asked for, before or after it has granted them, has nothing of a batch loaded twice:
// all is stored.
func TestAPieceOfLeasesWithoutAnAnswerIsAskedForAgain(t *testing.T) {
	for name, when := range map[string]func(*interpose.Backend, func(interpose.Op) error){
		"the request is lost": (*interpose.Backend).Before, "the answer is lost": (*interpose.Backend).After,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFickle(embedded.New(0))
				s, err := tier.Open(t.Context(), tier.WithRemote(f))
				require.NoError(t, err)
				defer s.Close()
				c := view[string](t, s, "docs")
				keys := names(1500)
				for _, try := range []struct{ every, asked, again int }{
					{4, 12 + 4, 0},       // four are silent
					{2, 9, 1500 - 4*128}, // each other, until that is too often
					{1, 2, 1500},         // two in a row
				} {
					asked := 0
					when(f.Backend, func(op interpose.Op) error {
						if op == interpose.Lease {
							if asked++; (asked-1)%try.every == 0 {
								return context.DeadlineExceeded
							}
						}
						return nil
					})
					var loads atomic.Int64
					got, err := c.GetMany(t.Context(), keys, loadAll(&loads, 1))
					require.NoError(t, err)
					require.Len(t, got, len(keys))
					require.EqualValues(t, len(keys), loads.Load())
					require.Equal(t, try.asked, asked, "%v", try)
					when(f.Backend, nil)
					synctest.Wait() // the fills
					require.NoError(t, s.Sync(t.Context()), "an answer, or the next silence is an outage")
					_, err = c.GetMany(t.Context(), keys, loadAll(&loads, 1), tier.NoLocal())
					require.NoError(t, err)
					require.EqualValues(t, len(keys)+try.again, loads.Load(), "%v: the rest is stored, and no lease is left", try)
					synctest.Wait()
					require.NoError(t, c.Delete(t.Context(), keys...))
					<-time.After(time.Minute)
				}
			})
		})
	}
}

// Leases of a batch whose load fails are given up, although a release has no answer: of the other pieces at once.
func TestAPieceOfReleasesWithoutAnAnswerIsNotTheLast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := embedded.New(0)
		f := newFickle(hub)
		s, err := tier.Open(t.Context(), tier.WithRemote(f))
		require.NoError(t, err)
		defer s.Close()
		beside, err := tier.Open(t.Context(), tier.WithRemote(hub))
		require.NoError(t, err)
		defer beside.Close()
		c, other := view[string](t, s, "docs"), view[string](t, beside, "docs")
		keys := names(1500)
		var mu sync.Mutex
		released, open := 0, make(chan struct{})
		f.Reach(func(ctx context.Context, op interpose.Op) error {
			if op != interpose.Release {
				return nil
			}
			mu.Lock()
			released++
			first := released == 1 || released > 12
			mu.Unlock()
			if first { // the first piece, each time
				select {
				case <-open:
				case <-ctx.Done():
					return ctx.Err()
				}
			}
			return nil
		})
		failed := errors.New("no source")
		_, err = c.GetMany(t.Context(), keys, func(context.Context, []string, tier.Entries) (map[string]string, error) { return nil, failed })
		require.ErrorIs(t, err, failed)
		<-time.After(time.Second) // less than a lease lasts
		synctest.Wait()
		var loads atomic.Int64
		begun := time.Now()
		got, err := other.GetMany(t.Context(), keys[128:], loadAll(&loads, 1))
		require.NoError(t, err)
		require.Len(t, got, len(keys)-128)
		require.Less(t, time.Since(begun), time.Second, "no lease is waited for")
		close(open)
		synctest.Wait()
		got, err = other.GetMany(t.Context(), keys, loadAll(&loads, 1))
		require.NoError(t, err)
		require.Len(t, got, len(keys))
		require.EqualValues(t, len(keys), loads.Load())
	})
}
