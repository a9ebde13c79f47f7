package tier_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/internal/alloctest"
	"github.com/tiercache/tiercache/internal/embedded"
	"github.com/tiercache/tiercache/internal/envelope"
	"github.com/tiercache/tiercache/tier"
)

// Whatever is stored under an entry's name, by whomever: it is read as a value,
// as "not found" or as a miss, and within the limit. Incarnation, check and sum
// are made right, so that the rest is looked at.
func FuzzStoredEntry(f *testing.F) {
	hub := embedded.New(0)
	s, err := tier.Open(bg, tier.WithRemote(hub))
	require.NoError(f, err)
	f.Cleanup(func() { s.Close() })
	c, err := tier.New[[]byte](s, "fuzz", tier.WithCompression(1), tier.WithRemoteOnly())
	require.NoError(f, err)
	for _, value := range [][]byte{nil, {}, []byte("value"), make([]byte, 1000)} {
		require.NoError(f, c.Set(bg, "k", value))
		raw, ok := hub.Read(hub.Keys()[0])
		require.True(f, ok)
		f.Add([]byte(raw[:len(raw)-sumLen]))
	}
	name := hub.Keys()[0]
	f.Add([]byte{})
	f.Add([]byte("0000000000000x"))
	f.Add(append([]byte("-999999999999"), make([]byte, 100)...))
	f.Fuzz(func(t *testing.T, body []byte) {
		raw := string(body)
		if len(body) >= envelope.HeadLen {
			body = bytes.Clone(body)
			binary.BigEndian.PutUint64(body[incarnationAt:], s.AsOf().Incarnation)
			raw = resealed(string(body) + strings.Repeat("x", sumLen))
		}
		hub.Put(name, raw)
		var got []byte
		var found bool
		alloctest.Within(t, 2*envelope.MaxPayload+4*len(body)+2*alloctest.Slack, func() { got, found, err = c.Peek(bg, "k") })
		if errors.Is(err, tier.ErrNotFound) {
			return
		}
		require.NoError(t, err)
		if e, err := envelope.Decode(raw); found {
			require.NoError(t, err)
			require.Equal(t, []any{"fuzz", "k"}, []any{e.Namespace, e.Key})
			require.Equal(t, string(e.Payload[1:]), string(got))
		}
	})
}
