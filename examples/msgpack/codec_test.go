package msgpack

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/tier"
	"github.com/tiercache/tiercache/tier/tiertest"
)

// Answer has what JSON would lose: an integer in an interface, bytes in one, and keys that are no strings.
type Answer struct {
	Text string
	At   time.Time
	Any  map[string]any
	Of   map[[2]int16]string
}

func TestValuesComeBack(t *testing.T) {
	s, err := tier.Open(t.Context(), tier.WithRemoteTimeout(10*time.Second))
	require.NoError(t, err)
	defer s.Close()
	views, err := tier.New[Answer](s, "docs", tier.WithCodec(msgpackCodec{}))
	require.NoError(t, err)
	tiertest.RoundTrip(t, views,
		Answer{Text: "no", At: time.Unix(1, 5), Any: map[string]any{"n": int64(1<<53 + 1), "b": []byte{0xff}}, Of: map[[2]int16]string{{1, 2}: "\xff"}},
		Answer{},
	)
}

func TestThePageHasThisCodec(t *testing.T) {
	page, err := os.ReadFile("../../docs/values.md")
	require.NoError(t, err)
	codec, err := os.ReadFile("codec.go")
	require.NoError(t, err)
	_, lines, found := strings.Cut(string(codec), "type msgpackCodec")
	require.True(t, found)
	assert.Contains(t, string(page), "type msgpackCodec"+lines)
	assert.Contains(t, string(page), `tier.New[Answer](store, "docs", tier.WithCodec(msgpackCodec{}))`)
}
