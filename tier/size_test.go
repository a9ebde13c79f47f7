package tier_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

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
