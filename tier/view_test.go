package tier_test

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/internal/interpose"
	"github.com/tiercache/tiercache/tier"
)

// newView makes a view and returns only whether that was admitted, so that nothing
// refers to the view. Some tests keep what it gives to hold.
type newView struct {
	name string
	make func(s *tier.Store, hold *any) error
}

func viewAs[V any](name string, options ...tier.CacheOption) newView {
	return newView{name, func(s *tier.Store, hold *any) error {
		c, err := tier.New[V](s, "docs", options...)
		if hold != nil {
			*hold = c
		}
		return err
	}}
}

// Views of one namespace are served each other's entries: those that could not be are
// refused, by an error that names both.
func TestViewsOfOneNamespaceAgree(t *testing.T) {
	type human person
	kinds := []newView{
		viewAs[string]("values of type string, the default codec"),
		viewAs[string]("values of type string, WithLocalOnly", tier.WithLocalOnly()),
		viewAs[string]("values of type string, WithCodec(tier_test.jsonish)", tier.WithCodec(jsonish{})),
		viewAs[int]("values of type int, the default codec"),
		viewAs[int]("values of type int, WithLocalOnly", tier.WithLocalOnly()),
		viewAs[person]("values of type tier_test.person, the default codec"),
		viewAs[human]("values of type tier_test.human, the default codec"),
		viewAs[*person]("values of type *tier_test.person, the default codec"),
	}
	for i, first := range kinds {
		s := embeddedFleet(t, nil).process()
		var held any
		require.NoError(t, first.make(s, &held))
		for j, second := range kinds {
			err := second.make(s, nil)
			if i == j {
				require.NoError(t, err)
				continue
			}
			require.ErrorContains(t, err, "one with "+first.name+" is in use")
			require.ErrorContains(t, err, "this one has "+second.name)
			require.ErrorContains(t, err, `"docs:other"`)
			require.NotContains(t, err.Error(), "\n")
		}
		_, err := tier.New[complex128](s, "docs:below", tier.WithLocalOnly()) // another namespace
		require.NoError(t, err)
		runtime.KeepAlive(held)
	}
}

func TestTwoTypesOfOneNameAreTwo(t *testing.T) {
	s := embeddedFleet(t, nil).process()
	c := func() any { type same struct{ A int }; return view[same](t, s, "docs") }()
	type same struct{ B string }
	_, err := tier.New[same](s, "docs")
	require.ErrorContains(t, err, "another type of the same name")
	runtime.KeepAlive(c)
}

// What each entry carries itself, or concerns the reader alone, may differ.
func TestViewsOfOneNamespaceMayDifferInTheRest(t *testing.T) {
	onEachRemote(t, func(t *testing.T, f *fleet) {
		s := f.process()
		c := view[string](t, s, "docs")
		find(t, c, "k", is("v"))
		filled(t, s, 1)
		for _, options := range [][]tier.CacheOption{
			{tier.WithTTL(time.Minute), tier.WithJitter(0.5)}, {tier.WithLocalTTL(time.Minute)}, {tier.WithNegativeTTL(0)},
			{tier.WithStaleOnError(time.Hour), tier.WithStaleWhileRevalidate(time.Hour), tier.WithSoftTimeout(time.Second)},
			{tier.WithEarlyRefresh(0.5)}, {tier.WithLoadTimeout(time.Hour)}, {tier.WithOutageTTL(time.Minute)},
			{tier.WithCompression(1)}, {tier.WithRemoteOnly()},
		} {
			assert.Equal(t, "v", find(t, view[string](t, s, "docs", options...), "k", unneeded).Value)
		}
		runtime.KeepAlive(c)
	})
}

// One of those that are made at once is first; the others agree with it or are refused.
func TestViewsMadeAtOnceAgree(t *testing.T) {
	kinds := []newView{viewAs[string]("a"), viewAs[string]("b", tier.WithLocalOnly()), viewAs[int]("c")}
	for range 20 {
		s := embeddedFleet(t, nil).process()
		held, errs := make([]any, 24), make([]error, 24)
		var all sync.WaitGroup
		for i := range held {
			all.Go(func() { errs[i] = kinds[i%len(kinds)].make(s, &held[i]) })
		}
		all.Wait()
		admitted := make(map[int]bool)
		for i, err := range errs {
			if err == nil {
				admitted[i%len(kinds)] = true
			}
		}
		require.Len(t, admitted, 1)
		for i, err := range errs {
			require.Equal(t, admitted[i%len(kinds)], err == nil)
		}
		runtime.KeepAlive(held)
	}
}

