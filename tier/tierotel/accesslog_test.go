package tierotel_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/tier"
	"github.com/tiercache/tiercache/tier/tierotel"
)

func TestAnAccessLogHasAllReadsOfSomeKeysAndNoKeys(t *testing.T) {
	w := open(t)
	var out bytes.Buffer
	log, err := tierotel.NewAccessLog(&out, 10, "salt")
	require.NoError(t, err)
	c := tierotel.Log(log, view[string](t, w.Store, "docs", tier.WithTTL(time.Hour), tier.WithJitter(0)), "docs")
	const keys = 5000
	for range 2 {
		for i := range keys {
			v, err := c.Get(t.Context(), fmt.Sprint("secret-", i), is("12345"))
			require.NoError(t, err)
			require.Equal(t, "12345", v)
		}
	}
	many := []string{"secret-0", "secret-1", "none"}
	_, err = c.GetMany(t.Context(), many, func(context.Context, []string, tier.Entries) (map[string]string, error) { return nil, nil })
	require.NoError(t, err)
	reads := make(map[string]int)
	for line := range strings.Lines(out.String()) {
		var got map[string]any
		require.NoError(t, json.Unmarshal([]byte(line), &got))
		assert.Equal(t, "docs", got["namespace"])
		assert.Equal(t, "get", got["op"])
		assert.EqualValues(t, 10, got["one_in"])
		assert.InDelta(t, time.Now().Unix(), got["time"], 600)
		if got["ttl"] != nil {
			assert.InDelta(t, 3600, got["ttl"], 1)
			assert.EqualValues(t, 5, got["size"])
		}
		reads[got["key"].(string)]++
	}
	assert.InDelta(t, keys/10, len(reads), keys/40)
	for key, n := range reads {
		assert.GreaterOrEqual(t, n, 2, key)
	}
	assert.NotContains(t, out.String(), "secret")
}

func TestABadAccessLogIsRefused(t *testing.T) {
	_, err := tierotel.NewAccessLog(nil, 0, "")
	for _, part := range []string{"writer", "one key in 0", "secret"} {
		require.ErrorContains(t, err, part)
	}
}
