package tier

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/internal/interpose"
	"github.com/tiercache/tiercache/local"
	"github.com/tiercache/tiercache/remote"
)

// Guard: flight.known. A room is used again only if nobody can reach a flight of it.
func TestARoomThatOthersKnowIsNotUsedAgain(t *testing.T) {
	h := local.Key{Hi: 1, Lo: 2}
	for name, c := range map[string]struct {
		happens func(t *table, f *flight)
		again   bool
	}{
		"nobody came":     {func(*table, *flight) {}, true},
		"somebody joined": {func(t *table, f *flight) { t.join(nil, h, "k", true); t.leave(f) }, false},
		"a refresh did":   {func(t *table, f *flight) { t.join(nil, h, "k", false) }, false},
		"it was asked about": {func(t *table, f *flight) {
			f.finish(outcome{})
			ctx, cancel := context.WithCancel(context.Background())
			cancel()
			_ = t.stored(ctx, h)
		}, false},
		"a write goes on":    {func(t *table, f *flight) { t.watch(h, &watch{}) }, false},
		"it is under way":    {nil, false},
		"it is being loaded": {func(t *table, f *flight) { t.departs(f, &seat{}) }, false},
	} {
		t.Run(name, func(t *testing.T) {
			l, err := local.New(local.Config[item]{MaxEntries: 10})
			require.NoError(t, err)
			table, p := newTable(l), partyOf(1)
			f, leads, _ := table.join(&p.flights[0], h, "k", true)
			require.True(t, leads)
			p.lead = append(p.lead, f)
			if c.happens != nil {
				c.happens(table, f)
				f.finish(outcome{})
				table.land(f)
			}
			gone := table.leave(f)
			require.Equal(t, c.again, gone)
			if gone {
				p.gone++
			}
			p.disband()
			require.Equal(t, c.again, f.key == "", "it is emptied")
		})
	}
}

// Several read the same keys together, alone, and while they are set.
func TestWhatGetManyUsesAgainMixesNothingUp(t *testing.T) {
	ctx := t.Context()
	s, err := Open(ctx)
	require.NoError(t, err)
	defer s.Close()
	c, err := New[string](s, "docs")
	require.NoError(t, err)
	load := func(_ context.Context, keys []string, _ Entries) (map[string]string, error) {
		out := make(map[string]string)
		for _, k := range keys {
			out[k] = "v of " + k
		}
		return out, nil
	}
	var all sync.WaitGroup
	for g := range 8 {
		all.Go(func() {
			for i := range 300 {
				keys := make([]string, 1+(g+i)%20)
				for j := range keys {
					keys[j] = fmt.Sprint("k", (g*i+j)%30)
				}
				got, err := c.GetMany(ctx, keys, load, NoLocal())
				if err != nil {
					t.Error(err)
				}
				for _, k := range keys {
					if got[k] != "v of "+k {
						t.Errorf("%s is %q", k, got[k])
					}
				}
				switch i % 10 {
				case 0:
					if err := c.Delete(ctx, keys[0]); err != nil {
						t.Error(err)
					}
				case 1:
					if err := c.Set(ctx, keys[0], "v of "+keys[0]); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	all.Wait()
}

// Guard: readAside releases what it judged by.
func TestGetManyOfWhatIsNotKeptHoldsNoMarks(t *testing.T) {
	hub := remote.NewEmbedded(0)
	views, stores := make([]*Cache[string], 2), make([]*Store, 2)
	for i := range views {
		s, err := Open(t.Context(), WithRemote(hub))
		require.NoError(t, err)
		defer s.Close()
		stores[i] = s
		views[i], err = New[string](s, "docs")
		require.NoError(t, err)
	}
	var keys []string
	for i := range 10 {
		keys = append(keys, fmt.Sprint(i))
		require.NoError(t, views[0].Set(t.Context(), keys[i], "v", WithSources("doc "+keys[i])))
	}
	require.NoError(t, stores[1].Sync(t.Context()))
	before := stores[1].tail.Health().Scopes
	for range 3 {
		got, err := views[1].GetMany(t.Context(), keys, func(context.Context, []string, Entries) (map[string]string, error) { return nil, nil }, NoLocal())
		require.NoError(t, err)
		require.Len(t, got, 10)
	}
	require.LessOrEqual(t, stores[1].tail.Health().Scopes, before+1, "but for the namespace's")
}

// Guard: what readAside forgets. The answer to who does not wait may still be put into
// the room.
func TestTheRoomOfAnAnswerThatMayStillComeIsNotUsedAgain(t *testing.T) {
	hooks := &interpose.Backend{Inner: remote.NewEmbedded(0)}
	s, err := Open(t.Context(), WithRemote(hooks))
	require.NoError(t, err)
	defer s.Close()
	c, err := New[string](s, "docs")
	require.NoError(t, err)
	read := func() *party {
		p := partyOf(1)
		p.trips[0] = trip{key: "k", h: c.ns.hash("k")}
		c.readAside(t.Context(), p, func(string, *item) { t.Error("there is none") })
		require.True(t, p.aside)
		return p
	}
	require.NotNil(t, read().room.names)
	failed := errors.New("gave up")
	hooks.Before(func(op interpose.Op) error {
		if op == interpose.Get {
			return failed
		}
		return nil
	})
	p := read()
	require.ErrorIs(t, p.err, failed)
	require.Equal(t, room{}, p.room)
}
