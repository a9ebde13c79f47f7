package loads

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
)

func load(key string, parent *Load, targets ...*Target) *Load {
	l := &Load{Space: "docs", Key: key, Parent: parent, Targets: targets}
	for _, t := range targets {
		t.MadeBy(l)
	}
	return l
}

func TestNoPlacesBoundNothing(t *testing.T) {
	var p *Places
	require.Nil(t, NewPlaces(0))
	for range 100 {
		l := load("k", nil)
		require.NoError(t, p.Take(t.Context(), l, false))
		defer p.Release(l)
	}
}

func TestPlacesAreGivenInTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := NewPlaces(2)
		var first []*Load
		for range 2 {
			l := load("k", nil)
			require.NoError(t, p.Take(t.Context(), l, false))
			first = append(first, l)
		}
		require.Equal(t, ErrFull, p.Take(t.Context(), load("k", nil), false), "it would wait")
		var order []int
		var all sync.WaitGroup
		for i := range 8 {
			all.Go(func() {
				l := load("k", nil)
				require.NoError(t, p.Take(t.Context(), l, true))
				order = append(order, i) // one after another
				p.Release(l)
				p.Release(l) // of no effect
			})
			synctest.Wait()
		}
		require.Equal(t, ErrFull, p.Take(t.Context(), load("k", nil), true), "as many wait as may")
		p.Release(first[0])
		all.Wait()
		require.Equal(t, []int{0, 1, 2, 3, 4, 5, 6, 7}, order)
		p.Release(first[1])
		require.Zero(t, p.used)
		require.Empty(t, p.waiting)
	})
}

func TestAWaitForAPlaceEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := NewPlaces(1)
		has := load("has", nil)
		require.NoError(t, p.Take(t.Context(), has, true))
		ctx, cancel := context.WithCancelCause(t.Context())
		ended := make(chan error)
		go func() { ended <- p.Take(ctx, load("k", nil), true) }()
		synctest.Wait()
		gone := errors.New("gone")
		cancel(gone)
		require.Equal(t, gone, <-ended)
		p.Release(has)
		require.Zero(t, p.used)
		require.NoError(t, p.Take(t.Context(), load("k", nil), false))
	})
}

func TestAPlaceIsFreeWhenTheLastLoadHasLeftIt(t *testing.T) {
	p := NewPlaces(1)
	a := load("a", nil)
	require.NoError(t, p.Take(t.Context(), a, false))
	b := load("b", a)
	require.NoError(t, p.Take(t.Context(), b, false))
	c := load("c", b)
	require.NoError(t, p.Take(t.Context(), c, false))
	for _, l := range []*Load{a, b} {
		p.Release(l)
		require.Equal(t, ErrFull, p.Take(t.Context(), load("other", nil), false))
	}
	require.NoError(t, p.Take(t.Context(), load("d", c), false))
	p.Release(c)
	require.Equal(t, 1, p.used)
	// What was inside a load that is over takes a place of its own.
	require.Equal(t, ErrFull, p.Take(t.Context(), load("late", c), false))
}

// In both orders: a load waits for a place, and a loader for that load.
func TestALoadForWhichALoaderWaitsSharesItsPlace(t *testing.T) {
	for _, queuedFirst := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			p := NewPlaces(1)
			a := load("a", nil)
			require.NoError(t, p.Take(t.Context(), a, false))
			var target Target
			b := load("b", nil, &target)
			got := make(chan error)
			var done func()
			wait := func() { done, _ = a.Await(&target) }
			if !queuedFirst {
				wait()
			}
			go func() { got <- p.Take(t.Context(), b, true) }()
			synctest.Wait()
			if queuedFirst {
				wait()
			}
			require.NoError(t, <-got)
			done()
			p.Release(a)
			require.Equal(t, 1, p.used)
			p.Release(b)
			require.Zero(t, p.used)
		})
	}
}

func TestACycleIsFoundByTheLoaderThatClosesIt(t *testing.T) {
	targets := make([]Target, 4)
	var all []*Load
	for i := range targets {
		all = append(all, load(fmt.Sprint("k", i), nil, &targets[i]))
	}
	var dones []func()
	for i := range 3 {
		done, cycle := all[i].Await(&targets[i+1])
		require.Nil(t, cycle)
		dones = append(dones, done)
	}
	other, cycle := load("other", nil).Await(&targets[0])
	require.Nil(t, cycle)
	_, cycle = all[3].Await(&targets[0])
	require.Equal(t, []*Load{all[0], all[1], all[2], all[3]}, cycle)
	require.Equal(t, `docs "k0", which waits for docs "k1", which waits for docs "k2", which waits for docs "k3", which waits for docs "k0"`, Describe(cycle))
	_, cycle = all[2].Await(&targets[2])
	require.Equal(t, []*Load{all[2]}, cycle, "itself")
	dones[1]()
	done, cycle := all[3].Await(&targets[0])
	require.Nil(t, cycle)
	for _, f := range []func(){done, dones[0], dones[2], other} {
		f()
	}
	for i, l := range all {
		require.Empty(t, l.awaits)
		require.Empty(t, targets[i].waiters)
	}
}

func TestALoadOfManyKeysIsNamedByOne(t *testing.T) {
	l := load("k", nil)
	l.More = 2
	require.Equal(t, `docs "k" and 2 more, which waits for docs "k" and 2 more`, Describe([]*Load{l}))
}

func TestStuckLoadersAreCounted(t *testing.T) {
	var s Stuck
	for range MostStuck {
		require.False(t, s.Full())
		s.GiveUp()
	}
	require.True(t, s.Full())
	s.Return()
	require.False(t, s.Full())
	require.Equal(t, MostStuck-1, s.Count())
}
