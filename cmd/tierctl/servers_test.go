package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/valkey-io/valkey-go"

	"github.com/tiercache/tiercache/internal/valkeytest"
	"github.com/tiercache/tiercache/tier"
)

// target is a place where stores are, and how tierctl is told of it.
type target struct {
	option valkey.ClientOption
	flags  []string
	prefix string
}

func (x *target) tierctl(t *testing.T, args ...string) call {
	t.Helper()
	return tierctl(t, nil, x.args(args...)...)
}

func (x *target) args(args ...string) []string {
	return append(append([]string{}, args...), append(x.flags, "--prefix", x.prefix)...)
}

func (x *target) open(t *testing.T, options ...tier.Option) *tier.Store {
	t.Helper()
	s, err := tier.Open(t.Context(), append([]tier.Option{tier.WithValkeyClient(x.option), tier.WithPrefix(x.prefix), tier.WithLogger(quiet), tier.WithRemoteTimeout(5 * time.Second)}, options...)...)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, s.Close()) })
	return s
}

// everywhere runs f on a standalone server, behind sentinels, and on a cluster of three primaries and their replicas.
func everywhere(t *testing.T, f func(t *testing.T, x *target)) {
	limits := []valkeytest.Option{valkeytest.Config("maxmemory", "100mb"), valkeytest.Config("maxmemory-policy", "volatile-lru")}
	t.Run("standalone", func(t *testing.T) {
		s := valkeytest.Start(t, limits...)
		f(t, &target{option: valkey.ClientOption{InitAddress: []string{s.Addr}}, flags: []string{"--url", s.URL()}, prefix: valkeytest.Prefix(t)})
	})
	t.Run("sentinel", func(t *testing.T) {
		set := valkeytest.StartSentinels(t, limits...)
		f(t, &target{option: valkey.ClientOption{InitAddress: set.Addrs(), Sentinel: valkey.SentinelOption{MasterSet: set.Name}},
			flags: []string{"--addr", strings.Join(set.Addrs(), ","), "--sentinel", set.Name}, prefix: valkeytest.Prefix(t)})
	})
	t.Run("cluster", func(t *testing.T) {
		c := valkeytest.StartCluster(t, 3, limits...)
		f(t, &target{option: valkey.ClientOption{InitAddress: c.Addrs()}, flags: []string{"--addr", c.Primaries[0].Addr}, prefix: valkeytest.Prefix(t)})
	})
}

func load(t *testing.T, c *tier.Cache[string], key string, sources ...string) {
	t.Helper()
	_, err := c.Get(t.Context(), key, func(_ context.Context, e *tier.Entry) (string, error) {
		e.DependsOn(sources...)
		return "the value of " + key, nil
	})
	require.NoError(t, err)
}

func view(t *testing.T, s *tier.Store, namespace string, options ...tier.CacheOption) *tier.Cache[string] {
	t.Helper()
	c, err := tier.New[string](s, namespace, options...)
	require.NoError(t, err)
	return c
}

func TestEachSubcommandOnEachKindOfServer(t *testing.T) {
	everywhere(t, func(t *testing.T, x *target) {
		t.Run("explain before there is anything", func(t *testing.T) {
			got := x.tierctl(t, "explain", "docs", "k")
			assert.Zero(t, got.status, got.err)
			assert.Contains(t, got.out, "nothing: the next read loads it")
		})
		t.Run("doctor", func(t *testing.T) { doctorFindsNoError(t, x) })
		t.Run("explain", func(t *testing.T) { explainSaysWhatTheLibrarySays(t, x) })
		t.Run("invalidate", func(t *testing.T) { invalidateEndsCopies(t, x) })
		t.Run("bypass", func(t *testing.T) { bypassReachesProcesses(t, x) })
		t.Run("fleet and top", func(t *testing.T) { fleetAndTopShowWhatProcessesReport(t, x) })
		t.Run("watch", func(t *testing.T) { watchTellsEachChange(t, x) })
		t.Run("stats", func(t *testing.T) { statsCount(t, x) })
		t.Run("purge", func(t *testing.T) { purgeGoesOnWhereItWasInterrupted(t, x) })
	})
}

