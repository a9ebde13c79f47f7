package tier_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/internal/envelope"
	"github.com/tiercache/tiercache/tier"
)

// connection is a value with an inside that goes on changing.
type connection struct {
	Client *http.Client `json:"-"`
	Name   string
}

// A value may hold what its user goes on to use, such as a client with its table of
// idle connections: counting its bytes does not read that.
func TestAValueWithAClientInItCanBeUsedWhileItIsStored(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer server.Close()
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	s := embeddedFleet(t, nil).process()
	both := view[*connection](t, s, "both")
	here := view[connection](t, s, "here", tier.WithLocalOnly())
	value := connection{Client: client, Name: "n"}
	var all sync.WaitGroup
	done := make(chan struct{})
	all.Go(func() {
		defer close(done)
		for range 200 {
			if r, err := client.Get(server.URL); assert.NoError(t, err) {
				_ = r.Body.Close()
			}
		}
	})
	for going := true; going; {
		require.NoError(t, both.Set(t.Context(), "k", &value))
		_, err := here.Refresh(t.Context(), "k", func(context.Context, *tier.Entry) (connection, error) { return value, nil })
		require.NoError(t, err)
		select {
		case <-done:
			going = false
		default:
		}
	}
	all.Wait()
}

// sealed cannot be looked into: what is behind its lock may change.
type sealed struct {
	Mu   sync.Mutex `json:"-"`
	Body string
}

// What cannot be looked into counts as much as it takes encoded, on each way into the
// local tier, or as the guess that sizeof states.
func TestAValueThatCannotBeLookedIntoCountsWhatItTakesEncoded(t *testing.T) {
	f := embeddedFleet(t, nil)
	a, b := f.process(), f.process()
	value := &sealed{Body: strings.Repeat("x", 50_000)}
	load := is(value)
	c := view[*sealed](t, a, "docs")
	for key, store := range map[string]func(key string){
		"loaded": func(key string) { find(t, c, key, load) },
		"batch": func(key string) {
			_, err := c.GetMany(t.Context(), []string{key, "other"}, func(context.Context, []string, tier.Entries) (map[string]*sealed, error) {
				return map[string]*sealed{key: value}, nil
			})
			require.NoError(t, err)
		},
		"set": func(key string) { require.NoError(t, c.Set(t.Context(), key, value)) },
		"compressed": func(key string) {
			require.NoError(t, view[*sealed](t, a, "docs", tier.WithCompression(1)).Set(t.Context(), key, value))
		},
	} {
		store(key)
		assert.InDelta(t, 50_500, tier.CostOf(c, key), 500, key)
	}
	find(t, c, "k", func(_ context.Context, e *tier.Entry) (*sealed, error) {
		e.SetCost(7)
		return value, nil
	})
	assert.EqualValues(t, 7, tier.CostOf(c, "k"), "the cost is stated, not guessed")

	there := view[*sealed](t, b, "docs")
	find(t, there, "set", unneeded[*sealed])
	assert.InDelta(t, 50_500, tier.CostOf(there, "set"), 500, "read")

	only := view[*sealed](t, a, "here", tier.WithLocalOnly())
	find(t, only, "k", load)
	assert.InDelta(t, 400, tier.CostOf(only, "k"), 300, "never encoded")
}

