package tier_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/zeebo/xxh3"

	"github.com/tiercache/tiercache/internal/alloctest"
	"github.com/tiercache/tiercache/internal/envelope"
	"github.com/tiercache/tiercache/remote"
	"github.com/tiercache/tiercache/tier"
)

// An envelope: how many digits stand before it, how many bytes end it, and where
// its incarnation is.
const stampLen, sumLen, incarnationAt = 13, 8, 10

// Whatever is stored under an entry's name, by whomever: it is read as a value,
// as "not found" or as a miss, and within the limit. The stamp is what it is
// given; incarnation and checksum are made right, so that the rest is looked at.
func FuzzStoredEntry(f *testing.F) {
	hub := remote.NewEmbedded(0)
	s, err := tier.Open(bg, tier.WithRemote(hub))
	require.NoError(f, err)
	f.Cleanup(func() { s.Close() })
	c, err := tier.New[[]byte](s, "fuzz", tier.WithCompression(1), tier.WithRemoteOnly())
	require.NoError(f, err)
	for _, value := range [][]byte{nil, {}, []byte("value"), make([]byte, 1000)} {
		require.NoError(f, c.Set(bg, "k", value))
		raw, ok := hub.Read(hub.Keys()[0])
		require.True(f, ok)
		f.Add(raw[:stampLen], []byte(raw[stampLen:len(raw)-sumLen]))
	}
	name := hub.Keys()[0]
	f.Add("", []byte{})
	f.Add("0000000000000", []byte("x"))
	f.Add("-999999999999", make([]byte, 100))
	f.Fuzz(func(t *testing.T, stamp string, body []byte) {
		body = bytes.Clone(body)
		if len(body) >= incarnationAt+8 {
			binary.BigEndian.PutUint64(body[incarnationAt:], s.AsOf().Incarnation)
		}
		sealed := binary.BigEndian.AppendUint64(body[:len(body):len(body)], xxh3.Hash(body))
		hub.Put(name, stamp+string(sealed))
		var got []byte
		var found bool
		alloctest.Within(t, 2*envelope.MaxPayload+4*len(body)+2*alloctest.Slack, func() { got, found, err = c.Peek(bg, "k") })
		if errors.Is(err, tier.ErrNotFound) {
			return
		}
		require.NoError(t, err)
		if e, err := envelope.Decode((stamp + string(sealed))[min(stampLen, len(stamp)+len(sealed)):]); found {
			require.NoError(t, err)
			require.Equal(t, []any{"fuzz", "k"}, []any{e.Namespace, e.Key})
			require.Equal(t, string(e.Payload[1:]), string(got))
		}
	})
}