type report struct {
	Worst    string
	Findings []struct {
		Check, Level, Says, Do, Link string
		Servers                      []string
	}
}

func (r report) of(check string) string {
	for _, f := range r.Findings {
		if f.Check == check {
			return f.Level + ": " + f.Says
		}
	}
	return "nothing"
}

func doctorFindsNoError(t *testing.T, x *target) {
	x.open(t)
	got := x.tierctl(t, "doctor", "--json")
	r := decode[report](t, got.out)
	require.True(t, got.status == exitDone || r.slow(), got.out+got.err)
	for _, f := range r.Findings {
		if f.Check == "latency" || f.Check == "clock" {
			continue
		}
		assert.Contains(t, []string{"ok", "note"}, f.Level, "%+v", f)
	}
	for _, check := range []string{"version", "mode", "RESP3", "tracking", "memory", "table", "buffers", "rights", "TLS", "clock", "latency", "log"} {
		assert.NotEqual(t, "nothing", r.of(check), check)
	}
	assert.Contains(t, r.of("tracking"), "an invalidation came")
	assert.Contains(t, r.of("rights"), "commands that stores send are permitted")
	switch {
	case x.option.Sentinel.MasterSet != "":
		assert.Contains(t, r.of("mode"), "1 replica, 3 sentinels")
	case strings.HasSuffix(t.Name(), "cluster/doctor"):
		assert.Contains(t, r.of("mode"), "3 primaries, 3 replicas, all slots served")
	default:
		assert.Contains(t, r.of("mode"), "standalone, without a replica")
	}
	text := x.tierctl(t, "doctor")
	assert.NotRegexp(t, `(?m)^(warning|error) +(version|mode|RESP3|tracking|memory|table|buffers|rights|TLS|log) `, text.out)
	assert.Regexp(t, `(?m)^ok +rights +all \d+ commands`, text.out)
	assert.NotContains(t, text.out, "\x1b", "colours, though the output is no terminal")
	assert.Contains(t, x.tierctl(t, "doctor", "--color", "always").out, "\x1b[32m")
}