// sizes of a value are counted the same wherever it is read.
func TestTheSizeTravelsWithTheValue(t *testing.T) {
	type body struct{ Parts []string }
	value := body{[]string{strings.Repeat("a", 1000), strings.Repeat("b", 1000)}}
	secret := &sealed{Body: strings.Repeat("x", 5000)}
	onEachRemote(t, func(t *testing.T, f *fleet) {
		writer, reader := f.process(), f.process()
		plain := view[body](t, writer, "plain")
		require.NoError(t, plain.Set(t.Context(), "k", value))
		said := tier.WithSize(func(s *sealed) int64 { return int64(2 * len(s.Body)) })
		sized := view[*sealed](t, writer, "sized", said)
		require.NoError(t, sized.Set(t.Context(), "set", secret))
		find(t, sized, "loaded", is(secret))
		opaque := view[*sealed](t, writer, "opaque")
		require.NoError(t, opaque.Set(t.Context(), "k", secret))
		coded := view[*sealed](t, writer, "coded", tier.WithCodec(weighing{}))
		require.NoError(t, coded.Set(t.Context(), "k", secret))
		filled(t, writer, 1)
		f.sync()
		find(t, plain, "k", unneeded[body]) // without tracking, what is set is not kept
		find(t, sized, "set", unneeded[*sealed])
		find(t, opaque, "k", unneeded[*sealed])
		find(t, coded, "k", unneeded[*sealed])

		find(t, view[body](t, reader, "plain"), "k", unneeded[body])
		require.Equal(t, tier.CostOf(plain, "k"), tier.CostOf(view[body](t, reader, "plain"), "k"))
		there := view[*sealed](t, reader, "sized") // what has been said is in the entry
		for _, key := range []string{"set", "loaded"} {
			find(t, there, key, unneeded[*sealed])
			require.InDelta(t, 10_300, tier.CostOf(sized, key), 300, key)
			require.Equal(t, tier.CostOf(sized, key), tier.CostOf(there, key), key)
		}
		find(t, view[*sealed](t, reader, "opaque"), "k", unneeded[*sealed])
		require.InDelta(t, 5_500, tier.CostOf(opaque, "k"), 400)
		require.Equal(t, tier.CostOf(opaque, "k"), tier.CostOf(view[*sealed](t, reader, "opaque"), "k"))
		find(t, view[*sealed](t, reader, "coded", tier.WithCodec(weighing{})), "k", unneeded[*sealed])
		require.InDelta(t, 20_300, tier.CostOf(coded, "k"), 300)
		require.Equal(t, tier.CostOf(coded, "k"), tier.CostOf(view[*sealed](t, reader, "coded", tier.WithCodec(weighing{})), "k"))

		warnings := strings.Join(writer.Health(t.Context()).Warnings, "\n")
		require.Contains(t, warnings, `namespace "opaque": values of type *tier_test.sealed cannot be looked into`)
		for _, fine := range []string{"plain", "sized", "coded"} {
			require.NotContains(t, warnings, fmt.Sprintf("%q: values", fine))
		}
	})
}

// weighing is a codec that knows what its values weigh.
type weighing struct{ jsonish }

func (weighing) Size(v any) int64 { return int64(4 * len(v.(*sealed).Body)) }

func TestNothingIsLookedAtWhereNoBoundNeedsIt(t *testing.T) {
	type wide struct{ Parts []string }
	big := wide{make([]string, 100_000)}
	for i := range big.Parts {
		big.Parts[i] = "part"
	}
	f := embeddedFleet(t, nil)
	bytes, entries := f.process(), f.process(tier.WithLocalBytes(0), tier.WithLocalEntries(100))
	for name, c := range map[string]*tier.Cache[wide]{
		"bounded by entries": view[wide](t, entries, "docs"),
		"remote only":        view[wide](t, bytes, "docs", tier.WithRemoteOnly()),
	} {
		require.NoError(t, c.Set(t.Context(), name, big))
		e, err := envelope.Decode(f.read(explain(t, c, name).RemoteKey))
		require.NoError(t, err)
		require.Zero(t, e.Cost, "it would have been looked at: %s", name)
	}
	require.InDelta(t, 700_000, tier.CostOf(view[wide](t, entries, "docs"), "bounded by entries"), 10_000, "as long as it is encoded")
	c := view[wide](t, bytes, "docs")
	find(t, c, "remote only", unneeded[wide])
	require.Greater(t, tier.CostOf(c, "remote only"), int64(1_000_000), "here the bytes are bounded")
}

func TestASizeThatPanicsOrLiesIsNoHarm(t *testing.T) {
	f := embeddedFleet(t, nil)
	s := f.process()
	for name, c := range map[string]struct {
		size func(string) int64
		want float64
	}{
		"panics":   {func(string) int64 { panic("no") }, 1300},
		"negative": {func(string) int64 { return -1 << 62 }, 300},
	} {
		c2 := view[string](t, s, "docs:"+name, tier.WithSize(c.size))
		value := strings.Repeat("x", 1000)
		require.NoError(t, c2.Set(t.Context(), "k", value))
		require.Equal(t, value, find(t, c2, "k", unneeded[string]).Value)
		require.InDelta(t, c.want, tier.CostOf(c2, "k"), 200, name)
		_, err := c2.Get(t.Context(), "none", func(context.Context, *tier.Entry) (string, error) { return "", tier.ErrNotFound })
		require.ErrorIs(t, err, tier.ErrNotFound)
	}
	most := view[string](t, s, "most", tier.WithSize(func(string) int64 { return 1<<63 - 1 }))
	require.NoError(t, most.Set(t.Context(), "k", "v"), "it is not kept here")
	require.Equal(t, "v", find(t, most, "k", unneeded[string]).Value)
}

func TestASizeOfAnotherTypeIsRefused(t *testing.T) {
	s := embeddedFleet(t, nil).process()
	_, err := tier.New[string](s, "docs", tier.WithSize(func([]byte) int64 { return 1 }))
	require.ErrorContains(t, err, "WithSize has a func([]uint8) int64, which does not size values of type string")
	_, err = tier.New[string](s, "docs", tier.WithSize[string](nil))
	require.ErrorContains(t, err, "WithSize: the function is nil")
}
