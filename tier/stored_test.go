package tier_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"strings"
	"testing"
	"time"

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

// What counts for a copy of a stored entry is at least what was read of it, and at most 64 times that and 4 KiB, whatever the entry states;
// and to keep it allocates in proportion. (A compressed value is as long as it says, up to WithMaxValue.)
func FuzzCostOfStoredEntry(f *testing.F) {
	hub := embedded.New(0)
	s, err := tier.Open(bg, tier.WithRemote(hub))
	require.NoError(f, err)
	f.Cleanup(func() { s.Close() })
	type page struct {
		Title string
		Links []string
		More  map[string]any
	}
	text, err := tier.New[string](s, "text")
	require.NoError(f, err)
	pages, err := tier.New[page](s, "pages", tier.WithCompression(64))
	require.NoError(f, err)
	require.NoError(f, text.Set(bg, "k", "value"))
	require.NoError(f, pages.Set(bg, "k", page{Title: "t"}))
	stored := make(map[string]envelope.Entry)
	names := make(map[string]string)
	for _, name := range hub.Keys() {
		raw, _ := hub.Read(name)
		if e, err := envelope.Decode(raw); err == nil { // else it is none
			stored[e.Namespace], names[e.Namespace] = e, name
		}
	}
	require.Len(f, stored, 2)
	for _, cost := range []int64{0, 1, 1 << 10, 1 << 40, 1<<63 - 1, -1} {
		f.Add(cost, int64(time.Minute), int64(time.Hour), []byte("value"), uint16(0), uint8(0), false)
		f.Add(cost, int64(1), int64(1<<62), []byte(`{"Title":"t","Links":["",""],"More":{"a":[1,{"b":null}]}}`), uint16(3), uint8(0), true)
		f.Add(cost, int64(0), int64(time.Hour), bytes.Repeat([]byte(`{},`), 1000), uint16(10_000), uint8(0), true)
	}
	f.Add(int64(5), int64(1), int64(1), []byte("x"), uint16(9), uint8(40), false)
	kept := func(t *testing.T, name string, raw string, read func() (cost int64, ok bool)) {
		hub.Put(name, raw)
		var cost int64
		var ok bool
		e, err := envelope.Decode(raw)
		n := int64(len(raw) + len(e.Payload))
		alloctest.Within(t, 64*int(n)+4*alloctest.Slack, func() { cost, ok = read() })
		if !ok {
			return
		}
		require.NoError(t, err)
		n = int64(max(len(raw), len(e.Payload)))
		if e.Cost > 0 {
			require.Equal(t, min(max(e.Cost, n), 64*n+4<<10), cost)
		}
		require.GreaterOrEqual(t, cost, int64(len(e.Payload))/8, "what was decoded takes less than it was long, at most by its marks")
		require.LessOrEqual(t, cost, 64*n+4<<10)
	}
	f.Fuzz(func(t *testing.T, cost, fresh, life int64, payload []byte, sources uint16, at uint8, isPage bool) {
		ns := "text"
		if isPage {
			ns = "pages"
		}
		e := stored[ns]
		e.Cost, e.Payload = cost, payload
		e.Fresh, e.Life = time.Duration(fresh).Truncate(time.Millisecond), time.Duration(life).Truncate(time.Millisecond)
		e.Sources = make([]string, min(int(sources), envelope.MaxSources))
		b, err := envelope.Encode(&e, int(at%2))
		if err != nil {
			return
		}
		raw := string(b)
		if at > 1 && len(raw) > envelope.HeadLen+sumLen { // a byte is another, and the sum is right
			b[envelope.HeadLen+int(at)%(len(raw)-envelope.HeadLen-sumLen)] ^= at
			raw = resealed(string(b))
		}
		if isPage {
			kept(t, names[ns], raw, func() (int64, bool) { return costOfRead(t, pages) })
		} else {
			kept(t, names[ns], raw, func() (int64, bool) { return costOfRead(t, text) })
		}
	})
}

// costOfRead reads what is stored under k, and returns what counts for the copy, if there is one.
func costOfRead[V any](t *testing.T, c *tier.Cache[V]) (int64, bool) {
	_, err := c.Lookup(bg, "k", func(context.Context, *tier.Entry) (V, error) { var none V; return none, tier.ErrNotFound }, tier.Fresh())
	if err != nil {
		require.ErrorIs(t, err, tier.ErrNotFound)
		return 0, false
	}
	return tier.CostOfCopy(c, "k")
}