func explainSaysWhatTheLibrarySays(t *testing.T, x *target) {
	ctx := t.Context()
	store := x.open(t)
	docs := view(t, store, "docs:technical", tier.WithRemoteOnly())
	long := strings.Repeat("source ", 20)
	agree := func(key string) explanation {
		t.Helper()
		want, err := docs.Explain(ctx, key)
		require.NoError(t, err)
		got := x.tierctl(t, "explain", "docs:technical", key, "--json")
		require.Zero(t, got.status, got.err)
		e := decode[explanation](t, got.out)
		assert.Equal(t, want.RemoteKey, e.RemoteKey)
		assert.Equal(t, want.Remote.Present, e.Present)
		assert.Equal(t, want.Remote.Valid, e.Valid, "%s%s", got.out, want)
		assert.Equal(t, want.Remote.Negative, e.Negative)
		assert.EqualValues(t, want.Remote.ChangedAt.Tick, e.Tick)
		if e.Present {
			assert.Equal(t, want.Remote.AsOf.String(), e.AsOf)
		}
		text := x.tierctl(t, "explain", "docs:technical", key)
		assert.Zero(t, text.status)
		assert.NotContains(t, text.out, "the value of", "a value is printed")
		byName := x.tierctl(t, "explain", want.RemoteKey)
		assert.Zero(t, byName.status)
		if e.Present {
			assert.Equal(t, firstLines(text.out, 3), firstLines(byName.out, 3))
		}
		return e
	}
	for _, key := range []string{"a", "b", "c", "d"} {
		load(t, docs, key, "doc-1", long)
		e := agree(key)
		assert.True(t, e.Valid)
		assert.Len(t, e.Depends, 4)
	}
	_, err := docs.Get(ctx, "missing", func(context.Context, *tier.Entry) (string, error) { return "", tier.ErrNotFound })
	require.ErrorIs(t, err, tier.ErrNotFound)
	e := agree("missing")
	assert.True(t, e.Negative)

	_, err = store.InvalidateSource(ctx, "doc-1")
	require.NoError(t, err)
	e = agree("a")
	assert.Equal(t, "source doc-1", e.Changed)
	load(t, docs, "a", "doc-1", long)
	e = agree("a")
	assert.True(t, e.Valid)
	_, err = store.InvalidateSource(ctx, long)
	require.NoError(t, err)
	e = agree("a")
	assert.Equal(t, "source "+long, e.Changed)
	load(t, docs, "b", "doc-1")
	_, err = store.InvalidateNamespace(ctx, "docs")
	require.NoError(t, err)
	e = agree("b")
	assert.Equal(t, "namespace docs", e.Changed)
	load(t, docs, "c")
	_, err = store.InvalidateAll(ctx)
	require.NoError(t, err)
	e = agree("c")
	assert.Equal(t, "everything", e.Changed)
	require.NoError(t, docs.Delete(ctx, "c"))
	e = agree("c")
	assert.False(t, e.Present)

	// A load holds the key's lease.
	loading, end := make(chan struct{}), make(chan struct{})
	done := make(chan error, 1)
	go func() {
		_, err := docs.Get(ctx, "slow", func(context.Context, *tier.Entry) (string, error) {
			close(loading)
			<-end
			return "", nil
		})
		done <- err
	}()
	<-loading
	e = agree("slow")
	assert.True(t, e.Leased)
	close(end)
	require.NoError(t, <-done)
}

func firstLines(s string, n int) string {
	return strings.Join(strings.SplitN(s, "\n", n+1)[:n], "\n")
}

func invalidateEndsCopies(t *testing.T, x *target) {
	ctx := t.Context()
	store := x.open(t)
	docs := view(t, store, "docs:technical")
	load(t, docs, "k", "doc-1", "doc-2")
	ended := func(why string, args ...string) {
		t.Helper()
		load(t, docs, "k", "doc-1", "doc-2")
		require.NoError(t, store.Sync(ctx))
		_, ok, err := docs.Peek(ctx, "k")
		require.NoError(t, err)
		require.True(t, ok)
		got := x.tierctl(t, append([]string{"invalidate"}, args...)...)
		require.Zero(t, got.status, got.err)
		assert.Contains(t, got.out, why)
		require.NoError(t, store.Sync(ctx))
		_, ok, err = docs.Peek(ctx, "k")
		require.NoError(t, err)
		assert.False(t, ok, "it is still there after tierctl invalidate %q", args)
	}
	ended("1 source changed as of ", "source", "doc-1")
	ended("2 sources changed as of ", "source", "doc-2", "other")
	ended("1 namespace changed as of ", "namespace", "docs")
	ended("everything changed as of ", "all")
	ended("1 key deleted as of ", "key", "docs:technical", "k")
	ended(`{"changed":"source","count":1,"asOf":"`, "source", "doc-1", "--json")

	load(t, docs, "k", "doc-1")
	got := tierctlWith(t, ctx, &command{in: strings.NewReader("a\n\ndoc-1\r\nb")}, nil, x.args("invalidate", "source", "-")...)
	assert.Zero(t, got.status, got.err)
	assert.Contains(t, got.out, "3 sources")
	require.NoError(t, store.Sync(ctx))
	_, ok, err := docs.Peek(ctx, "k")
	require.NoError(t, err)
	assert.False(t, ok)

	// On a terminal "all" asks.
	load(t, docs, "k")
	before := store.Stats().LocalMisses[tier.Invalidated]
	for _, answer := range []string{"", "n\n", "nope\n"} {
		got := tierctlWith(t, ctx, &command{in: strings.NewReader(answer), asksOnTTY: true}, nil, x.args("invalidate", "all")...)
		assert.Equal(t, exitFailed, got.status)
		assert.Contains(t, got.err, "nothing was changed")
	}
	require.NoError(t, store.Sync(ctx))
	_, ok, err = docs.Peek(ctx, "k")
	require.NoError(t, err)
	assert.True(t, ok, "%d", before)
	for _, c := range []*command{{in: strings.NewReader("y\n"), asksOnTTY: true}, {asksOnTTY: true}} {
		args := []string{"invalidate", "all"}
		if c.in == nil {
			args = append(args, "--yes")
		}
		got := tierctlWith(t, ctx, c, nil, x.args(args...)...)
		assert.Zero(t, got.status, got.err)
	}
	got = x.tierctl(t, "invalidate", "namespace", "a::b")
	assert.Equal(t, exitUsage, got.status)
	assert.Contains(t, got.err, "empty segment")
	invalidateSettles(t, x, store, docs)
}

