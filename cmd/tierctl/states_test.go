package main

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/valkey-io/valkey-go"

	"github.com/tiercache/tiercache/internal/backend"
	"github.com/tiercache/tiercache/internal/valkeytest"
	"github.com/tiercache/tiercache/tier"
	"github.com/tiercache/tiercache/tier/tierdebug"
)

type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *lines) take() (out []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	defer l.buf.Reset()
	for line := range strings.Lines(l.buf.String()) {
		out = append(out, strings.TrimSpace(line))
	}
	return out
}

func (l *lines) count(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.buf.String(), text)
}

// brokenState is one that a server gets into while stores are open.
type brokenState struct {
	config []valkeytest.Option
	begin  func(t *testing.T, s *valkeytest.Server) (end func())
	// refused is a kind of request that Health says is refused; empty: the server is away.
	refused string
	// unsteady: the server answers from time to time, and each time that is told.
	unsteady bool
	// doctor is what it says, after its level and the check or, as it cannot connect, in its error.
	doctor string
}

func do(t *testing.T, s *valkeytest.Server, words ...string) { t.Helper(); s.Do(t, words...) }

var brokenStates = map[string]brokenState{
	"oom noeviction": {refused: "setting a value", doctor: "error writes are refused: OOM", begin: func(t *testing.T, s *valkeytest.Server) func() {
		do(t, s, "CONFIG", "SET", "maxmemory", "1")
		return func() { do(t, s, "CONFIG", "SET", "maxmemory", "0") }
	}},
	"oom volatile-lru": {refused: "setting a value", doctor: "error writes are refused: OOM", config: []valkeytest.Option{valkeytest.Config("maxmemory-policy", "volatile-lru")}, begin: func(t *testing.T, s *valkeytest.Server) func() {
		do(t, s, "CONFIG", "SET", "maxmemory", "1")
		return func() { do(t, s, "CONFIG", "SET", "maxmemory", "0") }
	}},
	"oom allkeys-lru": {refused: "setting a value", doctor: "error writes are refused: OOM", config: []valkeytest.Option{valkeytest.Config("maxmemory-policy", "allkeys-lru")}, begin: func(t *testing.T, s *valkeytest.Server) func() {
		do(t, s, "CONFIG", "SET", "maxmemory", "1")
		return func() { do(t, s, "CONFIG", "SET", "maxmemory", "0") }
	}},
	"misconf rdb": {refused: "recording a change", doctor: "error writes are refused: MISCONF", config: []valkeytest.Option{valkeytest.Config("stop-writes-on-bgsave-error", "yes"), valkeytest.Config("dbfilename", "broken.rdb"), valkeytest.Config("save", "3600 1")}, begin: func(t *testing.T, s *valkeytest.Server) func() {
		m, err := s.Do(t, "CONFIG", "GET", "dir").AsStrMap()
		require.NoError(t, err)
		at := filepath.Join(m["dir"], "broken.rdb")
		_ = os.Remove(at)
		require.NoError(t, os.MkdirAll(filepath.Join(at, "x"), 0o700))
		do(t, s, "BGSAVE")
		await := func(want string) {
			require.Eventually(t, func() bool {
				text, _ := s.Do(t, "INFO", "persistence").ToString()
				return strings.Contains(text, "rdb_last_bgsave_status:"+want)
			}, 20*time.Second, 10*time.Millisecond)
		}
		await("err")
		return func() {
			require.NoError(t, os.RemoveAll(at))
			do(t, s, "BGSAVE")
			await("ok")
		}
	}},
	"aof disk full": {refused: "recording a change", doctor: "error writes are refused: MISCONF", config: []valkeytest.Option{valkeytest.Config("appendonly", "yes"), valkeytest.Config("appendfsync", "everysec")}, begin: func(t *testing.T, s *valkeytest.Server) func() {
		m, err := s.Do(t, "CONFIG", "GET", "dir").AsStrMap()
		require.NoError(t, err)
		dir := filepath.Join(m["dir"], "appendonlydir")
		for n := 2; n < 9; n++ {
			_ = os.Symlink("/dev/full", filepath.Join(dir, fmt.Sprintf("appendonly.aof.%d.incr.aof", n)))
		}
		do(t, s, "BGREWRITEAOF")
		require.Eventually(t, func() bool {
			text, _ := s.Do(t, "INFO", "persistence").ToString()
			return strings.Contains(text, "aof_rewrite_in_progress:0")
		}, 20*time.Second, 10*time.Millisecond)
		return func() { do(t, s, "CONFIG", "SET", "appendonly", "no") }
	}},
	"noreplicas": {refused: "recording a change", doctor: "error writes are refused: NOREPLICAS", begin: func(t *testing.T, s *valkeytest.Server) func() {
		do(t, s, "CONFIG", "SET", "min-replicas-to-write", "1")
		return func() { do(t, s, "CONFIG", "SET", "min-replicas-to-write", "0") }
	}},
	"readonly": {doctor: "error mode the server is a replica", begin: func(t *testing.T, s *valkeytest.Server) func() {
		other := valkeytest.Start(t)
		host, port, _ := strings.Cut(other.Addr, ":")
		do(t, s, "REPLICAOF", host, port)
		return func() { do(t, s, "REPLICAOF", "NO", "ONE") }
	}},
	"masterdown": {doctor: "error mode the server is a replica", config: []valkeytest.Option{valkeytest.Config("replica-serve-stale-data", "no")}, begin: func(t *testing.T, s *valkeytest.Server) func() {
		do(t, s, "REPLICAOF", "127.0.0.1", "1")
		return func() { do(t, s, "REPLICAOF", "NO", "ONE") }
	}},
	"busy script": {doctor: "a script blocks the server", config: []valkeytest.Option{valkeytest.Config("busy-reply-threshold", "50")}, begin: func(t *testing.T, s *valkeytest.Server) func() {
		c := s.Client(t)
		var wg sync.WaitGroup
		wg.Go(func() {
			_ = c.Do(context.Background(), c.B().Arbitrary("EVAL", "while true do end", "0").Build()).Error()
		})
		return func() {
			require.Eventually(t, func() bool {
				k := s.Client(t)
				return k.Do(t.Context(), k.B().Arbitrary("SCRIPT", "KILL").Build()).Error() == nil
			}, 20*time.Second, 20*time.Millisecond)
			wg.Wait()
		}
	}},
	"loading later": {doctor: "connecting to", config: []valkeytest.Option{valkeytest.Persist(), valkeytest.Config("key-load-delay", "9000"), valkeytest.Config("loading-process-events-interval-bytes", "1024")}, begin: func(t *testing.T, s *valkeytest.Server) func() {
		do(t, s, "EVAL", "for i = 1, 1000 do redis.call('SET', 'k' .. i, string.rep('v', 100)) end", "0")
		s.Stop()
		var wg sync.WaitGroup
		wg.Go(func() { s.Restart() })
		return wg.Wait
	}},
	"maxclients": {doctor: "no connection to spare", begin: func(t *testing.T, s *valkeytest.Server) func() {
		admin := s.Client(t)
		ado := func(words ...string) {
			_ = admin.Do(context.Background(), admin.B().Arbitrary(words...).Build()).Error()
		}
		ado("CONFIG", "SET", "maxclients", "1")
		ado("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
		ado("CLIENT", "KILL", "TYPE", "pubsub")
		return func() { ado("CONFIG", "SET", "maxclients", "1000") }
	}},
	"paused writes": {unsteady: true, doctor: "error", begin: func(t *testing.T, s *valkeytest.Server) func() {
		do(t, s, "CLIENT", "PAUSE", "60000", "WRITE")
		return func() { do(t, s, "CLIENT", "UNPAUSE") }
	}},
	"user removed": {doctor: "does not accept the user", begin: func(t *testing.T, s *valkeytest.Server) func() {
		do(t, s, "ACL", "SETUSER", "app", "off", "resetpass")
		do(t, s, "CLIENT", "KILL", "USER", "app")
		return func() { do(t, s, "ACL", "SETUSER", "app", "on", ">secret") }
	}},
	"keys revoked": {refused: "recording a change", doctor: "error rights set is refused", begin: func(t *testing.T, s *valkeytest.Server) func() {
		do(t, s, "ACL", "SETUSER", "app", "resetkeys")
		return func() { do(t, s, "ACL", "SETUSER", "app", "~*") }
	}},
	"channels revoked": {refused: "recording a change", doctor: "error rights publish is refused", begin: func(t *testing.T, s *valkeytest.Server) func() {
		do(t, s, "ACL", "SETUSER", "app", "resetchannels")
		return func() { do(t, s, "ACL", "SETUSER", "app", "&*") }
	}},
	"value limit": {refused: "setting a large value", doctor: "", begin: func(t *testing.T, s *valkeytest.Server) func() {
		do(t, s, "CONFIG", "SET", "proto-max-bulk-len", "1mb")
		return func() { do(t, s, "CONFIG", "SET", "proto-max-bulk-len", "512mb") }
	}},
	"frozen": {doctor: "nothing is answered", begin: func(t *testing.T, s *valkeytest.Server) func() { s.Pause(); return s.Resume }},
}

// States that come after Open worked: each is told, in Health, by a line of the log at its beginning and one at its end, by tierctl doctor
// and on the page; the store is well again by itself when it is over, and what was invalidated meanwhile has ended other
// processes' copies.
func TestEachStateOfAServerIsTold(t *testing.T) {
	if os.Getenv("TIERCACHE_SOAK") == "" {
		t.Skip("takes minutes: make soak")
	}
	for _, binary := range valkeytest.Binaries() {
		for _, name := range slices.Sorted(maps.Keys(brokenStates)) {
			t.Run(filepath.Base(filepath.Dir(binary))+", "+name, func(t *testing.T) {
				st := brokenStates[name]
				s := valkeytest.Start(t, append([]valkeytest.Option{valkeytest.Binary(binary), valkeytest.Config("user", "app on >secret ~* &* +@all")}, st.config...)...)
				x := &target{flags: []string{"--url", "valkey://app:secret@" + s.Addr, "--timeout", "1s"}, prefix: valkeytest.Prefix(t)}
				x.option = valkey.ClientOption{InitAddress: []string{s.Addr}, Username: "app", Password: "secret"}
				told(t, x, st, func() func() { return st.begin(t, s) })
			})
		}
		for _, name := range slices.Sorted(maps.Keys(brokenClusters)) {
			t.Run(filepath.Base(filepath.Dir(binary))+", cluster, "+name, func(t *testing.T) {
				st := brokenClusters[name]
				c := valkeytest.StartCluster(t, 3, append([]valkeytest.Option{valkeytest.Binary(binary)}, st.config...)...)
				x := &target{flags: []string{"--addr", c.Primaries[0].Addr, "--timeout", "1s"}, prefix: valkeytest.Prefix(t)}
				x.option = valkey.ClientOption{InitAddress: c.Addrs()}
				told(t, x, st.brokenState, func() func() { return st.begin(t, c, backend.SlotOf("{"+x.prefix+"}")) })
			})
		}
	}
}

// brokenCluster is a state of one server of a cluster, which is not the one that has the log.
type brokenCluster struct {
	brokenState
	begin func(t *testing.T, c *valkeytest.Cluster, log int) (end func()) // log is the slot of the change log
}

var brokenClusters = map[string]brokenCluster{
	"one primary is full": {brokenState{refused: "setting a value", doctor: "error writes are refused: OOM"}, func(t *testing.T, c *valkeytest.Cluster, log int) func() {
		return onEach(t, c.Primaries[1:2], []string{"maxmemory", "1"}, []string{"maxmemory", "0"})
	}},
	"all primaries are full": {brokenState{refused: "setting a value", doctor: "error writes are refused: OOM"}, func(t *testing.T, c *valkeytest.Cluster, log int) func() {
		return onEach(t, c.Primaries, []string{"maxmemory", "1"}, []string{"maxmemory", "0"})
	}},
	"too few replicas": {brokenState{refused: "recording a change", doctor: "error writes are refused: NOREPLICAS"}, func(t *testing.T, c *valkeytest.Cluster, log int) func() {
		return onEach(t, c.Primaries, []string{"min-replicas-to-write", "2"}, []string{"min-replicas-to-write", "0"})
	}},
	"some slots have no server": {brokenState{doctor: "error mode cluster, state", config: []valkeytest.Option{valkeytest.Config("cluster-require-full-coverage", "no")}},
		func(t *testing.T, c *valkeytest.Cluster, log int) func() {
			owner, from, to := c.Primaries[1], "6000", "9000"
			if log >= 6000 && log <= 9000 {
				owner, from, to = c.Primaries[0], "1000", "4000"
			}
			for _, s := range c.Nodes() {
				do(t, s, "CLUSTER", "DELSLOTSRANGE", from, to)
			}
			return func() { do(t, owner, "CLUSTER", "ADDSLOTSRANGE", from, to); c.AwaitWhole(t) }
		}},
	"a slot has no server, and all is down": {brokenState{doctor: "error mode cluster, state fail"}, func(t *testing.T, c *valkeytest.Cluster, log int) func() {
		for _, s := range c.Nodes() {
			do(t, s, "CLUSTER", "DELSLOTS", "7000")
		}
		return func() { do(t, c.Primaries[1], "CLUSTER", "ADDSLOTS", "7000"); c.AwaitWhole(t) }
	}},
}

func onEach(t *testing.T, servers []*valkeytest.Server, begin, end []string) func() {
	set := func(words []string) {
		for _, s := range servers {
			do(t, s, append([]string{"CONFIG", "SET"}, words...)...)
		}
	}
	set(begin)
	return func() { set(end) }
}

func told(t *testing.T, x *target, st brokenState, begin func() func()) {
	ctx := t.Context()
	var log lines
	a := x.open(t, tier.WithLogger(slog.New(slog.NewTextHandler(&log, nil))), tier.WithRemoteTimeout(300*time.Millisecond), tier.WithReport())
	b := x.open(t, tier.WithRemoteTimeout(300*time.Millisecond))
	own, other := view(t, a, "docs"), view(t, b, "docs")
	page := tierdebug.New(a)
	large := strings.Repeat("large", 300<<10)
	n := 0
	use := func() map[string]error {
		n++
		failed := make(map[string]error)
		try := func(what string, err error) {
			if err != nil {
				failed[what] = err
			}
		}
		get := func(c *tier.Cache[string], key string) {
			_, err := c.Get(ctx, key, func(_ context.Context, e *tier.Entry) (string, error) { e.DependsOn("doc"); return "v", nil })
			require.NoError(t, err, "a loader can answer it")
		}
		for _, key := range []string{fmt.Sprint("new", n), "kept", "set"} {
			get(own, key)
		}
		_, err := own.GetMany(ctx, []string{fmt.Sprint("m", n), fmt.Sprint("n", n)}, func(_ context.Context, keys []string, _ tier.Entries) (map[string]string, error) {
			return map[string]string{keys[0]: "v", keys[len(keys)-1]: "v"}, nil
		})
		require.NoError(t, err)
		for i := range 4 { // on several servers
			try("set", own.Set(ctx, fmt.Sprint("set", i), "v"))
			try("delete", own.Delete(ctx, fmt.Sprint("new", n-i)))
		}
		if n%10 == 0 {
			try("set of a large value", own.Set(ctx, "large", large))
		}
		ictx, cancel := context.WithTimeout(ctx, 200*time.Millisecond)
		defer cancel()
		_, err = a.InvalidateSource(ictx, fmt.Sprint("s", n%3))
		try("invalidate", err)
		return failed
	}
	well := func(what string) {
		t.Helper()
		require.Eventually(t, func() bool { return len(use()) == 0 && a.Health(ctx).Healthy && b.Health(ctx).Healthy }, 90*time.Second, 20*time.Millisecond, what)
	}
	well("before")
	_, err := other.Get(ctx, "elsewhere", func(_ context.Context, e *tier.Entry) (string, error) { e.DependsOn("changing"); return "before", nil })
	require.NoError(t, err)
	log.take()

	end := begin()
	begun := time.Now()
	failed := make(map[string]error)
	var h tier.Health
	pause := time.NewTicker(20 * time.Millisecond)
	defer pause.Stop()
	for first := true; time.Since(begun) < 6*time.Second; first = false {
		maps.Copy(failed, use())
		if first {
			ictx, cancel := context.WithTimeout(ctx, 200*time.Millisecond)
			_, _ = a.InvalidateSource(ictx, "changing")
			cancel()
		}
		if h = a.Health(ctx); time.Since(begun) > 4*time.Second {
			assert.False(t, h.Healthy, "after %v: %+v", time.Since(begun), h)
		}
		<-pause.C
	}
	assert.NotEmpty(t, failed)
	t.Logf("failed %v; healthy %v, local copies %v, away %v, undelivered %d, refused %v, error %v", slices.Sorted(maps.Keys(failed)), h.Healthy, h.ServesLocal,
		!h.AwaySince.IsZero(), h.Undelivered, slices.Sorted(maps.Keys(h.Refused)), h.RemoteErr)
	if st.refused != "" {
		assert.Contains(t, h.Refused, st.refused)
	} else {
		assert.Error(t, h.RemoteErr)
	}
	w := httptest.NewRecorder()
	page.ServeHTTP(w, httptest.NewRequestWithContext(ctx, "GET", "/debug/tiercache/state.json", nil))
	assert.Contains(t, w.Body.String(), "Not everything works.")
	assert.NotContains(t, w.Body.String(), "h47m16", "a time that is none")
	// What comes at the same time is one edge for each kind of request, and at most one for the server and for its log.
	edges := func(what string, all []string) {
		t.Helper()
		count := make(map[string]int)
		for _, line := range all {
			t.Logf("%s: %.230s", what, line)
			line = regexp.MustCompile(`^.* msg=`).ReplaceAllString(line, "")
			line = regexp.MustCompile(` (error|since|away|knew|scopes|failed_heartbeats)=.*`).ReplaceAllString(line, "")
			count[line]++
		}
		for line, n := range count {
			assert.True(t, n == 1 || st.unsteady, "%d lines %s", n, line)
		}
		assert.NotEmpty(t, all)
	}
	told := log.take()
	edges("begins", told)
	refusals := strings.Count(strings.Join(told, "\n"), "refuses a kind of request")
	got := x.tierctl(t, "doctor")
	assert.Equal(t, st.doctor != "", got.status != 0, got.out)
	text := strings.Join(strings.Fields(got.out+got.err), " ")
	assert.Contains(t, text, st.doctor)
	if got.err != "" {
		assert.Equal(t, 1, strings.Count(got.err, "\n"), got.err)
	}
	end()
	well("after")
	require.NoError(t, b.Sync(ctx))
	v, err := other.Get(ctx, "elsewhere", func(context.Context, *tier.Entry) (string, error) { return "after", nil })
	require.NoError(t, err)
	assert.Equal(t, "after", v, "what was invalidated meanwhile was not told")
	require.Eventually(t, func() bool { use(); return log.count("performs a kind of request again") >= refusals }, 30*time.Second, 100*time.Millisecond)
	edges("ends", log.take())
}
