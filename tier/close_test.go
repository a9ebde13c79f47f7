package tier_test

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/tier"
)

func TestEveryCallAfterCloseIsErrClosed(t *testing.T) {
	onEachRemote(t, func(t *testing.T, f *fleet) {
		s := f.process()
		c := view[string](t, s, "docs")
		local := view[string](t, s, "mine", tier.WithLocalOnly())
		for _, c := range []*tier.Cache[string]{c, local} {
			find(t, c, "k", is("v"))
			require.Equal(t, tier.Local, find(t, c, "k", unneeded).Origin)
		}
		require.NoError(t, s.Close())
		require.NoError(t, s.Close(), "twice is fine")
		for _, c := range []*tier.Cache[string]{c, local} {
			for what, call := range map[string]func() error{
				"get":        func() error { _, err := c.Get(t.Context(), "k", unneeded); return err },
				"get, fresh": func() error { _, err := c.Get(t.Context(), "k", unneeded, tier.Fresh()); return err },
				"lookup":     func() error { _, err := c.Lookup(t.Context(), "k", unneeded); return err },
				"get many":   func() error { _, err := c.GetMany(t.Context(), []string{"k"}, noStrings); return err },
				"peek":       func() error { _, _, err := c.Peek(t.Context(), "k"); return err },
				"set":        func() error { return c.Set(t.Context(), "k", "v") },
				"set many":   func() error { return c.SetMany(t.Context(), map[string]string{"k": "v"}) },
				"delete":     func() error { return c.Delete(t.Context(), "k") },
				"refresh":    func() error { _, err := c.Refresh(t.Context(), "k", unneeded); return err },
				"invalidate": func() error { _, err := c.Invalidate(t.Context()); return err },
				"explain":    func() error { _, err := c.Explain(t.Context(), "k"); return err },
				"source":     func() error { _, err := s.InvalidateSource(t.Context(), "a"); return err },
				"namespace":  func() error { _, err := s.InvalidateNamespace(t.Context(), "a"); return err },
				"all":        func() error { _, err := s.InvalidateAll(t.Context()); return err },
				"purge":      func() error { _, err := s.Purge(t.Context(), "docs", nil); return err },
				"sync":       func() error { return s.Sync(t.Context()) },
				"new":        func() error { _, err := tier.New[string](s, "docs"); return err },
			} {
				assert.ErrorIs(t, call(), tier.ErrClosed, what)
			}
		}
		s.AsOf()
		assert.Zero(t, s.Stats().LocalEntries)
	})
}

func TestCloseEndsLoadsUnderWayAndAnswersTheirCallers(t *testing.T) {
	onEachRemote(t, func(t *testing.T, f *fleet) {
		s := f.process()
		c := view[string](t, s, "docs")
		var started, done sync.WaitGroup
		started.Add(3)
		load := func(ctx context.Context, _ *tier.Entry) (string, error) {
			started.Done()
			<-ctx.Done()
			return "", ctx.Err()
		}
		for _, key := range []string{"a", "b"} {
			for range 5 {
				done.Go(func() {
					_, err := c.Get(t.Context(), key, load)
					assert.ErrorIs(t, err, tier.ErrClosed)
				})
			}
		}
		done.Go(func() {
			_, err := c.GetMany(t.Context(), []string{"c", "d"}, func(ctx context.Context, _ []string, e tier.Entries) (map[string]string, error) {
				_, err := load(ctx, e.For("c"))
				return nil, err
			})
			assert.ErrorIs(t, err, tier.ErrClosed)
		})
		started.Wait()
		began := time.Now()
		var closers sync.WaitGroup
		for range 3 {
			closers.Go(func() { assert.NoError(t, s.Close()) })
		}
		closers.Wait()
		done.Wait()
		assert.Less(t, time.Since(began), 4*time.Second)
	})
}

func TestCloseLeavesALoaderThatIgnoresItBehindAfterFiveSeconds(t *testing.T) {
	inBubbles(t, func(t *testing.T, f *fleet) {
		var log journal
		s := f.process(tier.WithLogger(log.logger()))
		c := view[string](t, s, "docs")
		hung := make(chan struct{})
		answered := make(chan error, 1)
		go func() {
			_, err := c.Get(t.Context(), "k", func(context.Context, *tier.Entry) (string, error) {
				<-hung
				return "v", nil
			})
			answered <- err
		}()
		synctest.Wait()
		began := time.Now()
		require.NoError(t, s.Close())
		assert.Equal(t, 5*time.Second, time.Since(began))
		assert.ErrorIs(t, <-answered, tier.ErrClosed)
		assert.Contains(t, log.String(), "left behind")
		close(hung)
		synctest.Wait()
	})
}

func TestCloseWaitsForABackgroundRefreshAndItsFill(t *testing.T) {
	inBubbles(t, func(t *testing.T, f *fleet) {
		s := f.process()
		c := view[string](t, s, "docs", tier.WithTTL(time.Minute), tier.WithStaleWhileRevalidate(time.Hour))
		find(t, c, "k", is("v1"))
		time.Sleep(time.Minute)
		ended := false
		find(t, c, "k", func(ctx context.Context, _ *tier.Entry) (string, error) {
			<-ctx.Done()
			time.Sleep(time.Second)
			ended = true
			return "v2", nil
		})
		synctest.Wait()
		require.NoError(t, s.Close())
		assert.True(t, ended)
	})
}
