package tier_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/valkey-io/valkey-go"

	"github.com/tiercache/tiercache/internal/valkeytest"
	"github.com/tiercache/tiercache/tier"
)

func TestAStoreStartsOfflineAndConnectsByItself(t *testing.T) {
	for name, options := range tracking {
		t.Run(name, func(t *testing.T) {
			srv := valkeytest.Start(t, valkeytest.Persist())
			options := append([]tier.Option{tier.WithValkey(srv.URL()), tier.WithRemoteTimeout(10 * time.Second)}, options...)
			before, err := tier.Open(t.Context(), options...)
			require.NoError(t, err)
			require.NoError(t, view[string](t, before, "docs").Set(t.Context(), "set", "old", tier.WithSources("doc")))
			find(t, view[string](t, before, "filled"), "kept", is("kept"))
			filled(t, before, 1)
			require.NoError(t, before.Close())
			srv.Stop()

			var log journal
			s, err := tier.Open(t.Context(), append(options, tier.WithStartOffline(), tier.WithLogger(log.logger()))...)
			require.NoError(t, err)
			defer s.Close()
			require.Contains(t, log.String(), "started without its remote tier")
			c := view[string](t, s, "docs")
			local := view[string](t, s, "here", tier.WithLocalOnly())
			for range 3 {
				require.Equal(t, "loaded", find(t, c, "k", is("loaded")).Value)
				require.Equal(t, tier.Loaded, find(t, local, "k", is("loaded")).Origin, "nothing is proven")
				found, err := c.GetMany(t.Context(), []string{"a", "b"}, func(context.Context, []string, tier.Entries) (map[string]string, error) {
					return map[string]string{"a": "1", "b": "2"}, nil
				})
				require.NoError(t, err)
				require.Len(t, found, 2)
			}
			require.ErrorIs(t, c.Set(t.Context(), "k", "v"), tier.ErrUnavailable)
			_, _, err = c.Peek(t.Context(), "k")
			require.ErrorIs(t, err, tier.ErrUnavailable)
			require.ErrorIs(t, s.Sync(t.Context()), tier.ErrUnavailable)
			_, err = s.InvalidateSource(t.Context(), "doc")
			require.ErrorIs(t, err, tier.ErrUnavailable)
			h := s.Health(t.Context())
			require.Positive(t, h.Undelivered)
			require.Equal(t, "not connected yet", h.Mode)
			require.ErrorContains(t, h.RemoteErr, "no server listens")
			require.False(t, h.Healthy)

			srv.Restart()
			eventually(t, "healthy", func() bool {
				h := s.Health(t.Context())
				return h.Healthy && h.RemoteErr == nil && h.Undelivered == 0
			})
			connected := func() int { return strings.Count(log.String(), "the remote tier is connected") }
			eventually(t, "it is logged", func() bool { return connected() > 0 })
			require.Equal(t, 1, connected())
			require.Contains(t, s.Health(t.Context()).Mode, "one server, RESP3")
			require.Equal(t, "new", find(t, c, "set", is("new", "doc")).Value, "it changed meanwhile")
			require.Equal(t, "kept", find(t, view[string](t, s, "filled"), "kept", unneeded).Value)
			eventually(t, "kept locally", func() bool { return find(t, c, "k", is("v")).Origin == tier.Local })
			require.NoError(t, c.Set(t.Context(), "k", "w"))
			other, err := tier.Open(t.Context(), options...)
			require.NoError(t, err)
			defer other.Close()
			require.NoError(t, view[string](t, other, "docs").Set(t.Context(), "k", "x"))
			require.NoError(t, s.Sync(t.Context()))
			require.Equal(t, "x", find(t, c, "k", unneeded).Value, "it is told of changes")
		})
	}
}

// Which it is, one server or a cluster, is known before the first key is read.
func TestAStoreStartsOfflineBeforeACluster(t *testing.T) {
	t.Parallel()
	cluster := valkeytest.StartCluster(t, 3)
	for _, n := range cluster.Nodes() {
		n.Pause()
	}
	s, err := tier.Open(t.Context(), tier.WithValkeyClient(valkey.ClientOption{InitAddress: cluster.Addrs()}), tier.WithStartOffline(), tier.WithRemoteTimeout(10*time.Second))
	require.NoError(t, err)
	defer s.Close()
	c := view[string](t, s, "docs")
	require.Equal(t, "loaded", find(t, c, "k", is("loaded")).Value)
	for _, n := range cluster.Nodes() {
		n.Resume()
	}
	eventually(t, "it works", func() bool {
		h := s.Health(t.Context())
		return h.Mode == "cluster, RESP3, tracking" && h.Healthy && h.RemoteErr == nil
	})
	eventually(t, "kept locally", func() bool { return find(t, c, "k", is("v")).Origin == tier.Local })
}

// What no waiting mends fails at once, offline or not.
func TestStartingOfflineHidesNoMistake(t *testing.T) {
	s := valkeytest.Start(t, valkeytest.Config("requirepass", "secret"))
	s.Do(t, "ACL", "SETUSER", "app", "on", ">p", "~*", "&*", "+@all", "-get")
	s.Do(t, "ACL", "SETUSER", "untracked", "on", ">p", "~*", "&*", "+@all", "-client|tracking")
	for name, c := range map[string]struct {
		option tier.Option
		says   string
	}{
		"a bad URL":      {tier.WithValkey("valkey:host"), "two slashes"},
		"wrong password": {tier.WithValkey("valkey://:wrong@" + s.Addr), "does not accept the user"},
		"a right":        {tier.WithValkey("valkey://app:p@" + s.Addr), "grant +get"},
		"no tracking":    {tier.WithValkey("valkey://untracked:p@" + s.Addr), "open it WithoutTracking"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := tier.Open(t.Context(), c.option, tier.WithStartOffline())
			require.ErrorContains(t, err, c.says)
		})
	}
	for range 3 { // a store that never connects ends as well
		opened, err := tier.Open(t.Context(), tier.WithValkey("valkey://127.0.0.1:1"), tier.WithStartOffline())
		require.NoError(t, err)
		find(t, view[string](t, opened, "docs"), "k", is("v"))
		require.NoError(t, opened.Close())
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := tier.Open(ctx, tier.WithValkey("valkey://127.0.0.1:1"), tier.WithStartOffline())
	require.ErrorIs(t, err, context.Canceled)
}

// Should it come to that when the server is there, the log says so once, and it is tried again.
func TestAStoreThatIsRefusedLaterSaysSoAndTriesAgain(t *testing.T) {
	srv := valkeytest.Start(t)
	srv.Kill()
	var log journal
	s, err := tier.Open(t.Context(), tier.WithValkey("valkey://app:p@"+srv.Addr), tier.WithStartOffline(), tier.WithLogger(log.logger()), tier.WithRemoteTimeout(10*time.Second))
	require.NoError(t, err)
	defer s.Close()
	srv.Restart()
	eventually(t, "it is refused", func() bool { return strings.Contains(log.String(), "the remote tier refuses the store") })
	require.ErrorContains(t, s.Health(t.Context()).RemoteErr, `does not accept the user "app"`)
	srv.Do(t, "ACL", "SETUSER", "app", "on", ">p", "~*", "&*", "+@all")
	eventually(t, "connected", func() bool { return s.Health(t.Context()).RemoteErr == nil })
	require.Equal(t, 1, strings.Count(log.String(), "the remote tier refuses the store"))
	require.NoError(t, view[string](t, s, "docs").Set(t.Context(), "k", "v"))
}
