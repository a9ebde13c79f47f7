package tier_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/internal/interpose"
	"github.com/tiercache/tiercache/tier"
)

// Guard: the soft timeout is one for all keys of a batch, and every caller of a key is given the
// stale value that one of them has found.
func TestTheSoftTimeoutIsOneForACall(t *testing.T) {
	inBubbles(t, func(t *testing.T, f *fleet) {
		keys := make([]string, 40)
		values := make(map[string]string)
		for i := range keys {
			keys[i] = fmt.Sprint("k", i)
			values[keys[i]] = "old"
		}
		for _, how := range [][]tier.CacheOption{nil, {tier.WithRemoteOnly()}} {
			options := append(how, tier.WithTTL(time.Minute), tier.WithStaleOnError(time.Hour), tier.WithSoftTimeout(50*time.Millisecond))
			c := view[string](t, f.process(), fmt.Sprint("docs", len(how)), options...)
			require.NoError(t, c.SetMany(t.Context(), values))
			time.Sleep(2 * time.Minute)
			release := make(chan struct{})
			load := func(ctx context.Context, keys []string, _ tier.Entries) (map[string]string, error) {
				<-release
				return nil, errOrigin
			}
			var all sync.WaitGroup
			for range 3 {
				all.Go(func() {
					begun := time.Now()
					got, err := c.GetMany(t.Context(), keys, load)
					assert.NoError(t, err)
					assert.Equal(t, values, got)
					assert.LessOrEqual(t, time.Since(begun), 50*time.Millisecond)
				})
				all.Go(func() {
					begun := time.Now()
					r := find(t, c, "k7", unneeded)
					assert.True(t, r.Stale)
					assert.LessOrEqual(t, time.Since(begun), 50*time.Millisecond)
				})
			}
			all.Wait()
			close(release)
			synctest.Wait()
		}
	})
}

// Guard: a caller that begins while the store is idle knows of no change of the last seconds, and so may not be given what the
// call that it joins has found. It reads that itself.
func TestASoftTimeoutIsThatOfACallerThatMayNotShare(t *testing.T) {
	inBubbles(t, func(t *testing.T, f *fleet) {
		hooks := &interpose.Backend{Inner: f.hub}
		options := []tier.Option{tier.WithPrefix(f.prefix), tier.WithRemote(hooks)}
		if !f.tracked {
			options = append(options, tier.WithoutTracking())
		}
		s, err := tier.Open(t.Context(), options...)
		require.NoError(t, err)
		defer s.Close()
		c := view[string](t, s, "docs", tier.WithTTL(time.Minute), tier.WithStaleOnError(time.Hour), tier.WithSoftTimeout(time.Second), tier.WithRemoteOnly())
		require.NoError(t, c.Set(t.Context(), "k", "old"))
		time.Sleep(2*time.Minute + 10*time.Second) // it is idle, and has not heard of the log for seconds
		require.Greater(t, s.Stats().Staleness, time.Second)
		joined, goOn := make(chan struct{}), make(chan struct{})
		var once sync.Once
		hooks.Before(func(op interpose.Op) error {
			if op == interpose.Get {
				once.Do(func() { <-joined })
			}
			return nil
		})
		slow := func(context.Context, *tier.Entry) (string, error) {
			<-goOn
			return "", errOrigin
		}
		var callers sync.WaitGroup
		for range 2 {
			callers.Go(func() {
				begun := time.Now()
				r := find(t, c, "k", slow)
				assert.True(t, r.Stale)
				assert.Equal(t, "old", r.Value)
				assert.Equal(t, time.Second, time.Since(begun))
			})
		}
		synctest.Wait()
		close(joined)
		callers.Wait()
		close(goOn)
		synctest.Wait()
	})
}

