package tier_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/tier"
)

func explain[V any](t *testing.T, c *tier.Cache[V], key string) tier.Explanation {
	t.Helper()
	e, err := c.Explain(t.Context(), key)
	require.NoError(t, err)
	return e
}
