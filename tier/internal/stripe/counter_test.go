package stripe

import (
	"reflect"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestNoAddIsLostWhenACounterWidens(t *testing.T) {
	var s Set
	cs := make([]*Counter, 3000)
	for i := range cs {
		cs[i] = s.New()
	}
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for i := range 100_000 {
				cs[i%3].Add()
			}
		})
	}
	all.Wait()
	require.Equal(t, int64(800_000), s.Sum())
	s.Release(cs[0])
	require.Equal(t, int64(800_000), s.Sum(), "what was released still counts")
	again := s.New()
	require.Zero(t, again.Sum())
	again.Add()
	require.Equal(t, int64(1), again.Sum())
	require.Equal(t, int64(800_001), s.Sum())
	one := new(Counter)
	one.Add()
	require.Nil(t, one.wide.Load(), "as long as one goroutine adds there is one number")
	one.widen()
	one.Add()
	require.Equal(t, int64(2), one.Sum())
}

func TestACountCountsInItsTotal(t *testing.T) {
	var a, b, total Count
	a.CountIn(&total)
	b.CountIn(&total)
	a.Add(2)
	b.Add(3)
	require.Equal(t, []int64{2, 3, 5}, []int64{a.Load(), b.Load(), total.Load()})
	require.EqualValues(t, 16, reflect.TypeFor[Counter]().Size())
}
