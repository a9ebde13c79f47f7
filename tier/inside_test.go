package tier_test

import (
	"context"
	"encoding/json"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/internal/embedded"
	"github.com/tiercache/tiercache/tier"
)

// An observer is told of a load when its callers have been answered, so it may read the key.
func TestAnObserverReadsTheKeyThatWasLoaded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c *tier.Cache[string]
		var read atomic.Int64
		s, err := tier.Open(t.Context(), tier.WithObserver(func(e tier.Event) {
			if e.Kind == tier.EventLoad && read.Add(1) == 1 {
				v, err := c.Get(context.Background(), "k", unneeded)
				if err != nil || v != "v" {
					t.Error(v, err)
				}
			}
		}))
		require.NoError(t, err)
		c = view[string](t, s, "docs")
		require.Equal(t, "v", find(t, c, "k", is("v")).Value)
		synctest.Wait()
		require.Equal(t, int64(1), read.Load())
		require.NoError(t, s.Close())
	})
}

// closing is a codec that closes a store.
type closing struct{ close func() }

func (c closing) Marshal(v any) ([]byte, error) {
	c.close()
	return json.Marshal(v)
}

func (c closing) Unmarshal(b []byte, v any) error {
	c.close()
	return json.Unmarshal(b, v)
}

func TestCloseFromInsideIsAnErrorAtOnce(t *testing.T) {
	type world struct {
		s     *tier.Store
		tried atomic.Int64
	}
	try := func(t *testing.T, w *world) {
		w.tried.Add(1)
		err := w.s.Close()
		require.ErrorContains(t, err, "in another goroutine")
		require.False(t, errors.Is(err, tier.ErrClosed))
	}
	for name, run := range map[string]func(t *testing.T, w *world){
		"a loader": func(t *testing.T, w *world) {
			w.s, _ = tier.Open(t.Context())
			find(t, view[string](t, w.s, "docs"), "k", func(context.Context, *tier.Entry) (string, error) {
				try(t, w)
				return "v", nil
			})
		},
		"a batch loader": func(t *testing.T, w *world) {
			w.s, _ = tier.Open(t.Context())
			_, err := view[string](t, w.s, "docs").GetMany(t.Context(), []string{"a", "b"}, func(context.Context, []string, tier.Entries) (map[string]string, error) {
				try(t, w)
				return nil, nil
			})
			require.NoError(t, err)
		},
		"an observer": func(t *testing.T, w *world) {
			w.s, _ = tier.Open(t.Context(), tier.WithObserver(func(tier.Event) { try(t, w) }))
			c := view[string](t, w.s, "docs")
			find(t, c, "k", is("v"))
			require.NoError(t, c.Set(t.Context(), "k", "w"))
		},
		"a tracer": func(t *testing.T, w *world) {
			w.s, _ = tier.Open(t.Context(), tier.WithTracer(&spans{onEnd: func(s span) {
				if s.Name == "load" || s.Name == "write" { // not what Open sends before it returns
					try(t, w)
				}
			}}))
			c := view[string](t, w.s, "docs")
			find(t, c, "k", is("v"))
		},
		"a codec": func(t *testing.T, w *world) {
			hub := embedded.New(0)
			w.s, _ = tier.Open(t.Context(), tier.WithRemote(hub))
			c := view[string](t, w.s, "docs", tier.WithCodec(closing{func() { try(t, w) }}))
			find(t, c, "k", is("v"))
			require.NoError(t, c.Set(t.Context(), "l", "v"))
			synctest.Wait()
			find(t, c, "k", unneeded, tier.NoLocal())
		},
		"a size": func(t *testing.T, w *world) {
			hub := embedded.New(0)
			w.s, _ = tier.Open(t.Context(), tier.WithRemote(hub))
			c := view[string](t, w.s, "docs", tier.WithSize(func(string) int64 { try(t, w); return 1 }))
			find(t, c, "k", is("v"))
			require.NoError(t, c.Set(t.Context(), "l", "v"))
		},
		"a batch's codec": func(t *testing.T, w *world) {
			hub := embedded.New(0)
			w.s, _ = tier.Open(t.Context(), tier.WithRemote(hub))
			c := view[string](t, w.s, "docs", tier.WithCodec(closing{func() { try(t, w) }}))
			require.NoError(t, c.SetMany(t.Context(), map[string]string{"a": "1", "b": "2"}))
			_, err := c.GetMany(t.Context(), []string{"a", "b", "c"}, func(context.Context, []string, tier.Entries) (map[string]string, error) {
				return map[string]string{"c": "3"}, nil
			}, tier.NoLocal())
			require.NoError(t, err)
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := &world{}
				run(t, w)
				synctest.Wait()
				require.Positive(t, w.tried.Load())
				require.NoError(t, w.s.Close(), "from outside it is closed")
				require.ErrorIs(t, view0(w.s), tier.ErrClosed)
			})
		})
	}
}

// view0 returns what a closed store says.
func view0(s *tier.Store) error { return s.Sync(context.Background()) }

// reading is a codec that reads the key of its value, and so waits for its own call.
type reading struct{ read func() }

func (r reading) Marshal(v any) ([]byte, error) {
	r.read()
	return json.Marshal(v)
}

func (reading) Unmarshal(b []byte, v any) error { return json.Unmarshal(b, v) }

func TestCloseEndsWhatWaitsForItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, err := tier.Open(t.Context())
		require.NoError(t, err)
		var c *tier.Cache[string]
		inside := make(chan error, 1)
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		c = view[string](t, s, "docs", tier.WithCodec(reading{func() {
			_, err := c.Get(ctx, "k", is("v"))
			inside <- err
		}}))
		go c.Get(context.Background(), "k", is("v"))
		synctest.Wait()
		require.Empty(t, inside)
		require.NoError(t, s.Close())
		require.ErrorIs(t, <-inside, tier.ErrClosed)
	})
}