// That a change settles is in the log, so tierctl need not wait to record it again.
func invalidateSettles(t *testing.T, x *target, store *tier.Store, docs *tier.Cache[string]) {
	t.Helper()
	ctx := t.Context()
	begun := time.Now()
	got := x.tierctl(t, "invalidate", "source", "late", "--settle", "1h")
	require.Zero(t, got.status, got.err)
	assert.Contains(t, got.out, "what is loaded until 1h0m0s from now ends then")
	assert.Less(t, time.Since(begun), 30*time.Minute, "it waits for nothing")
	require.NoError(t, store.Sync(ctx))
	assert.Equal(t, 1, store.Health(ctx).Settling, "other processes know that it settles")
	assert.Contains(t, decode[report](t, x.tierctl(t, "doctor", "--json").out).of("log"), "ok: ", "the log says that changes settle, which is no damage")
	load(t, docs, "of a replica that lags", "late")
	r, err := docs.Lookup(ctx, "of a replica that lags", func(context.Context, *tier.Entry) (string, error) { return "", nil })
	require.NoError(t, err)
	assert.LessOrEqual(t, r.TTL, time.Hour)
	got = x.tierctl(t, "invalidate", "source", "late", "--settle", "20ms", "--json")
	assert.Zero(t, got.status, got.err)
	assert.Contains(t, got.out, `"settlesInMs":20.000`)
}

func watchTellsEachChange(t *testing.T, x *target) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	store := x.open(t)
	lines, w := io.Pipe()
	done := make(chan call, 1)
	go func() {
		c := &command{out: w}
		got := tierctlWith(t, ctx, c, nil, x.args("watch", "--since", "1h", "--source", "watched", "--namespace", "users", "--match", "^m", "--json")...)
		w.Close()
		done <- got
	}()
	change := func() {
		_, err := store.InvalidateSource(ctx, "watched", "not watched", "match")
		require.NoError(t, err)
		_, err = store.InvalidateNamespace(ctx, "users:7", "docs")
		require.NoError(t, err)
		_, err = store.InvalidateAll(ctx)
		require.NoError(t, err)
	}
	change() // which is before or after the subscription
	_, err := store.InvalidateSource(ctx, "marker")
	require.NoError(t, err)
	read := bufio.NewScanner(lines)
	next := func() printedChange {
		t.Helper()
		require.True(t, read.Scan(), "the output has ended")
		return decode[printedChange](t, read.Text())
	}
	for next().Name != "marker" { // the latest of those changes, which is told once
	}
	for range 3 {
		change()
		var kinds []string
		for len(kinds) < 4 {
			c := next()
			kinds = append(kinds, c.Kind+" "+c.Name)
			assert.WithinDuration(t, time.Now(), c.Time, time.Hour)
		}
		assert.ElementsMatch(t, []string{"source watched", "source match", "namespace users:7", "everything "}, kinds)
	}
	cancel()
	lines.Close() // it may be about to print more
	got := <-done
	assert.Equal(t, exitInterrupted, got.status, got.err)

	text := x.tierctl(t, "watch", "--since", "1h", "--count", "1", "--kind", "everything")
	assert.Zero(t, text.status, text.err)
	assert.Regexp(t, `^\d\d:\d\d:\d\d\.\d{6}  everything\n$`, text.out)
	text = x.tierctl(t, "watch", "--for", "30ms")
	assert.Zero(t, text.status, text.err)
}

