package main

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/internal/valkeytest"
	"github.com/tiercache/tiercache/tier"
)

// What docs/running.md says of a command it says on a server in that state. The states of a cluster, and processes that are in
// trouble, are in the tests of each subcommand.
func TestThePageOfRunningIsRight(t *testing.T) {
	ctx := t.Context()
	s := valkeytest.Start(t, valkeytest.Config("maxmemory", "100mb"), valkeytest.Config("maxmemory-policy", "volatile-lru"), valkeytest.Config("user", "app on >secret ~* &* +@all"))
	says := pageOf(t, "running.md")
	x := &target{flags: []string{"--url", "valkey://app:secret@" + s.Addr}, prefix: valkeytest.Prefix(t)}
	x.option.InitAddress, x.option.Username, x.option.Password = []string{s.Addr}, "app", "secret"
	store := x.open(t, tier.WithReport())
	docs := view(t, store, "docs")
	load(t, docs, "k", "doc-1")
	require.NoError(t, store.Drain(ctx))

	t.Run("before it goes live", func(t *testing.T) {
		got := x.tierctl(t, "doctor", "--strict", "--json")
		r := decode[report](t, got.out)
		for _, f := range r.Findings {
			if f.Level == "error" || f.Level == "warning" && f.Check != "latency" && f.Check != "clock" {
				t.Errorf("%+v", f)
			}
		}
	})
	t.Run("values are wrong", func(t *testing.T) {
		says(x.tierctl(t, "bypass", "namespace", "docs", "--for", "10m"), "namespace docs is loaded by every process until about")
		require.Eventually(t, func() bool { return strings.Contains(strings.Join(store.Health(ctx).Warnings, "\n"), "docs") }, 30*time.Second, 10*time.Millisecond)
		assert.Contains(t, x.tierctl(t, "explain", "docs", "k").out, "doc-1")
		says(x.tierctl(t, "invalidate", "namespace", "docs"), "1 namespace changed as of")
		assert.Contains(t, x.tierctl(t, "invalidate", "namespace", "docs", "--settle", "30s").out, "what is loaded until 30s from now ends then")
		says(x.tierctl(t, "bypass", "namespace", "docs", "--off"), "namespace docs is cached again")
	})
	t.Run("the source is overloaded", func(t *testing.T) {
		require.Zero(t, x.tierctl(t, "watch", "--for", "10ms").status)
		require.Zero(t, x.tierctl(t, "top").status)
	})
	t.Run("a right was revoked", func(t *testing.T) {
		s.Do(t, "ACL", "SETUSER", "app", "-publish")
		defer s.Do(t, "ACL", "SETUSER", "app", "+publish")
		got := x.tierctl(t, "doctor")
		assert.Equal(t, exitFindings, got.status)
		says(got, "error rights publish is refused: without it no change is recorded")
		_, err := store.InvalidateSource(ctx, "doc-1")
		require.Error(t, err)
		assert.NotEmpty(t, store.Health(ctx).Refused, "the page says that it is there")
	})
	t.Run("restored from a backup", func(t *testing.T) {
		says(x.tierctl(t, "invalidate", "all", "--yes"), "everything changed as of")
		says(x.tierctl(t, "watch", "--since", "1m", "--kind", "everything", "--count", "1"), "everything")
	})
	t.Run("memory", func(t *testing.T) {
		says(x.tierctl(t, "stats", "--depth", "1"), "evicted")
		says(x.tierctl(t, "purge", "docs:archive"), "keys removed")
	})
	t.Run("it does not answer", func(t *testing.T) {
		s.Kill()
		got := x.tierctl(t, "doctor", "--timeout", "1s")
		assert.Equal(t, exitFailed, got.status)
		says(got, "connecting to")
		require.Eventually(t, func() bool { h := store.Health(ctx); return !h.Healthy && h.RemoteErr != nil }, 30*time.Second, 100*time.Millisecond)
	})
	t.Run("it was restarted empty", func(t *testing.T) {
		s.Restart()
		require.Eventually(t, func() bool {
			_, _ = store.InvalidateSource(ctx, "doc-2")
			return store.Health(ctx).Healthy
		}, 60*time.Second, 100*time.Millisecond)
		says(x.tierctl(t, "watch", "--since", "10m", "--kind", "everything", "--count", "1"), "everything")
	})
	t.Run("a prefix that is not used any more", func(t *testing.T) {
		says(tierctl(t, nil, "stats", "--prefix", "old", "--url", "valkey://app:secret@"+s.Addr), "change log none")
	})
}