// used makes views and uses them, and leaves none referenced.
//
//go:noinline
func used(use func()) { use() }

// admitted returns a view once no other kind is in use any more.
func admitted[V any](t *testing.T, s *tier.Store, path string, options ...tier.CacheOption) (c *tier.Cache[V]) {
	t.Helper()
	eventually(t, "the view is admitted", func() (ok bool) {
		runtime.GC()
		var err error
		c, err = tier.New[V](s, path, options...)
		return err == nil
	})
	return c
}

// What views that are gone have left in the local tier is a miss for views of another
// kind: no server would tell these of changes, or its type is not theirs.
func TestI2WhatViewsOfAnotherKindHaveLeftIsNotServed(t *testing.T) {
	onEachRemote(t, func(t *testing.T, f *fleet) {
		keys := []string{"set", "loaded", "none"}
		fill := func(c *tier.Cache[string]) {
			require.NoError(t, c.Set(t.Context(), "set", "old"))
			find(t, c, "loaded", is("old"))
			_, err := c.Get(t.Context(), "none", fails[string](tier.ErrNotFound))
			require.ErrorIs(t, err, tier.ErrNotFound)
		}
		none := func(context.Context, []string, tier.Entries) (map[string]string, error) { return nil, nil }
		check := func(t *testing.T, c *tier.Cache[string]) {
			for _, key := range keys {
				_, there, err := c.Peek(t.Context(), key)
				require.NoError(t, err)
				require.False(t, there, key)
				require.False(t, explain(t, c, key).Local.Valid, key)
				require.Equal(t, "new", find(t, c, key, is("new")).Value, key)
			}
		}
		t.Run("local only, then both tiers", func(t *testing.T) {
			s := f.process()
			used(func() { fill(view[string](t, s, "one", tier.WithLocalOnly())) })
			c := admitted[string](t, s, "one")
			check(t, c)
		})
		t.Run("all at once", func(t *testing.T) {
			s := f.process()
			used(func() { fill(view[string](t, s, "two", tier.WithLocalOnly())) })
			got, err := admitted[string](t, s, "two").GetMany(t.Context(), keys, none)
			require.NoError(t, err)
			require.Empty(t, got)
		})
		t.Run("both tiers, then local only", func(t *testing.T) {
			s := f.process()
			used(func() { fill(view[string](t, s, "three")) })
			check(t, admitted[string](t, s, "three", tier.WithLocalOnly()))
		})
		t.Run("another type", func(t *testing.T) {
			s := f.process()
			used(func() { fill(view[string](t, s, "four", tier.WithLocalOnly())) })
			c := admitted[int64](t, s, "four", tier.WithLocalOnly())
			for _, key := range keys {
				require.EqualValues(t, 7, find(t, c, key, is[int64](7)).Value)
			}
		})
		t.Run("another type, in both tiers", func(t *testing.T) {
			s := f.process()
			used(func() { fill(view[string](t, s, "five")) })
			c := admitted[int64](t, s, "five")
			for _, key := range keys[:2] {
				require.EqualValues(t, 7, find(t, c, key, is[int64](7)).Value)
			}
			require.EqualValues(t, 2, s.Stats().RemoteMisses[tier.OtherType])
			require.Zero(t, s.Stats().LocalMisses[tier.OtherType])
		})
		t.Run("and back", func(t *testing.T) {
			s := f.process()
			used(func() { fill(view[string](t, s, "six", tier.WithLocalOnly())) })
			used(func() { admitted[string](t, s, "six") })
			check(t, admitted[string](t, s, "six", tier.WithLocalOnly()))
		})
	})
}