type printedChange struct {
	Kind, Name string
	Time       time.Time
}

func statsCount(t *testing.T, x *target) {
	store := x.open(t)
	a, b := view(t, store, "stats:a"), view(t, store, "stats:b%")
	for i := range 300 {
		load(t, a, fmt.Sprint(i))
	}
	for i := range 50 {
		load(t, b, fmt.Sprint(i))
	}
	require.NoError(t, b.Set(t.Context(), "set", "by key"))
	st := decode[statistics](t, x.tierctl(t, "stats", "--json", "--all").out)
	entries := make(map[string]int64)
	for _, n := range st.Namespaces {
		entries[n.Namespace] = n.Entries
		assert.Greater(t, n.Bytes, 100*n.Entries-1)
	}
	assert.EqualValues(t, 300, entries["stats:a"])
	assert.EqualValues(t, 51, entries["stats:b%"])
	assert.Equal(t, "MEMORY USAGE", st.Sample.Measured)
	assert.EqualValues(t, 1, st.Sample.Share)
	assert.Equal(t, "tracking", st.Log.OpenMode)
	assert.Contains(t, st.Log.Declared, "stats:b%")
	assert.EqualValues(t, store.AsOf().Tick, st.Log.Tick)
	sum := decode[statistics](t, x.tierctl(t, "stats", "--json", "--all", "--depth", "1").out)
	for _, n := range sum.Namespaces {
		if n.Namespace == "stats" {
			assert.EqualValues(t, 351, n.Entries)
		}
	}
	text := x.tierctl(t, "stats", "--top", "1")
	assert.Contains(t, text.out, "more\n")
	assert.Contains(t, text.out, "open, with client tracking; entries live for up to 168h0m0s")
}

// UnmarshalJSON is the inverse of MarshalJSON.
func (m *milliseconds) UnmarshalJSON(b []byte) error {
	f, err := strconv.ParseFloat(string(b), 64)
	*m = milliseconds(f * float64(time.Millisecond))
	return err
}