// Guard: a stale value that a call has found is not given to a caller that begins after the key was
// set.
func TestR10AStaleValueFoundBeforeAChangeIsNotShared(t *testing.T) {
	inBubbles(t, func(t *testing.T, f *fleet) {
		a, b := f.process(), f.process()
		options := []tier.CacheOption{tier.WithTTL(time.Minute), tier.WithStaleOnError(time.Hour), tier.WithSoftTimeout(time.Second), tier.WithRemoteOnly()}
		ca, cb := view[string](t, a, "docs", options...), view[string](t, b, "docs", options...)
		require.NoError(t, ca.Set(t.Context(), "k", "old"))
		time.Sleep(2 * time.Minute)
		release := make(chan struct{})
		leads := make(chan struct{})
		go func() {
			defer close(leads)
			assert.NotEqual(t, "new", find(t, ca, "k", func(context.Context, *tier.Entry) (string, error) {
				<-release
				return "loaded", nil
			}).Value, "it began before the change")
		}()
		synctest.Wait()
		require.NoError(t, cb.Set(t.Context(), "k", "new"))
		f.sync()
		_, err := a.InvalidateSource(t.Context(), "nothing") // a has applied what came before
		require.NoError(t, err)
		joins := make(chan struct{})
		go func() {
			defer close(joins)
			assert.NotEqual(t, "old", find(t, ca, "k", is("new")).Value)
		}()
		time.Sleep(3 * time.Second)
		close(release)
		<-leads
		<-joins
	})
}

// Guard: a stale value that a call has found is not given to a fresh caller that begins after a change of which this process was not
// told yet. That caller reads the remote tier, and the log, itself.
//
//	A: leads a call, and reads 1 past its TTL; its loader takes long
//	B, another process: changes the source; its message is late
//	C: reads the key fresh, and joins the call of A
func TestI4AFreshReadIsNotGivenAStaleValueFromBeforeAChange(t *testing.T) {
	for name, changes := range map[string]func(ctx context.Context, b *tier.Store, cb *tier.Cache[string]) error{
		"source": func(ctx context.Context, b *tier.Store, _ *tier.Cache[string]) error {
			_, err := b.InvalidateSource(ctx, "doc")
			return err
		},
		"key":         func(ctx context.Context, _ *tier.Store, cb *tier.Cache[string]) error { return cb.Set(ctx, "k", "new") },
		"key deleted": func(ctx context.Context, _ *tier.Store, cb *tier.Cache[string]) error { return cb.Delete(ctx, "k") },
	} {
		t.Run(name, func(t *testing.T) {
			inBubbles(t, func(t *testing.T, f *fleet) {
				hooks := &interpose.Backend{Inner: f.hub}
				options := []tier.Option{tier.WithPrefix(f.prefix), tier.WithRemote(hooks), tier.WithHeartbeat(time.Hour), tier.WithMaxStaleness(10 * time.Hour)}
				if !f.tracked {
					options = append(options, tier.WithoutTracking())
				}
				a, err := tier.Open(t.Context(), options...)
				require.NoError(t, err)
				defer a.Close()
				b := f.process()
				how := []tier.CacheOption{tier.WithTTL(time.Minute), tier.WithStaleOnError(time.Hour), tier.WithSoftTimeout(50 * time.Millisecond), tier.WithRemoteOnly()}
				ca, cb := view[string](t, a, "docs", how...), view[string](t, b, "docs", how...)
				find(t, ca, "k", is("old", "doc"))
				time.Sleep(2 * time.Minute)
				hooks.Filter(func(interpose.Event) bool { return false })
				release := make(chan struct{})
				var all sync.WaitGroup
				all.Go(func() {
					_, _ = ca.Get(t.Context(), "k", func(context.Context, *tier.Entry) (string, error) { // it began before the change
						<-release
						return "", errOrigin
					})
				})
				synctest.Wait()
				require.NoError(t, changes(t.Context(), b, cb))
				all.Go(func() { assert.Equal(t, "new", find(t, ca, "k", is("new", "doc"), tier.Fresh()).Value) })
				all.Go(func() {
					got, err := ca.GetMany(t.Context(), []string{"k"}, func(context.Context, []string, tier.Entries) (map[string]string, error) {
						return map[string]string{"k": "new"}, nil
					}, tier.Fresh())
					assert.NoError(t, err)
					assert.Equal(t, "new", got["k"])
				})
				time.Sleep(time.Second)
				close(release)
				all.Wait()
			})
		})
	}
}
