package tier

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/remote"
)

// Several read the same keys together, alone, and while they are set.
func TestGetManyMixesNothingUp(t *testing.T) {
	ctx := t.Context()
	s, err := Open(ctx, WithRemoteTimeout(10*time.Second))
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

// Guard: readUncoalesced releases what it judged by.
func TestGetManyOfWhatIsNotKeptHoldsNoMarks(t *testing.T) {
	hub := remote.NewEmbedded(0)
	views, stores := make([]*Cache[string], 2), make([]*Store, 2)
	for i := range views {
		s, err := Open(t.Context(), WithRemote(hub), WithRemoteTimeout(10*time.Second))
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
	before := stores[1].core.Session.Tail.Health().Scopes
	for range 3 {
		got, err := views[1].GetMany(t.Context(), keys, func(context.Context, []string, Entries) (map[string]string, error) { return nil, nil }, NoLocal())
		require.NoError(t, err)
		require.Len(t, got, 10)
	}
	require.LessOrEqual(t, stores[1].core.Session.Tail.Health().Scopes, before+1, "but for the namespace's")
}