func purgeGoesOnWhereItWasInterrupted(t *testing.T, x *target) {
	store := x.open(t)
	bulk, kept := view(t, store, "purge:bulk"), view(t, store, "kept")
	for i := range 40 { // 4000 keys are several steps on each server
		all := make(map[string]string)
		for j := range 100 {
			all[fmt.Sprintf("%d-%d", i, j)] = "value"
		}
		require.NoError(t, bulk.SetMany(t.Context(), all))
	}
	load(t, kept, "k")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	// The first line of progress interrupts it: to that end standard error counts as a terminal, which is written to at once.
	c := &command{errIsTTY: true}
	c.in = strings.NewReader("")
	var seen strings.Builder
	c.err = writerFunc(func(p []byte) (int, error) {
		seen.Write(p)
		if strings.Contains(seen.String(), "removed, looking at keys") && !strings.HasPrefix(strings.TrimSpace(seen.String()), "0 removed") {
			cancel()
		}
		return len(p), nil
	})
	var out strings.Builder
	c.out = &out
	c.getenv = func(string) string { return "" }
	status := c.run(ctx, x.args("purge", "purge"))
	m := regexp.MustCompile(`tierctl purge purge --resume '(\S+)'`).FindStringSubmatch(seen.String())
	if status == exitDone {
		t.Log("it was done before it was interrupted")
	} else {
		require.Equal(t, exitInterrupted, status, seen.String())
		require.NotNil(t, m, seen.String())
		got := decode[purged](t, x.tierctl(t, "purge", "purge", "--json", "--resume", m[1]).out)
		assert.Empty(t, got.Resume)
	}
	left := decode[statistics](t, x.tierctl(t, "stats", "--json", "--all").out)
	for _, n := range left.Namespaces {
		assert.False(t, strings.HasPrefix(n.Namespace, "purge"), "%+v", n)
	}
	_, ok, err := kept.Peek(t.Context(), "k")
	require.NoError(t, err)
	assert.True(t, ok)
	bad := x.tierctl(t, "purge", "purge", "--resume", "nonsense")
	assert.Equal(t, exitUsage, bad.status, bad.err)
	assert.Equal(t, 1, strings.Count(bad.err, "\n"))
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// What changes while the subscription is lost is read from the log when there is one again.
func TestWatchTellsWhatChangedWhileItWasNotConnected(t *testing.T) {
	s := valkeytest.Start(t)
	x := &target{option: valkey.ClientOption{InitAddress: []string{s.Addr}}, flags: []string{"--addr", s.Addr}, prefix: valkeytest.Prefix(t)}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	store := x.open(t)
	lines, w := io.Pipe()
	done := make(chan call, 1)
	go func() {
		got := tierctlWith(t, ctx, &command{out: w}, nil, x.args("watch", "--since", "1h", "--json", "--kind", "source,lost")...)
		w.Close()
		done <- got
	}()
	change := func(id string) {
		_, err := store.InvalidateSource(ctx, id)
		require.NoError(t, err)
	}
	read := bufio.NewScanner(lines)
	awaitLine := func(want string) {
		t.Helper()
		for read.Scan() {
			c := decode[printedChange](t, read.Text())
			if c.Kind+" "+c.Name == want {
				return
			}
		}
		t.Fatalf("the output has ended without %s", want)
	}
	change("before")
	awaitLine("source before")
	for i := range 3 {
		s.Session(t).Do("CLIENT KILL TYPE pubsub") // of the store as well, which subscribes again
		id := fmt.Sprintf("meanwhile-%d", i)
		change(id)
		awaitLine("source " + id)
	}
	// A change whose message was lost is found by the next message, which does not follow on what was told.
	log := x.prefix + ":{" + x.prefix + "}:log"
	s.Do(t, "ZADD", log, fmt.Sprint(int64(store.AsOf().Tick)+1), "s:unannounced")
	change("announced")
	awaitLine("source unannounced")
	s.Do(t, "DEL", log)
	change("after the log was lost")
	awaitLine("lost ")
	cancel()
	lines.Close() // it may be about to print more
	assert.Equal(t, exitInterrupted, (<-done).status)
}

func TestDoctorNamesTheNodesThatAreLost(t *testing.T) {
	c := valkeytest.StartCluster(t, 3)
	lost := c.Primaries[1].Addr
	c.Replicas[1].Kill()
	c.Primaries[1].Kill()
	require.Eventually(t, func() bool {
		got := tierctl(t, nil, "doctor", "--json", "--timeout", "2s", "--addr", c.Primaries[0].Addr)
		return got.status == exitFindings && strings.Contains(got.out, lost+" does not answer the others (master,fail), and its slots have no other server") &&
			strings.Contains(got.out, "cluster, state fail")
	}, 2*time.Minute, 200*time.Millisecond)
}

// Names that hold what a terminal would act on are quoted.
func TestNamesDoNotReachTheTerminalAsTheyAre(t *testing.T) {
	s := valkeytest.Start(t)
	x := &target{option: valkey.ClientOption{InitAddress: []string{s.Addr}}, flags: []string{"--addr", s.Addr}, prefix: valkeytest.Prefix(t)}
	store := x.open(t)
	const evil = "a\x1b[2Jb\nforged line"
	load(t, view(t, store, evil), evil, evil)
	require.NoError(t, view(t, store, evil).Set(t.Context(), "k", ""))
	_, err := store.InvalidateSource(t.Context(), evil)
	require.NoError(t, err)
	for _, args := range [][]string{{"explain", evil, evil}, {"stats"}, {"watch", "--since", "1h", "--count", "2"}} {
		got := x.tierctl(t, args...)
		require.Zero(t, got.status, got.err)
		assert.NotContains(t, got.out, "\x1b", args)
		assert.NotContains(t, got.out, "\nforged", args)
		assert.Contains(t, got.out, `a\x1b[2Jb\nforged line`, args)
	}
}

func bypassReachesProcesses(t *testing.T, x *target) {
	c := view(t, x.open(t), "bypassed:one")
	loads := 0
	read := func() int {
		_, err := c.Get(t.Context(), "k", func(context.Context, *tier.Entry) (string, error) { loads++; return "v", nil })
		require.NoError(t, err)
		return loads
	}
	read()
	require.Equal(t, 1, read())
	got := x.tierctl(t, "bypass", "namespace", "bypassed", "--for", "10m")
	require.Zero(t, got.status, got.err)
	assert.Contains(t, got.out, "namespace bypassed is loaded by every process until about ")
	require.Eventually(t, func() bool { before := loads; return read() == before+1 }, 30*time.Second, 5*time.Millisecond)
	got = x.tierctl(t, "bypass", "namespace", "bypassed", "--off", "--json")
	require.Zero(t, got.status, got.err)
	assert.Contains(t, got.out, `"bypassed":false`)
	require.Eventually(t, func() bool { before := loads; return read() == before }, 30*time.Second, 5*time.Millisecond)
	for _, bad := range [][]string{{}, {"--for", "25h"}, {"--for", "10m", "--off"}, {"--for", "0s"}} {
		assert.Equal(t, exitUsage, x.tierctl(t, append([]string{"bypass", "namespace", "docs"}, bad...)...).status, bad)
	}
	assert.NotZero(t, x.tierctl(t, "bypass", "namespace", "a::b", "--off").status)
}

func fleetAndTopShowWhatProcessesReport(t *testing.T, x *target) {
	assert.Contains(t, x.tierctl(t, "fleet").out, "no process reports: ")
	assert.Contains(t, x.tierctl(t, "top").out, "no process reports: ")
	c := view(t, x.open(t, tier.WithReport()), "reported: one")
	load(t, c, "a")
	load(t, c, "b")
	load(t, c, "a")
	var fleet []struct {
		Host string
		Top  []struct{ N, H string }
	}
	require.Eventually(t, func() bool { // the first report comes within a second, and may tell of one key
		got := x.tierctl(t, "fleet", "--json")
		require.Zero(t, got.status, got.err)
		fleet = decode[[]struct {
			Host string
			Top  []struct{ N, H string }
		}](t, got.out)
		return len(fleet) == 1 && len(fleet[0].Top) == 2
	}, 30*time.Second, 50*time.Millisecond)
	got := x.tierctl(t, "fleet")
	assert.Regexp(t, `(?m)^process +up +mode +lag +reads/s`, got.out)
	assert.Contains(t, got.out, fmt.Sprintf("/%d ", os.Getpid()))
	got = x.tierctl(t, "top")
	e, err := c.Explain(t.Context(), "a")
	require.NoError(t, err)
	assert.Contains(t, got.out, e.RemoteKey)
	assert.Contains(t, got.out, "1 of 1")
	assert.Contains(t, x.tierctl(t, "explain", e.RemoteKey).out, "reported: one / a", "top names what explain takes")
	assert.Equal(t, exitUsage, x.tierctl(t, "top", "--top", "0").status)
}
