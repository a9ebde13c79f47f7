package tier

import (
	"reflect"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/tier/internal/stripe"
)

// A counter that is not in the list would be missing from the sum of all namespaces.
func TestEveryCounterCountsInTheTotal(t *testing.T) {
	var total counters
	c := newCounters(&total, &stripe.Counter{})
	fields := 0
	v := reflect.ValueOf(c).Elem()
	for i := range v.NumField() {
		switch f := v.Field(i); f.Type() {
		case reflect.TypeFor[*stripe.Counter]():
		case reflect.TypeFor[stripe.Count]():
			fields++
		case reflect.TypeFor[[numCauses]stripe.Count]():
			fields += int(numCauses)
		default:
			require.Fail(t, "a counter of another type", v.Type().Field(i).Name)
		}
	}
	require.Len(t, c.all(), fields)
	for i, one := range c.all() {
		one.Add(int64(i) + 1)
		require.Equal(t, int64(i)+1, total.all()[i].Load())
	}
	require.Equal(t, c.counts(), total.counts())
}
