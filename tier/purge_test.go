package tier_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/tier"
)

func TestPurgeFreesANamespaceAndAllBelowIt(t *testing.T) {
	onEachRemote(t, func(t *testing.T, f *fleet) {
		sa, sb := f.process(), f.process()
		stranger := f.process(tier.WithPrefix(f.prefix + "x"))
		paths := []string{"docs", "docs:technical", "docs:technical:go", "docsother", "users", "d*cs", "d?cs:a", "{docs}"}
		fill := func(s *tier.Store) {
			for _, path := range paths {
				require.NoError(t, view[int](t, s, path).SetMany(t.Context(), map[string]int{"a": 1, "docs:b": 2, "{docs}": 3}))
			}
		}
		fill(sa)
		fill(stranger)
		f.sync()
		for _, path := range paths {
			find(t, view[int](t, sb, path), "a", unneeded)
		}
		var told []tier.PurgeProgress
		done, err := sa.Purge(t.Context(), "docs", func(p tier.PurgeProgress) { told = append(told, p) })
		require.NoError(t, err)
		assert.Equal(t, int64(9), done.Removed)
		assert.GreaterOrEqual(t, done.Scanned, int64(24))
		assert.Empty(t, done.Resume)
		assert.Equal(t, done, told[len(told)-1])
		f.sync()
		for i, path := range paths {
			for _, s := range []*tier.Store{sa, sb} {
				_, ok, err := view[int](t, s, path).Peek(t.Context(), "a")
				require.NoError(t, err)
				assert.Equal(t, i >= 3, ok, path)
			}
			_, ok, err := view[int](t, stranger, path).Peek(t.Context(), "a")
			require.NoError(t, err)
			assert.True(t, ok, "of another prefix")
		}
		done, err = sa.Purge(t.Context(), "d*cs", nil, nil)
		require.NoError(t, err)
		assert.Equal(t, int64(3), done.Removed, "no pattern")
		done, err = sa.Purge(t.Context(), "nothing:there", nil)
		require.NoError(t, err)
		assert.Zero(t, done.Removed)
	})
}

func TestAPurgeCanBeCancelledAndResumed(t *testing.T) {
	onEachRemote(t, func(t *testing.T, f *fleet) {
		s := f.process()
		c := view[string](t, s, "docs")
		const n = 5000
		for i := 0; i < n; i += 1000 {
			values := map[string]string{}
			for j := range 1000 {
				values[fmt.Sprint(i+j)] = "v"
			}
			require.NoError(t, c.SetMany(t.Context(), values))
		}
		ctx, cancel := context.WithCancel(t.Context())
		done, err := s.Purge(ctx, "docs", func(tier.PurgeProgress) { cancel() })
		removed := done.Removed
		if f.server != nil { // the embedded one purges in one step
			require.ErrorIs(t, err, context.Canceled)
			assert.NotEmpty(t, done.Resume)
			assert.Positive(t, removed)
			assert.Less(t, removed, int64(n))
			// What is left is not believed.
			_, err = c.Get(t.Context(), "7", fails[string](errOrigin))
			assert.ErrorIs(t, err, errOrigin)
			// What is stored meanwhile may go or stay; resuming invalidates nothing again.
			changes := s.Stats().Changes
			done, err = s.Purge(t.Context(), "docs", nil, tier.ResumeAt(done.Resume))
			removed += done.Removed
			assert.Equal(t, changes, s.Stats().Changes)
		}
		require.NoError(t, err)
		assert.GreaterOrEqual(t, removed, int64(n))
		assert.LessOrEqual(t, removed, int64(n+1), "the lease of the failed load may still have been there")
		assert.Empty(t, done.Resume)
		assert.Empty(t, f.keys())
	})
}

func TestAPurgeCannotBeResumedAtWhatNoPurgeReported(t *testing.T) {
	onEachRemote(t, func(t *testing.T, f *fleet) {
		s := f.process()
		for _, resume := range []string{"x", "1:0", "0", "0:x", "-1:0", "0:-1", strings.Repeat("9", 100)} {
			_, err := s.Purge(t.Context(), "docs", nil, tier.ResumeAt(resume))
			assert.ErrorContains(t, err, "cannot be resumed", resume)
			assert.NotErrorIs(t, err, tier.ErrUnavailable)
		}
	})
}

func TestOthersAreServedWhileANamespaceIsPurged(t *testing.T) {
	onEachRemote(t, func(t *testing.T, f *fleet) {
		s := f.process()
		require.NoError(t, view[string](t, s, "docs").Set(t.Context(), "k", "v"))
		users := view[string](t, s, "users")
		require.NoError(t, users.Set(t.Context(), "k", "v"))
		_, err := s.Purge(t.Context(), "docs", func(tier.PurgeProgress) {
			assert.Equal(t, "v", find(t, users, "k", unneeded, tier.NoLocal()).Value, "also from within progress")
		})
		require.NoError(t, err)
	})
}
