package core

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/tier/internal/record"
	"github.com/tiercache/tiercache/tier/internal/values"
)

// Guard: the values of items are found by their place, so another type's would be read as
// if it were one of ours.
func TestAValueOfAnotherTypeIsNotGivenOut(t *testing.T) {
	ns := &Namespace{}
	c := &Cache{ns: ns, typed: values.New[string](record.NewKind[string](ns), &values.Encoding{}, values.Sizing{})}
	require.NotPanics(t, func() { c.Look(record.NewItemOf(c.Kind(), "v")) })
	require.Panics(t, func() { c.Look(record.NewItemOf(record.NewKind[[]byte](ns), []byte("v"))) })
	require.Panics(t, func() { c.Look(record.NewItemOf(c.Kind().NegativeKind, "")) })
}
