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
