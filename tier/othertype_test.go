package tier

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/tier/internal/record"
	"github.com/tiercache/tiercache/tier/internal/values"
)

// Guard: the values of items are found by their place, so another type's would be read as
// if it were one of ours.
func TestAValueOfAnotherTypeIsNotGivenOut(t *testing.T) {
	ns := &namespace{}
	c := &Cache[string]{core{ns: ns, typed: typed{Type: values.New[string](record.NewKind[string](ns), &values.Encoding{}, values.Sizing{})}}}
	require.Equal(t, "v", c.valueOf(record.NewItemOf(c.typed.Kind, "v")))
	require.Panics(t, func() { c.valueOf(record.NewItemOf(record.NewKind[[]byte](ns), []byte("v"))) })
	require.Panics(t, func() { c.valueOf(record.NewItemOf(c.typed.Kind.NegativeKind, "")) })
}
