package tier

import (
	"reflect"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/tier/internal/core"
	"github.com/tiercache/tiercache/tier/internal/stripe"
)

// A counter that is not in the list would be missing from the sum of all namespaces.
func TestEveryCounterCountsInTheTotal(t *testing.T) {
	var total core.Counters
	c := &core.Counters{}
	c.Init(&total, &stripe.Counter{})
	fields := 0
	v := reflect.ValueOf(c).Elem()
	for i := range v.NumField() {
		switch f := v.Field(i); f.Type() {
		case reflect.TypeFor[*stripe.Counter]():
		case reflect.TypeFor[stripe.Count]():
			fields++
		case reflect.TypeFor[[core.NumCauses]stripe.Count]():
			fields += int(core.NumCauses)
		default:
			require.Fail(t, "a counter of another type", v.Type().Field(i).Name)
		}
	}
	require.Len(t, c.All(), fields)
	for i, one := range c.All() {
		one.Add(int64(i) + 1)
		require.Equal(t, int64(i)+1, total.All()[i].Load())
	}
	require.Equal(t, countsOf(c, 0), countsOf(&total, 0))
}
