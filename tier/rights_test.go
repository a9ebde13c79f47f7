package tier_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/valkey-io/valkey-go"

	"github.com/tiercache/tiercache/internal/valkeytest"
	"github.com/tiercache/tiercache/tier"
)

// minimal is the ACL line of the README, and what it says that a cluster needs too.
func minimal(t *testing.T, prefix string, cluster bool) []string {
	readme, err := os.ReadFile("../README.md")
	require.NoError(t, err)
	_, line, ok := strings.Cut(string(readme), "ACL SETUSER tiercache on >PASSWORD ")
	require.True(t, ok)
	line, _, _ = strings.Cut(line, "\n")
	if cluster {
		more := regexp.MustCompile("one also needs `([^`]+)`").FindStringSubmatch(string(readme))
		require.NotNil(t, more)
		line += " " + more[1]
	}
	return strings.Fields(strings.ReplaceAll(line, "tiercache:", prefix+":"))
}

// tried is a place where a user with few rights opens stores.
type tried struct {
	option valkey.ClientOption
	nodes  []*valkeytest.Server
	prefix string
}

func (x *tried) set(t *testing.T, rights ...string) {
	for _, s := range x.nodes {
		s.Do(t, append([]string{"ACL", "SETUSER", "tiercache"}, rights...)...)
	}
}