// A stale copy of another kind is nothing to fall back on either.
func TestI2WhatViewsOfAnotherKindHaveLeftIsNoFallback(t *testing.T) {
	for kind, option := range map[string]tier.CacheOption{
		"an error": tier.WithStaleOnError(time.Hour), "meanwhile": tier.WithStaleWhileRevalidate(time.Hour), "an outage": tier.WithOutageTTL(time.Hour),
	} {
		t.Run(kind, func(t *testing.T) {
			w := &world{t, embeddedFleet(t, nil).hub, "test", nil}
			s, hooks := w.open()
			hooks.Before(func(interpose.Op) error { return errCut })
			used(func() {
				c := view[string](t, s, "docs", tier.WithLocalOnly(), option)
				require.NoError(t, c.Set(bg, "k", "old", tier.WithTTL(time.Millisecond)))
				find(t, c, "j", is("old"))
			})
			c := admitted[string](t, s, "docs", option)
			for _, key := range []string{"k", "j"} {
				_, err := c.Get(bg, key, fails[string](errOrigin))
				require.ErrorIs(t, err, errOrigin)
				_, err = c.GetMany(bg, []string{key}, func(context.Context, []string, tier.Entries) (map[string]string, error) { return nil, errOrigin })
				require.ErrorIs(t, err, errOrigin)
			}
		})
	}
}

// A hit reads the value by its place: of another type that would be anything.
func TestAHitIsOfTheViewsKind(t *testing.T) {
	s := embeddedFleet(t, nil).process()
	used(func() { require.NoError(t, view[string](t, s, "docs", tier.WithLocalOnly()).Set(bg, "k", "v")) })
	n, loads := got(t, admitted[int64](t, s, "docs", tier.WithLocalOnly()), 7)
	require.EqualValues(t, 7, n)
	require.Equal(t, 1, loads)
}

// Views come and go: those of the same kind find what earlier ones have kept.
func TestViewsOfTheSameKindFindWhatEarlierOnesKept(t *testing.T) {
	s := embeddedFleet(t, nil).process()
	used(func() { require.NoError(t, view[string](t, s, "docs", tier.WithLocalOnly()).Set(bg, "k", "v")) })
	for range 3 {
		runtime.GC()
		used(func() {
			r := find(t, view[string](t, s, "docs", tier.WithLocalOnly()), "k", unneeded)
			require.Equal(t, tier.Local, r.Origin)
		})
	}
}

// A view is in use as long as it is being loaded for, though its caller has left.
func TestAViewIsInUseWhileItLoads(t *testing.T) {
	s := embeddedFleet(t, nil).process()
	running, goOn := make(chan struct{}), make(chan struct{})
	used(func() {
		c := view[string](t, s, "docs", tier.WithTTL(time.Hour), tier.WithLocalOnly())
		go c.Get(bg, "k", func(context.Context, *tier.Entry) (string, error) {
			close(running)
			<-goOn
			return "old", nil
		})
	})
	<-running
	for range 3 {
		runtime.GC()
		_, err := tier.New[string](s, "docs")
		require.ErrorContains(t, err, "is in use")
	}
	close(goOn)
	c := admitted[string](t, s, "docs")
	require.Equal(t, "new", find(t, c, "k", is("new")).Value)
}

// A view without local copies has the same entries: what either changes the other sees.
func TestI1ViewsWithAndWithoutLocalCopiesSeeEachOthersChanges(t *testing.T) {
	onEachRemote(t, func(t *testing.T, f *fleet) {
		s := f.process()
		views := []*tier.Cache[string]{view[string](t, s, "docs"), view[string](t, s, "docs", tier.WithRemoteOnly())}
		n := 0
		for round := range 40 {
			by := views[round%2]
			for what, change := range map[string]func(v string){
				"set":      func(v string) { require.NoError(t, by.Set(t.Context(), "k", v)) },
				"set many": func(v string) { require.NoError(t, by.SetMany(t.Context(), map[string]string{"k": v, "j": v})) },
				"delete": func(v string) {
					require.NoError(t, by.Delete(t.Context(), "k"))
					find(t, by, "k", is(v))
				},
				"refresh": func(v string) {
					got, err := by.Refresh(t.Context(), "k", is(v))
					require.NoError(t, err)
					require.Equal(t, v, got)
				},
			} {
				for _, c := range views { // both have seen, and the first has kept, the one before
					find(t, c, "k", is("any"))
				}
				n++
				want := fmt.Sprint(n)
				change(want)
				for i, c := range views {
					require.Equal(t, want, find(t, c, "k", unneeded).Value, "%s by %d, seen by %d", what, round%2, i)
				}
			}
		}
	})
}
