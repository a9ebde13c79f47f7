package main

import (
	"context"
	"encoding/binary"
	"errors"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/zeebo/xxh3"

	"github.com/tiercache/tiercache/internal/envelope"
	"github.com/tiercache/tiercache/internal/valkeytest"
	"github.com/tiercache/tiercache/tier"
)

// pageOf returns what checks that a command says something, and that a page says that it does.
func pageOf(t *testing.T, name string) func(got call, says ...string) {
	t.Helper()
	b, err := os.ReadFile("../../docs/" + name)
	require.NoError(t, err)
	return func(got call, says ...string) {
		t.Helper()
		for _, text := range says {
			assert.Contains(t, strings.Join(strings.Fields(got.out+got.err), " "), text)
			assert.Contains(t, strings.Join(strings.Fields(string(b)), " "), text, "docs/%s", name)
		}
	}
}

// What docs/troubleshooting.md says of a command it says on a server, and of stores, that are broken in that way. What doctor finds is in
// its own tests.
func TestThePageOfTroubleshootingIsRight(t *testing.T) {
	ctx := t.Context()
	s := valkeytest.Start(t, valkeytest.Config("maxmemory", "100mb"), valkeytest.Config("maxmemory-policy", "volatile-lru"))
	says := pageOf(t, "troubleshooting.md")
	x := &target{flags: []string{"--url", s.URL()}, prefix: valkeytest.Prefix(t)}
	x.option.InitAddress = []string{s.Addr}

	t.Run("no store has been here", func(t *testing.T) { says(x.tierctl(t, "stats"), "change log none") })
	store := x.open(t)
	docs := view(t, store, "docs", tier.WithRemoteOnly(), tier.WithTTL(time.Hour))
	explain := func(key string) call {
		t.Helper()
		require.NoError(t, store.Drain(ctx)) // what was loaded is stored
		return x.tierctl(t, "explain", "docs", key)
	}

	t.Run("an old value is served", func(t *testing.T) {
		says(explain("k"), "nothing")
		load(t, docs, "k", "doc-1")
		got := explain("k")
		says(got, "valid", "not since the log's floor")
		assert.NotContains(t, got.out, "not valid")
		assert.NotContains(t, got.out, "doc-2", "a source that the loader does not name")
		// A loader that reads a replica that lags: the value is from before the change, and the entry is not.
		_, err := store.InvalidateSource(ctx, "doc-1")
		require.NoError(t, err)
		says(explain("k"), "not valid")
		load(t, docs, "k", "doc-1")
		got = explain("k")
		says(got, "valid")
		assert.Regexp(t, `source doc-1 +20\d\d-\d\d-\d\d \S+ UTC\n`, got.out, "its change is known, and before the entry")
		// The cure that the page has.
		require.Zero(t, x.tierctl(t, "invalidate", "source", "doc-1").status)
		says(explain("k"), "not valid")
	})

	t.Run("one key is loaded again and again", func(t *testing.T) {
		got := explain("k")
		assert.Regexp(t, `stored +not valid: source doc-1 changed`, got.out)
		says(got, "stored not valid: source")
		short := view(t, store, "short", tier.WithRemoteOnly(), tier.WithTTL(time.Second), tier.WithJitter(0), tier.WithStaleOnError(time.Hour))
		load(t, short, "k")
		require.Eventually(t, func() bool { return strings.Contains(x.tierctl(t, "explain", "short", "k").out, "not valid") }, 30*time.Second, 100*time.Millisecond)
		says(x.tierctl(t, "explain", "short", "k"), "stored not valid: its TTL has passed")

		loading, end, done := make(chan struct{}), make(chan struct{}), make(chan error, 1)
		go func() {
			_, err := docs.Get(ctx, "slow", func(context.Context, *tier.Entry) (string, error) {
				close(loading)
				<-end
				return "", errors.New("and fails")
			})
			done <- err
		}()
		<-loading
		says(explain("slow"), "nothing", "lease held")
		close(end)
		require.Error(t, <-done)
		assert.EqualValues(t, 1, store.Stats().LoadErrors, "as the page says")

		_, err := docs.Get(ctx, "unkept", func(_ context.Context, e *tier.Entry) (string, error) { e.DoNotStore(); return "v", nil })
		require.NoError(t, err)
		require.Eventually(t, func() bool { return strings.Contains(explain("unkept").out, "free") }, 30*time.Second, 10*time.Millisecond)
		says(explain("unkept"), "nothing", "lease free")

		raw, err := envelope.Encode(&envelope.Entry{Head: envelope.Head{Expires: time.Now().Add(time.Hour)}, Life: time.Hour, Fresh: time.Hour, Namespace: "docs", Key: "later"}, 0)
		require.NoError(t, err)
		raw[21] = 9
		binary.BigEndian.PutUint32(raw[47:], uint32(xxh3.Hash(raw[:47])))
		s.Do(t, "SET", entryName(x.prefix, "docs", "later"), string(raw), "EX", "3600")
		says(explain("later"), "another format")
	})

	t.Run("open fails", func(t *testing.T) {
		failed := func(options ...tier.Option) call {
			octx, cancel := context.WithTimeout(ctx, 20*time.Second)
			defer cancel()
			_, err := tier.Open(octx, append(options, tier.WithPrefix(x.prefix), tier.WithLogger(quiet))...)
			require.Error(t, err)
			assert.NotContains(t, err.Error(), "\n")
			return call{err: err.Error()}
		}
		says(failed(tier.WithValkey(s.URL()), tier.WithoutTracking()), "this store is WithoutTracking and others", "have client tracking")
		says(x.tierctl(t, "stats"), "stores open,")
		s.Do(t, "ACL", "SETUSER", "weak", "on", ">secret", "~*", "&*", "+@all", "-eval", "-evalsha", "-pexpire")
		weak := tier.WithValkey("valkey://weak:secret@" + s.Addr)
		says(failed(weak), "NOPERM")
		got := tierctl(t, map[string]string{"TIERCTL_PASSWORD": "secret"}, "doctor", "--addr", s.Addr, "--user", "weak", "--prefix", x.prefix)
		says(got, "is refused")
		assert.Contains(t, got.out, "pexpire", "every right, not only the first")
	})

	t.Run("the hit rate fell to nothing", func(t *testing.T) {
		require.Zero(t, x.tierctl(t, "invalidate", "all").status)
		says(x.tierctl(t, "watch", "--since", "1h", "--kind", "everything,lost", "--count", "1"), "everything")
		incarnation := func() string {
			return regexp.MustCompile(`position +(\w{16})@`).FindStringSubmatch(x.tierctl(t, "stats").out)[1]
		}
		before := incarnation()
		says(x.tierctl(t, "stats"), "floor", "position", "evicted")

		// A loss while tierctl watch runs.
		c := &command{out: new(strings.Builder)}
		began := make(chan call, 1)
		wctx, cancel := context.WithTimeout(ctx, time.Minute)
		defer cancel()
		go func() { began <- tierctlWith(t, wctx, c, nil, x.args("watch", "--kind", "lost", "--count", "1")...) }()
		var got call
		for lost := false; !lost; {
			s.Do(t, "FLUSHALL")
			_, _ = store.InvalidateSource(ctx, "any")
			select {
			case got = <-began:
				lost = true
			case <-time.After(100 * time.Millisecond):
			}
		}
		got.out = c.out.(*strings.Builder).String()
		says(got, "lost the change log was lost and begun anew: everything is loaded again")
		assert.NotEqual(t, before, incarnation(), "the first number of position")
	})

	t.Run("memory is too small, and then full", func(t *testing.T) {
		s.Do(t, "CONFIG", "SET", "maxmemory", "5mb")
		big := strings.Repeat("v", 20_000)
		for i := range 400 {
			require.NoError(t, docs.Set(ctx, "big-"+strings.Repeat("x", i), big))
		}
		assert.Regexp(t, `volatile-lru +[1-9]\d* `, x.tierctl(t, "stats").out, "evicted is not 0")
		s.Do(t, "CONFIG", "SET", "maxmemory-policy", "noeviction")
		s.Do(t, "CONFIG", "SET", "maxmemory", "100kb")
		got := tierctl(t, nil, "doctor", "--addr", s.Addr, "--prefix", x.prefix)
		assert.Equal(t, exitFindings, got.status)
		says(got, "error memory memory is full")
		assert.Contains(t, x.tierctl(t, "stats", "--depth", "1").out, "docs")
		got = x.tierctl(t, "purge", "docs")
		assert.Zero(t, got.status, got.err)
		assert.NotRegexp(t, `(?m)^docs `, x.tierctl(t, "stats", "--depth", "1", "--all").out)
	})
}
