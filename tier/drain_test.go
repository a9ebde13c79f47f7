package tier_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/internal/embedded"
	"github.com/tiercache/tiercache/internal/interpose"
	"github.com/tiercache/tiercache/tier"
)

func TestDrainWaitsForFillsAndPostponedChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{t, embedded.New(0), "test", nil}
		var log journal
		s, hooks := w.open(tier.WithLogger(log.logger()))
		c := view[string](t, s, "docs")
		require.NoError(t, s.Drain(t.Context()), "there is nothing")

		goOn := make(chan struct{})
		hooks.Before(func(op interpose.Op) error {
			if op == interpose.Write {
				<-goOn
			}
			return nil
		})
		find(t, c, "k", is("v"))
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		err := s.Drain(ctx)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.ErrorContains(t, err, "not all values are stored")
		done := make(chan error, 1)
		go func() { done <- s.Drain(context.Background()) }()
		synctest.Wait()
		require.Empty(t, done)
		close(goOn)
		require.NoError(t, <-done)
		require.Equal(t, int64(1), s.Stats().Fills)

		down := errors.New("down")
		hooks.Before(func(op interpose.Op) error {
			if op == interpose.Append {
				return down
			}
			return nil
		})
		_, err = s.InvalidateSource(t.Context(), "a", "b")
		require.Error(t, err)
		ctx, cancel = context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.ErrorContains(t, s.Drain(ctx), "the invalidation of 2 scopes is not recorded")
		go func() { done <- s.Drain(context.Background()) }()
		synctest.Wait()
		hooks.Before(nil)
		require.NoError(t, <-done)
		require.Zero(t, s.Health(t.Context()).Undelivered)
	})
}

// The goroutines that Close stops end in any order.
func TestADrainThatCloseEndsSaysSo(t *testing.T) {
	for range 500 {
		synctest.Test(t, func(t *testing.T) {
			w := &world{t, embedded.New(0), "test", nil}
			var log journal
			s, hooks := w.open(tier.WithLogger(log.logger()))
			hooks.Before(func(op interpose.Op) error {
				if op == interpose.Append {
					return errors.New("down")
				}
				return nil
			})
			_, err := s.InvalidateSource(t.Context(), "c")
			require.Error(t, err)
			done := make(chan error, 1)
			go func() { done <- s.Drain(context.Background()) }()
			synctest.Wait()
			require.NoError(t, s.Close())
			require.ErrorIs(t, <-done, tier.ErrClosed)
			require.ErrorIs(t, s.Drain(t.Context()), tier.ErrClosed)
			require.Contains(t, log.String(), "closed before all changes were recorded")
		})
	}
}
