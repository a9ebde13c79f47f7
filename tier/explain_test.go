package tier_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/tier"
)

func explain[V any](t *testing.T, c *tier.Cache[V], key string) tier.Explanation {
	t.Helper()
	e, err := c.Explain(t.Context(), key)
	require.NoError(t, err)
	return e
}

func TestExplainTellsWhatEachTierHolds(t *testing.T) {
	onEachRemote(t, func(t *testing.T, f *fleet) {
		s := f.process()
		c := view[string](t, s, "docs:technical")
		e := explain(t, c, "k")
		assert.Equal(t, tier.Holding{}, e.Local)
		assert.Equal(t, tier.Holding{}, e.Remote)
		assert.Contains(t, e.String(), "nothing")
		find(t, c, "k", is("v", "doc-1", "doc-2"))
		filled(t, s, 1)
		e = explain(t, c, "k")
		assert.Equal(t, "docs:technical", e.Namespace)
		assert.Equal(t, "k", e.Key)
		assert.NotEmpty(t, f.read(e.RemoteKey))
		for _, h := range []tier.Holding{e.Local, e.Remote} {
			assert.True(t, h.Present)
			assert.True(t, h.Valid, "%v", h)
			assert.Empty(t, h.Why)
			assert.Equal(t, []string{"doc-1", "doc-2"}, h.Sources)
			assert.InDelta(t, time.Hour, h.TTL, float64(time.Minute))
			assert.Equal(t, find(t, c, "k", unneeded).AsOf, h.AsOf)
		}
		assert.Contains(t, e.String(), "doc-1")
		_, err := c.Get(t.Context(), "none", fails[string](tier.ErrNotFound))
		require.ErrorIs(t, err, tier.ErrNotFound)
		filled(t, s, 2)
		e = explain(t, c, "none")
		assert.True(t, e.Local.Negative)
		assert.True(t, e.Remote.Negative)
		assert.Zero(t, s.Stats().RemoteHits, "it is no read")
	})
}

func TestExplainNamesTheChangeThatMadeAnEntryInvalid(t *testing.T) {
	type world struct {
		f    *fleet
		a, b *tier.Store
		c    *tier.Cache[string]
	}
	for name, test := range map[string]struct {
		change  func(t *testing.T, w world) (tier.AsOf, error)
		changed string
	}{
		"source": {func(t *testing.T, w world) (tier.AsOf, error) { return w.b.InvalidateSource(t.Context(), "doc-2") }, `source "doc-2"`},
		"namespace": {func(t *testing.T, w world) (tier.AsOf, error) {
			return w.b.InvalidateNamespace(t.Context(), "docs:technical")
		}, "namespace docs:technical"},
		"namespace above":  {func(t *testing.T, w world) (tier.AsOf, error) { return w.b.InvalidateNamespace(t.Context(), "docs") }, "namespace docs"},
		"everything":       {func(t *testing.T, w world) (tier.AsOf, error) { return w.b.InvalidateAll(t.Context()) }, "everything"},
		"here as anywhere": {func(t *testing.T, w world) (tier.AsOf, error) { return w.a.InvalidateSource(t.Context(), "doc-1") }, `source "doc-1"`},
	} {
		t.Run(name, func(t *testing.T) {
			onEachRemote(t, func(t *testing.T, f *fleet) {
				w := world{f: f, a: f.process(), b: f.process()}
				w.c = view[string](t, w.a, "docs:technical")
				find(t, w.c, "k", is("v", "doc-1", "doc-2"))
				filled(t, w.a, 1)
				require.True(t, explain(t, w.c, "k").Local.Valid)
				asOf, err := test.change(t, w)
				require.NoError(t, err)
				f.sync()
				e := explain(t, w.c, "k")
				for where, h := range map[string]tier.Holding{"local": e.Local, "remote": e.Remote} {
					assert.True(t, h.Present, where)
					assert.False(t, h.Valid, where)
					assert.Equal(t, test.changed, h.Changed, where)
					assert.Equal(t, test.changed+" changed", h.Why, where)
					assert.Equal(t, asOf, h.ChangedAt, where)
				}
				assert.Contains(t, e.String(), "not valid: "+test.changed+" changed")
			})
		})
	}
}

// Where keys are scopes, a copy stays in the local tier, unbelieved, after
// another process has written the key.
func TestExplainTellsThatTheKeyItselfWasWritten(t *testing.T) {
	onEachRemote(t, func(t *testing.T, f *fleet) {
		sa, sb := f.process(), f.process()
		a, b := view[string](t, sa, "docs"), view[string](t, sb, "docs")
		find(t, a, "k", is("old"))
		filled(t, sa, 1)
		require.NoError(t, b.Delete(t.Context(), "k"))
		f.sync()
		e := explain(t, a, "k")
		assert.False(t, e.Remote.Present)
		if f.tracked {
			assert.False(t, e.Local.Present)
			return
		}
		assert.False(t, e.Local.Valid)
		assert.Equal(t, "the key itself", e.Local.Changed)
		assert.Equal(t, sa.AsOf(), e.Local.ChangedAt)
	})
}

func TestExplainTellsThatTheTTLHasPassed(t *testing.T) {
	inBubbles(t, func(t *testing.T, f *fleet) {
		c := view[string](t, f.process(), "docs", tier.WithTTL(time.Minute), tier.WithStaleOnError(time.Minute))
		find(t, c, "k", is("v"))
		time.Sleep(time.Minute)
		e := explain(t, c, "k")
		for _, h := range []tier.Holding{e.Local, e.Remote} {
			assert.False(t, h.Valid)
			assert.Equal(t, "its TTL has passed", h.Why)
		}
		assert.LessOrEqual(t, e.Local.TTL, time.Duration(0))
	})
}

func TestExplainTellsThatHistoryWasLost(t *testing.T) {
	onEachRemote(t, func(t *testing.T, f *fleet) {
		s := f.process()
		c := view[string](t, s, "docs")
		find(t, c, "k", is("v"))
		filled(t, s, 1)
		f.remove(f.prefix + ":{" + f.prefix + "}:log")
		f.sync()
		e := explain(t, c, "k")
		assert.False(t, e.Local.Valid)
		assert.NotEmpty(t, e.Local.Why)
		assert.False(t, e.Remote.Valid)
		assert.Equal(t, "everything", e.Remote.Changed)
		assert.Contains(t, e.Remote.Why, "lost")
		assert.Equal(t, "w", find(t, c, "k", is("w")).Value)
	})
}
