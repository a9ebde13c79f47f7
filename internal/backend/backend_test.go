package backend

import (
	"reflect"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/internal/changelog"
)

// A function that needs a part of a connection takes that part, and a double of it stays small.
func TestEachPartOfAConnectionIsSmall(t *testing.T) {
	parts := map[string]reflect.Type{
		"Reader": reflect.TypeFor[Reader](),
		"Leaser": reflect.TypeFor[Leaser](),
		"Writer": reflect.TypeFor[Writer](),
		"Prober": reflect.TypeFor[Prober](),
		"Log":    reflect.TypeFor[changelog.Log](),
		"Server": reflect.TypeFor[Server](),
	}
	methods := 1 // Close
	for name, part := range parts {
		require.LessOrEqual(t, part.NumMethod(), 6, name)
		methods += part.NumMethod()
	}
	require.Equal(t, methods, reflect.TypeFor[Conn]().NumMethod(), "each method of Conn is in one part, except Close")
}

func TestAServerThatRefusesWritesOrIsAboutToIsFull(t *testing.T) {
	require.False(t, Memory{Policy: "noeviction", Counted: 1000}.Full(), "without a limit")
	require.True(t, Memory{Policy: "noeviction", Max: 1000, Counted: 960}.Full())
	require.False(t, Memory{Policy: "noeviction", Max: 1000, Counted: 900}.Full())
	require.False(t, Memory{Policy: "volatile-lru", Max: 1000, Counted: 1001}.Full(), "it evicts")
	require.True(t, Memory{Policy: "volatile-lru", Max: 1000, Counted: 1001, Exceeded: true}.Full())
	fullest := Memory{Max: 100, Counted: 50}
	require.Equal(t, fullest, Fuller(Memory{Max: 1000, Counted: 100}, fullest))
	require.Equal(t, fullest, Fuller(fullest, Memory{Max: 1000, Counted: 100}))
	require.Equal(t, fullest, Fuller(Memory{Counted: 100}, fullest), "one without a limit")
}
