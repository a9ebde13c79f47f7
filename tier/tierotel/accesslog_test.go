package tierotel_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
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

// What is written is what the command reads: keys, sizes, TTLs, and that there are more keys than these.
func TestTierctlReadsAnAccessLog(t *testing.T) {
	const folder = "../../cmd/tierctl"
	if _, err := os.Stat(folder); err != nil {
		t.Skip("the command is not beside this module: ", err)
	}
	program, trace := filepath.Join(t.TempDir(), "tierctl"), filepath.Join(t.TempDir(), "reads.json")
	build := exec.Command("go", "build", "-o", program, ".")
	build.Dir = folder
	out, err := build.CombinedOutput()
	require.NoError(t, err, "%s", out)

	w := open(t)
	file, err := os.Create(trace)
	require.NoError(t, err)
	defer file.Close()
	log, err := tierotel.NewAccessLog(file, 4, "salt")
	require.NoError(t, err)
	c := tierotel.Log(log, view[string](t, w.Store, "docs", tier.WithTTL(time.Hour), tier.WithJitter(0)), "docs")
	const keys, rounds, size = 400, 5, 1000
	value := is(strings.Repeat("v", size))
	for range rounds {
		for i := range keys {
			_, err := c.Get(t.Context(), fmt.Sprint("key-", i), value)
			require.NoError(t, err)
		}
	}
	written := 0
	for i := range keys {
		if log.Has("docs", fmt.Sprint("key-", i)) {
			written++
		}
	}
	cmd := exec.Command(program, "advise", trace, "--json")
	var failed strings.Builder
	cmd.Stderr = &failed
	out, err = cmd.Output()
	require.NoError(t, err, failed.String())
	require.Empty(t, failed.String(), "no line is left out")
	var got struct {
		Format                          string
		Reads, Keys, Writes, Others     int
		BadLines                        int
		TraceShare, BestHitRate         float64
		SizesKnownShare, TTLsKnownShare float64
		EntryBytes                      float64
		Curves                          map[string][]any
	}
	require.NoError(t, json.Unmarshal(out, &got))
	assert.Equal(t, "json", got.Format)
	assert.Equal(t, 4*written, got.Keys, "scaled to all keys")
	assert.Equal(t, 4*rounds*written, got.Reads)
	assert.Zero(t, got.Writes+got.Others+got.BadLines)
	assert.Equal(t, 0.25, got.TraceShare)
	assert.InDelta(t, 100*float64(rounds-1)/rounds, got.BestHitRate, 0.01)
	assert.Equal(t, 1.0, got.SizesKnownShare)
	assert.Equal(t, 1.0, got.TTLsKnownShare)
	assert.Greater(t, got.EntryBytes, float64(size))
	assert.NotEmpty(t, got.Curves["LRU"])
}
