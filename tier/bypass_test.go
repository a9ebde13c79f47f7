package tier_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/internal/valkeytest"
	"github.com/tiercache/tiercache/remote"
	"github.com/tiercache/tiercache/tier"
)

// counting returns a loader that counts its runs.
func counting(n *int) tier.Loader[int] {
	return func(context.Context, *tier.Entry) (int, error) { *n++; return *n, nil }
}

func testBypass(t *testing.T, await func(condition func() bool), open func() *tier.Store) {
	a, b := open(), open()
	docs, err := tier.New[int](a, "docs:technical")
	require.NoError(t, err)
	other, err := tier.New[int](b, "docsextra")
	require.NoError(t, err)
	theirs, err := tier.New[int](b, "docs:technical")
	require.NoError(t, err)
	get := func(c *tier.Cache[int], load tier.Loader[int]) int {
		v, err := c.Get(t.Context(), "k", load)
		require.NoError(t, err)
		return v
	}
	var loads, others int
	require.Equal(t, 1, get(docs, counting(&loads)))
	require.Equal(t, 1, get(docs, counting(&loads)), "a local hit")
	require.Equal(t, 1, get(other, counting(&others)))

	require.NoError(t, b.Bypass(t.Context(), "docs", 10*time.Minute))
	require.Equal(t, 2, get(theirs, counting(&loads)), "in the process itself at once")
	await(func() bool { return get(docs, counting(&loads)) > 2 })
	n := loads
	require.Equal(t, n+1, get(docs, counting(&loads)), "each read goes to the loader")
	many, err := docs.GetMany(t.Context(), []string{"k", "l"}, func(_ context.Context, keys []string, _ tier.Entries) (map[string]int, error) {
		require.Len(t, keys, 2)
		return map[string]int{"k": -1, "l": -2}, nil
	})
	require.NoError(t, err)
	require.Equal(t, map[string]int{"k": -1, "l": -2}, many)
	require.Equal(t, 1, get(other, counting(&others)), "only what begins with the whole segment")
	h := a.Health(t.Context())
	require.True(t, h.Healthy)
	require.Contains(t, strings.Join(h.Warnings, "\n"), `"docs", with those below it, is bypassed until`)
	require.Zero(t, a.Stats().RemoteErrors)

	late := open() // a process that starts meanwhile
	latest, err := tier.New[int](late, "docs:technical")
	require.NoError(t, err)
	await(func() bool { was := loads; return get(latest, counting(&loads)) == was+1 })

	// Set holds afterwards, and is not read meanwhile.
	require.NoError(t, docs.Set(t.Context(), "k", 1000))
	n = loads
	require.Equal(t, n+1, get(docs, counting(&loads)))
	require.NoError(t, a.Bypass(t.Context(), "docs", 0))
	for _, c := range []*tier.Cache[int]{docs, theirs, latest} {
		await(func() bool { return get(c, counting(&loads)) == 1000 })
	}
	require.NotContains(t, strings.Join(a.Health(t.Context()).Warnings, "\n"), "bypassed")
}

func TestABypassedNamespaceIsLoadedInEveryProcess(t *testing.T) {
	shared := remote.NewEmbedded(0)
	synctest.Test(t, func(t *testing.T) {
		testBypass(t, func(condition func() bool) {
			t.Helper()
			for range 100 {
				synctest.Wait()
				if condition() {
					return
				}
				time.Sleep(10 * time.Millisecond)
			}
			t.Fatal("it did not come")
		}, func() *tier.Store {
			s, err := tier.Open(t.Context(), tier.WithRemote(shared))
			require.NoError(t, err)
			t.Cleanup(func() { require.NoError(t, s.Close()) })
			return s
		})
	})
}

func TestABypassOnAServer(t *testing.T) {
	s, prefix := valkeytest.Shared(t), valkeytest.Prefix(t)
	testBypass(t, func(condition func() bool) {
		t.Helper()
		require.Eventually(t, condition, 30*time.Second, 5*time.Millisecond)
	}, func() *tier.Store {
		store, err := tier.Open(t.Context(), tier.WithValkey(s.URL()), tier.WithPrefix(prefix), tier.WithRemoteTimeout(10*time.Second))
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, store.Close()) })
		return store
	})
}

func TestABypassEndsByItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, err := tier.Open(t.Context())
		require.NoError(t, err)
		defer s.Close()
		c, err := tier.New[int](s, "docs")
		require.NoError(t, err)
		var loads int
		get := func() int {
			v, err := c.Get(t.Context(), "k", counting(&loads))
			require.NoError(t, err)
			return v
		}
		get()
		require.NoError(t, s.Bypass(t.Context(), "docs", time.Minute))
		require.NoError(t, s.Bypass(t.Context(), "users", time.Hour))
		time.Sleep(59 * time.Second)
		require.Equal(t, 2, get())
		time.Sleep(1100 * time.Millisecond)
		synctest.Wait()
		require.Equal(t, 1, get(), "what was stored is there again")
		require.Len(t, s.Health(t.Context()).Warnings, 1, "the other lasts")
		// A namespace that is made meanwhile.
		c, err = tier.New[int](s, "users:of:one")
		require.NoError(t, err)
		require.Equal(t, 3, get())
		require.Equal(t, 4, get())
		time.Sleep(time.Hour)
		synctest.Wait()
		require.Equal(t, get(), get())
	})
}

func TestABypassHasLimits(t *testing.T) {
	s, err := tier.Open(t.Context(), tier.WithRemoteTimeout(10*time.Second))
	require.NoError(t, err)
	require.ErrorContains(t, s.Bypass(t.Context(), "docs", 25*time.Hour), "must be between 0")
	require.ErrorContains(t, s.Bypass(t.Context(), "docs", -1), "must be between 0")
	require.ErrorContains(t, s.Bypass(t.Context(), "docs:", time.Hour), "empty segment")
	require.NoError(t, s.Close())
	require.ErrorIs(t, s.Bypass(t.Context(), "docs", time.Hour), tier.ErrClosed)
}
