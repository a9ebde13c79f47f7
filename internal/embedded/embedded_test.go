package embedded_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/internal/backend"
	"github.com/tiercache/tiercache/internal/changelog"
	"github.com/tiercache/tiercache/internal/embedded"
	"github.com/tiercache/tiercache/internal/remotetest"
	"github.com/tiercache/tiercache/invalidation"
)

func TestEmbeddedPassesTheBattery(t *testing.T) {
	remotetest.Run(t, harness(embedded.New(0)))
}

func TestEmbeddedPassesTheBatteryWithoutTracking(t *testing.T) {
	h := harness(embedded.New(0))
	h.NoTracking = true
	remotetest.Run(t, h)
}

func harness(e *embedded.Remote) remotetest.Harness {
	return remotetest.Harness{
		Backend: e,
		Read:    e.Read,
		Put:     e.Put,
		Delete:  e.Remove,
		Flush:   e.Flush,
		Keys: func(prefix string) (out []string) {
			for _, k := range e.Keys() {
				if strings.HasPrefix(k, prefix) {
					out = append(out, k)
				}
			}
			return out
		},
		Disconnect: e.Disconnect,
		Withhold:   e.Withhold,
	}
}

// connect connects a store, and has changed called with the keys that it is told of; nil:
// they are dropped.
func connect(t *testing.T, e *embedded.Remote, changed func(keys []string)) backend.Conn {
	t.Helper()
	if changed == nil {
		changed = func([]string) {}
	}
	c, err := e.Connect(t.Context(), backend.Options{Prefix: "p", Events: backend.Events{
		Changed: changed, Lost: func() {}, Published: func(string) {},
	}})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	return c
}

func record(t *testing.T, c changelog.Log, scopes ...invalidation.Scope) changelog.Appended {
	t.Helper()
	a, err := c.Append(t.Context(), changelog.Change{Scopes: scopes, Retention: time.Hour})
	require.NoError(t, err)
	return a
}

// The log in process has a bound, of the memory that it may use.
func TestTheLogInProcessIsBounded(t *testing.T) {
	c := connect(t, embedded.New(1<<20), nil)
	first := record(t, c, "s:first")
	var latest changelog.Appended
	for i := range 11_000 {
		latest = record(t, c, invalidation.Scope(fmt.Sprint("s:", i)))
	}
	info, err := c.Info(t.Context())
	require.NoError(t, err)
	require.EqualValues(t, 10_000, info.LogMost)
	require.InDelta(t, info.LogMost, info.LogScopes, 1)
	d, err := c.Delta(t.Context(), changelog.DeltaQuery{Limit: 1 << 20, Scopes: []invalidation.Scope{"s:first", "s:10999"}})
	require.NoError(t, err)
	require.Equal(t, []invalidation.Tick{0, latest.Tick}, d.Known)
	require.GreaterOrEqual(t, d.Floor, first.Tick)
	require.Less(t, d.Floor, latest.Tick-9000)
}

func TestAnEmbeddedThatIsFullRefusesWhatCannotFitAndEvictsTheRest(t *testing.T) {
	e := embedded.New(10_000)
	changed := make(map[string]int)
	c := connect(t, e, func(keys []string) {
		for _, k := range keys {
			changed[k]++
		}
	})
	w, err := c.Write(t.Context(), []backend.Write{{Key: "k", Envelope: make([]byte, 20_000), Expires: time.Now().Add(time.Hour), Unread: true}})
	require.NoError(t, err)
	require.ErrorIs(t, w[0].Err, backend.ErrFull)
	_, err = c.Append(t.Context(), changelog.Change{Scopes: []invalidation.Scope{"s:x"}, Retention: time.Hour})
	require.NoError(t, err)
	for i := range 20 {
		k := fmt.Sprint("k", i)
		_, err := c.Write(t.Context(), []backend.Write{{Key: k, Envelope: make([]byte, 1000), Expires: time.Now().Add(time.Hour), Unread: true}})
		require.NoError(t, err)
	}
	info, err := c.Info(t.Context())
	require.NoError(t, err)
	require.LessOrEqual(t, info.UsedMemory, int64(10_000))
	require.Equal(t, 2, changed["k0"], "its write, and its eviction")
	require.Equal(t, 1, changed["k19"])
	d, err := c.Delta(t.Context(), changelog.DeltaQuery{Limit: 10})
	require.NoError(t, err)
	require.NotZero(t, d.Incarnation, "the log is never evicted")
}

// The table of what is tracked is bounded, and what no store keeps need not be in it.
func TestWhatIsReadUntrackedInProcessIsNotTracked(t *testing.T) {
	e := embedded.New(0)
	c := connect(t, e, nil)
	tracked := func() int64 {
		i, err := c.Info(t.Context())
		require.NoError(t, err)
		return i.TrackedKeys
	}
	e.Put("a", "value")
	items, err := c.GetUntracked(t.Context(), []string{"a", "none"})
	require.NoError(t, err)
	require.True(t, items[0].Found())
	require.False(t, items[1].Found())
	require.Zero(t, tracked())
	_, _, err = c.Get(t.Context(), []string{"a", "none"}, nil)
	require.NoError(t, err)
	require.EqualValues(t, 2, tracked())
}