// denied takes what the servers have denied to the user.
func (x *tried) denied(t *testing.T) (out []string) {
	for _, s := range x.nodes {
		log, err := s.Do(t, "ACL", "LOG").ToArray()
		require.NoError(t, err)
		for i := range log {
			m, err := log[i].AsMap()
			require.NoError(t, err)
			user, what := m["username"], m["object"]
			if name, _ := user.ToString(); name == "tiercache" {
				text, _ := what.ToString()
				out = append(out, text)
			}
		}
		s.Do(t, "ACL", "LOG", "RESET")
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func (x *tried) open(t *testing.T, options ...tier.Option) (*tier.Store, error) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	return tier.Open(ctx, append([]tier.Option{tier.WithValkeyClient(x.option), tier.WithPrefix(x.prefix), tier.WithRemoteTimeout(10 * time.Second),
		tier.WithMaxStaleness(30 * time.Second), tier.WithWarmStart(100), tier.WithReport()}, options...)...)
}

// everyOperation calls each, and returns those that failed. n tells keys of one call from those of another. What waits for a
// server that refuses it is given patience.
func everyOperation(t *testing.T, s *tier.Store, n int, patience time.Duration) map[string]error {
	ctx, failed := t.Context(), make(map[string]error)
	try := func(what string, err error) {
		if err != nil {
			failed[what] = err
		}
	}
	k := func(name string) string { return fmt.Sprint(name, n) }
	c, large := view[string](t, s, "docs", tier.WithRemoteOnly()), strings.Repeat("large", 30<<10)
	local := view[string](t, s, "near", tier.WithStaleWhileRevalidate(time.Minute))
	load := func(v string) tier.Loader[string] { return is(v, k("doc")) }
	several := func(_ context.Context, keys []string, _ tier.Entries) (map[string]string, error) {
		return many(keys...), nil
	}
	for _, v := range []*tier.Cache[string]{c, local} {
		_, err := v.Lookup(ctx, k("a"), load("v"))
		try("get", err)
		_, err = v.Lookup(ctx, k("large"), load(large))
		try("get of a large value", err)
		_, err = v.GetMany(ctx, []string{k("b"), k("c"), k("a")}, several)
		try("get many", err)
		dctx, stop := context.WithTimeout(ctx, patience)
		try("drain", s.Drain(dctx))
		stop()
		for range 2 {
			_, err = v.Lookup(ctx, k("a"), load("v"), tier.Fresh())
			try("get, fresh", err)
			_, err = v.Lookup(ctx, k("large"), load(large), tier.NoLocal())
			try("get of a large value, remotely", err)
			_, err = v.GetMany(ctx, []string{k("b"), k("c"), k("d")}, several, tier.NoLocal())
			try("get many, remotely", err)
		}
		try("set", v.Set(ctx, k("set"), "v"))
		try("set of a large value", v.Set(ctx, k("setlarge"), large))
		try("set many", v.SetMany(ctx, map[string]string{k("e"): "v", k("f"): large}))
		_, _, err = v.Peek(ctx, k("setlarge"))
		try("peek", err)
		_, err = v.Explain(ctx, k("set"))
		try("explain", err)
		_, err = v.Refresh(ctx, k("set"), load("w"))
		try("refresh", err)
		_, err = v.Get(ctx, k("none"), fails[string](tier.ErrNotFound))
		if !errors.Is(err, tier.ErrNotFound) {
			try("get of nothing", err)
		}
		if _, err = v.Get(ctx, k("bad"), fails[string](errOrigin)); !errors.Is(err, errOrigin) {
			try("get that fails", err)
		}
		try("delete", v.Delete(ctx, k("set"), k("e")))
	}
	brief, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	_, err := s.InvalidateSource(brief, k("doc"))
	try("invalidate a source", err)
	_, err = s.InvalidateNamespace(brief, "docs")
	try("invalidate a namespace", err)
	_, err = c.Invalidate(brief, tier.Settle(time.Millisecond))
	try("invalidate, to settle", err)
	_, err = s.InvalidateAll(brief)
	try("invalidate all", err)
	try("bypass", s.Bypass(brief, "elsewhere", time.Minute))
	try("end of bypass", s.Bypass(brief, "elsewhere", 0))
	sctx, cancelSync := context.WithTimeout(ctx, patience)
	defer cancelSync()
	try("sync", s.Sync(sctx))
	_, err = s.Purge(ctx, "near", nil)
	try("purge", err)
	return failed
}

// longLoad has a lease renewed.
func longLoad(t *testing.T, s *tier.Store) {
	_, err := view[string](t, s, "docs").Get(t.Context(), "long", func(ctx context.Context, _ *tier.Entry) (string, error) {
		select {
		case <-ctx.Done():
		case <-time.After(4 * time.Second): // a lease is renewed after one or two
		}
		return "v", ctx.Err()
	})
	require.NoError(t, err)
}

// sufficing is what the minimal rights have to do: everything, and nothing is denied.
func sufficing(t *testing.T, x *tried) {
	s, err := x.open(t)
	require.NoError(t, err)
	defer s.Close()
	for n := range 2 {
		require.Empty(t, everyOperation(t, s, n, time.Minute))
	}
	if os.Getenv("TIERCACHE_SOAK") != "" {
		longLoad(t, s)
	}
	require.NoError(t, s.Drain(t.Context()))
	warm, err := x.open(t)
	require.NoError(t, err)
	defer warm.Close()
	require.Empty(t, everyOperation(t, warm, 3, time.Minute))
	for _, s := range []*tier.Store{s, warm} {
		h := s.Health(t.Context())
		assert.True(t, h.Healthy, "%+v", h)
		assert.Empty(t, h.Refused)
		assert.NotContains(t, strings.Join(h.Warnings, "\n"), "NOPERM")
	}
	assert.Empty(t, x.denied(t))
}

func TestTheMinimalRightsSufficeForEveryOperation(t *testing.T) {
	valkeytest.EachVersion(t, func(t *testing.T, s *valkeytest.Server) {
		x := tryStandalone(t, s)
		x.set(t, minimal(t, x.prefix, false)...)
		sufficing(t, x)
	})
}

func tryStandalone(t *testing.T, s *valkeytest.Server) *tried {
	x := &tried{option: valkey.ClientOption{InitAddress: []string{s.Addr}, Username: "tiercache", Password: "secret", DisableRetry: true},
		nodes: []*valkeytest.Server{s}, prefix: valkeytest.Prefix(t)}
	x.set(t, "on", ">secret", "resetkeys", "resetchannels", "nocommands")
	return x
}

func tryCluster(t *testing.T, c *valkeytest.Cluster) *tried {
	x := &tried{option: valkey.ClientOption{InitAddress: c.Addrs(), Username: "tiercache", Password: "secret"}, nodes: c.Nodes(), prefix: valkeytest.Prefix(t)}
	x.set(t, "on", ">secret", "resetkeys", "resetchannels", "nocommands")
	return x
}

// Each right is taken away, before a store is opened and after: it does not open, and says which; or it does without, and says so; or a
// kind of request is refused, and Health says so. It is never well with something denied. (make soak; TIERCACHE_VALKEY_SERVERS has the versions.)
func TestNoRightIsMissedInSilence(t *testing.T) {
	if os.Getenv("TIERCACHE_SOAK") == "" {
		t.Skip("takes minutes: make soak")
	}
	for _, binary := range valkeytest.Binaries() {
		version := filepath.Base(filepath.Dir(binary))
		t.Run(version+", one server", func(t *testing.T) {
			x := tryStandalone(t, valkeytest.Start(t, valkeytest.Binary(binary), valkeytest.Config("maxmemory", "1gb"), valkeytest.Config("maxmemory-policy", "volatile-lru")))
			x.set(t, minimal(t, x.prefix, false)...)
			eachRight(t, x, minimal(t, x.prefix, false), false)
		})
		t.Run(version+", cluster", func(t *testing.T) {
			x := tryCluster(t, valkeytest.StartCluster(t, 3, valkeytest.Binary(binary), valkeytest.Config("maxmemory", "1gb"), valkeytest.Config("maxmemory-policy", "volatile-lru")))
			rights := minimal(t, x.prefix, true)
			x.set(t, rights...)
			t.Run("all suffice", func(t *testing.T) { sufficing(t, x) })
			eachRight(t, x, rights, true)
		})
	}
}

// harmless are rights without which nothing fails but the server's ACL LOG, which fills up: as the README says.
var harmless = []string{"+ping", "+client|setinfo"}

// costOnly are rights without which everything works: on one server it is asked whether it is a cluster; what is read and not kept is
// tracked; and what the log need not hold any more stays in it. After Open nothing tells of the last two but the server's ACL LOG.
var costOnly = []string{"+cluster|shards", "+client|caching", "+zrem"}

func eachRight(t *testing.T, x *tried, rights []string, cluster bool) {
	for _, right := range rights {
		var revoke []string
		switch {
		case right == "-@all" || slices.Contains(harmless, right):
			continue
		case right[0] == '~':
			revoke = []string{"resetkeys"}
		case right[0] == '&':
			revoke = []string{"resetchannels"}
		default:
			revoke = []string{"-" + right[1:]}
		}
		name := strings.ToLower(strings.TrimLeft(right, "+~&"))
		grant := func() { x.set(t, rights...) }
		told := func(t *testing.T, s *tier.Store, failed map[string]error) {
			var h tier.Health
			var denied []string
			said := func() bool { // what is done in the background is told a little later
				h = s.Health(t.Context())
				denied = slices.Concat(denied, x.denied(t))
				return !h.Healthy || len(failed) == 0 && len(denied) == 0 || strings.Contains(strings.ToLower(strings.Join(h.Warnings, "\n")), strings.TrimSuffix(name, ":*"))
			}
			is := slices.Contains(costOnly, right) && !(cluster && right == "+cluster|shards") || assert.Eventually(t, said, 30*time.Second, 50*time.Millisecond, "it is well, although something was denied")
			t.Logf("without %-16s told %v, healthy %v, refused %v, failed %v, denied %v, says %.200q", right, is, h.Healthy, slices.Sorted(maps.Keys(h.Refused)),
				slices.Sorted(maps.Keys(failed)), denied, strings.Join(h.Warnings, "; "))
		}
		t.Run("before Open, "+right, func(t *testing.T) {
			defer grant()
			x.set(t, revoke...)
			x.denied(t)
			s, err := x.open(t)
			if err != nil {
				require.NotContains(t, err.Error(), "\n")
				require.Contains(t, strings.ToLower(err.Error()), strings.TrimSuffix(name, ":*"), "it is named")
				t.Logf("without %-16s Open: %v", right, err)
				return
			}
			defer s.Close()
			told(t, s, everyOperation(t, s, 1, time.Second))
		})
		t.Run("after Open, "+right, func(t *testing.T) {
			defer grant()
			s, err := x.open(t)
			require.NoError(t, err)
			defer s.Close()
			require.Empty(t, everyOperation(t, s, 1, time.Minute))
			x.denied(t)
			x.set(t, revoke...)
			told(t, s, everyOperation(t, s, 2, time.Second))
			grant()
			n := 3
			eventually(t, "all is well again", func() bool { // other keys each time: each server of a cluster has to be asked again
				n++
				return len(everyOperation(t, s, n, time.Second)) == 0 && s.Health(t.Context()).Healthy
			})
		})
	}
}

// The server fails over while a store opens: it opens when there is a primary again, works, and is told of by nothing but its own log.
func TestAFailoverWhileAStoreOpens(t *testing.T) {
	if os.Getenv("TIERCACHE_SOAK") == "" {
		t.Skip("takes minutes: make soak")
	}
	for _, offline := range []bool{false, true} {
		for name, start := range map[string]func(t *testing.T) (o valkey.ClientOption, kill func()){
			"sentinels": func(t *testing.T) (valkey.ClientOption, func()) {
				set := valkeytest.StartSentinels(t)
				return valkey.ClientOption{InitAddress: set.Addrs(), Sentinel: valkey.SentinelOption{MasterSet: set.Name}}, set.Primary.Kill
			},
			"cluster": func(t *testing.T) (valkey.ClientOption, func()) {
				c := valkeytest.StartCluster(t, 3)
				return valkey.ClientOption{InitAddress: c.Addrs()}, func() {
					for _, s := range c.Primaries[:1] {
						s.Kill()
					}
				}
			},
		} {
			t.Run(fmt.Sprintf("%s, may start offline: %v", name, offline), func(t *testing.T) {
				o, kill := start(t)
				kill()
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				options := []tier.Option{tier.WithValkeyClient(o), tier.WithPrefix(valkeytest.Prefix(t)), tier.WithRemoteTimeout(5 * time.Second)}
				if offline {
					options = append(options, tier.WithStartOffline())
				}
				s, err := tier.Open(ctx, options...)
				require.NoError(t, err)
				defer s.Close()
				brief, cancelBrief := context.WithTimeout(t.Context(), time.Millisecond)
				defer cancelBrief()
				_, _ = s.InvalidateSource(brief, "doc") // is delivered, if not at once
				eventually(t, "all works", func() bool {
					return len(everyOperation(t, s, 1, time.Second)) == 0 && s.Health(t.Context()).Healthy
				})
				require.Zero(t, s.Health(t.Context()).Undelivered)
			})
		}
	}
}
