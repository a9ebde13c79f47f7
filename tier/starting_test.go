package tier_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/valkey-io/valkey-go"

	"github.com/tiercache/tiercache/internal/valkeytest"
	"github.com/tiercache/tiercache/tier"
)

// What keeps a server from serving passes while Open waits.
func TestOpenWaitsForAServer(t *testing.T) {
	for name, way := range map[string]func(t *testing.T) (s *valkeytest.Server, come func()){
		"that is not there": func(t *testing.T) (*valkeytest.Server, func()) {
			s := valkeytest.Start(t)
			s.Kill()
			return s, s.Restart
		},
		"that reads its data": func(t *testing.T) (*valkeytest.Server, func()) {
			s := valkeytest.Start(t, valkeytest.Persist(), valkeytest.Config("key-load-delay", "1000"), valkeytest.Config("loading-process-events-interval-bytes", "1024"))
			s.Do(t, "EVAL", "for i = 1, 1000 do redis.call('SET', 'k' .. i, string.rep('v', 100)) end", "0")
			s.Stop()
			return s, s.Restart
		},
		"that is frozen": func(t *testing.T) (*valkeytest.Server, func()) {
			s := valkeytest.Start(t)
			s.Pause()
			return s, s.Resume
		},
		"that is a replica": func(t *testing.T) (*valkeytest.Server, func()) {
			primary := valkeytest.Start(t)
			s := valkeytest.Start(t, valkeytest.ReplicaOf(primary.Addr))
			return s, func() { s.Do(t, "REPLICAOF", "NO", "ONE") }
		},
		"without a connection to spare": func(t *testing.T) (*valkeytest.Server, func()) {
			s := valkeytest.Start(t)
			admin := s.Client(t)
			require.NoError(t, admin.Do(t.Context(), admin.B().Arbitrary("CONFIG", "SET", "maxclients", "1").Build()).Error())
			return s, func() {
				require.NoError(t, admin.Do(t.Context(), admin.B().Arbitrary("CONFIG", "SET", "maxclients", "1000").Build()).Error())
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			s, come := way(t)
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			type opened struct {
				s   *tier.Store
				err error
			}
			result := make(chan opened, 1)
			go func() {
				store, err := tier.Open(ctx, tier.WithValkey(s.URL()))
				result <- opened{store, err}
			}()
			select {
			case r := <-result:
				t.Fatalf("it does not wait: %v", r.err)
			case <-time.After(1500 * time.Millisecond): // longer than one attempt takes
			}
			come()
			r := <-result
			require.NoError(t, r.err)
			require.NoError(t, r.s.Close())
		})
	}
}

// works sets, reads and deletes, in two stores.
func works(t *testing.T, o valkey.ClientOption) tier.Health {
	t.Helper()
	var stores [2]*tier.Store
	prefix := valkeytest.Prefix(t)
	for i := range stores {
		var err error
		stores[i], err = tier.Open(t.Context(), tier.WithValkeyClient(o), tier.WithPrefix(prefix), tier.WithRemoteTimeout(10*time.Second))
		require.NoError(t, err)
		defer stores[i].Close()
	}
	a, b := view[string](t, stores[0], "docs"), view[string](t, stores[1], "docs")
	require.NoError(t, a.Set(t.Context(), "k", strings.Repeat("large", 30<<10)))
	require.NoError(t, a.Set(t.Context(), "k", "one"))
	require.NoError(t, stores[1].Sync(t.Context()))
	require.Equal(t, "one", find(t, b, "k", unneeded).Value)
	require.NoError(t, a.Set(t.Context(), "k", "two"))
	require.NoError(t, stores[1].Sync(t.Context()))
	require.Equal(t, "two", find(t, b, "k", unneeded).Value, "the copy is not believed after the change")
	require.Equal(t, "loaded", find(t, b, "l", is("loaded", "doc")).Value)
	filled(t, stores[1], 1)
	_, err := stores[0].InvalidateSource(t.Context(), "doc")
	require.NoError(t, err)
	require.NoError(t, stores[1].Sync(t.Context()))
	require.Equal(t, "again", find(t, b, "l", is("again", "doc")).Value)
	require.NoError(t, a.Delete(t.Context(), "k"))
	require.NoError(t, stores[1].Sync(t.Context()))
	require.Equal(t, "new", find(t, b, "k", is("new")).Value)
	several, err := b.GetMany(t.Context(), []string{"k", "l"}, func(context.Context, []string, tier.Entries) (map[string]string, error) {
		return nil, errors.New("unneeded")
	})
	require.NoError(t, err)
	require.Len(t, several, 2)
	return stores[1].Health(t.Context())
}

func TestAStoreDoesWithoutWhatIsWithheldAndSaysSo(t *testing.T) {
	for name, c := range map[string]struct {
		config []valkeytest.Option
		rights []string
		mode   string
		says   string // a warning; empty: none but that of maxmemory
	}{
		"everything": {mode: "one server, RESP3, tracking"},
		"CLIENT":     {rights: []string{"-client"}, mode: "one server, RESP3, without tracking", says: "as WithoutTracking: CLIENT TRACKING: NOPERM"},
		"CLIENT TRACKING": {rights: []string{"-client|tracking"}, mode: "one server, RESP3, without tracking",
			says: "as WithoutTracking: CLIENT TRACKING: NOPERM"},
		"CLIENT CACHING": {rights: []string{"-client|caching"}, mode: "one server, RESP3, tracking", says: "the server tracks what is read and not kept too"},
		"the command CLIENT": {config: []valkeytest.Option{valkeytest.Config("rename-command", `CLIENT ""`)}, mode: "one server, RESP3, without tracking",
			says: "as WithoutTracking: CLIENT TRACKING: unknown command"},
		"RESP3": {config: []valkeytest.Option{valkeytest.Config("rename-command", `HELLO ""`)}, mode: "one server, RESP2, without tracking",
			says: "as WithoutTracking: HELLO 3: unknown command"},
		"scripts that only read": {config: []valkeytest.Option{valkeytest.Config("rename-command", `EVAL_RO ""`), valkeytest.Config("rename-command", `EVALSHA_RO ""`)},
			mode: "one server, RESP3, tracking", says: "scripts that read run as those that write"},
		"CONFIG":    {rights: []string{"-config"}, mode: "one server, RESP3, tracking", says: "does not know the size of the tracking table"},
		"SCAN":      {rights: []string{"-scan"}, mode: "one server, RESP3, tracking", says: "Purge fails"},
		"PEXPIRE":   {rights: []string{"-pexpire"}, mode: "one server, RESP3, tracking", says: "may run twice in the fleet"},
		"SUBSCRIBE": {rights: []string{"-subscribe"}, mode: "one server, RESP3, tracking", says: "heard of with the heartbeat"},
	} {
		t.Run(name, func(t *testing.T) {
			s := valkeytest.Start(t, c.config...)
			o := valkey.ClientOption{InitAddress: []string{s.Addr}, DisableRetry: true}
			if c.rights != nil {
				s.Do(t, append([]string{"ACL", "SETUSER", "app", "on", ">p", "~*", "&*", "+@all"}, c.rights...)...)
				o.Username, o.Password = "app", "p"
			}
			h := works(t, o)
			require.True(t, h.Healthy, "%+v", h)
			require.Equal(t, c.mode, h.Mode)
			said := strings.Join(h.Warnings, "\n")
			if require.Contains(t, said, c.says); c.says == "" {
				require.Len(t, h.Warnings, 1, said)
			}
		})
	}
}

// A cluster is no exception.
func TestAClusterWithoutTrackingRights(t *testing.T) {
	t.Parallel()
	c := valkeytest.StartCluster(t, 3)
	for _, s := range c.Nodes() {
		s.Do(t, "ACL", "SETUSER", "app", "on", ">p", "~*", "&*", "+@all", "-client|tracking")
	}
	h := works(t, valkey.ClientOption{InitAddress: c.Addrs(), Username: "app", Password: "p"})
	require.Equal(t, "cluster, RESP3, without tracking", h.Mode)
	require.Contains(t, strings.Join(h.Warnings, "\n"), "as WithoutTracking")
}

// A store that is as WithoutTracking is none with tracking: it opens only beside others of its kind.
func TestAStoreThatIsNotToldOfKeysIsRefusedBesideOthers(t *testing.T) {
	s := valkeytest.Start(t)
	s.Do(t, "ACL", "SETUSER", "app", "on", ">p", "~*", "&*", "+@all", "-client|tracking")
	first, err := tier.Open(t.Context(), tier.WithValkey(s.URL()), tier.WithRemoteTimeout(10*time.Second))
	require.NoError(t, err)
	defer first.Close()
	_, err = tier.Open(t.Context(), tier.WithValkeyClient(valkey.ClientOption{InitAddress: []string{s.Addr}, Username: "app", Password: "p"}))
	require.ErrorContains(t, err, "this store is as WithoutTracking (CLIENT TRACKING: NOPERM User app has no permissions")
	require.ErrorContains(t, err, "open all with the same option")
}

// One right is taken away while the store is open: it keeps from working what Health says is well.
func TestHealthyMeansThatEachKindOfRequestIsPerformed(t *testing.T) {
	s := valkeytest.Start(t, valkeytest.Config("user", "app on >p ~* &* +@all"))
	for right, kinds := range map[string][]string{
		"getrange": {"reading an entry", "taking a lease"},
		"mget":     {"reading several entries"},
		"set":      {"taking a lease", "setting a value"},
		"getdel":   {"storing a loaded value"},
		"exists":   {"setting a value", "storing a loaded value"},
		"unlink":   {"deleting an entry"},
		"del":      {"setting a value", "deleting an entry"},
		"get":      {"giving up a lease"},
	} {
		t.Run(right, func(t *testing.T) {
			var log journal
			store, err := tier.Open(t.Context(), tier.WithValkeyClient(valkey.ClientOption{InitAddress: []string{s.Addr}, Username: "app", Password: "p"}),
				tier.WithPrefix(valkeytest.Prefix(t)), tier.WithLogger(log.logger()), tier.WithRemoteTimeout(10*time.Second))
			require.NoError(t, err)
			defer store.Close()
			c := view[string](t, store, "docs", tier.WithRemoteOnly())
			n := 0
			use := func() (errs []error) {
				n++
				k := func(name string) string { return fmt.Sprintf("%s %d", name, n) }
				_, err := c.Lookup(t.Context(), k("loaded"), is("v"))
				errs = append(errs, err, c.Set(t.Context(), k("set"), "v"))
				_, err = c.Lookup(t.Context(), k("set"), is("v"))
				_, err2 := c.Refresh(t.Context(), k("set"), is("w"))
				errs = append(errs, err, err2)
				if _, err = c.Get(t.Context(), k("bad"), fails[string](errOrigin)); !errors.Is(err, errOrigin) {
					errs = append(errs, err)
				}
				_, err = c.GetMany(t.Context(), []string{k("a"), k("b")}, func(_ context.Context, keys []string, _ tier.Entries) (map[string]string, error) {
					out := make(map[string]string)
					for _, key := range keys {
						out[key] = "v"
					}
					return out, nil
				})
				// The second time, and from then on, it is known how large they are.
				errs = append(errs, err, c.SetMany(t.Context(), map[string]string{k("c"): "v", k("d"): "v"}))
				for range 2 {
					_, err = c.GetMany(t.Context(), []string{k("c"), k("d")}, func(context.Context, []string, tier.Entries) (map[string]string, error) {
						return nil, nil
					})
					errs = append(errs, err)
				}
				return append(errs, c.Delete(t.Context(), k("set")), store.Sync(t.Context()))
			}
			require.NoError(t, errors.Join(use()...))
			eventually(t, "healthy", func() bool { return store.Health(t.Context()).Healthy })
			s.Do(t, "ACL", "SETUSER", "app", "-"+right)
			defer s.Do(t, "ACL", "SETUSER", "app", "+"+right)
			eventually(t, "the refusals are told", func() bool {
				_ = use()
				h := store.Health(t.Context())
				for _, kind := range kinds {
					if h.Refused[kind] == nil {
						return false
					}
				}
				return !h.Healthy && strings.Contains(strings.Join(h.Warnings, "\n"), kinds[0])
			})
			logged := func() int { return strings.Count(log.String(), `refuses a kind of request" kind="`+kinds[0]+`"`) }
			eventually(t, "it is logged", func() bool { return logged() > 0 })
			require.Equal(t, 1, logged(), "once: %s", log.String())
			require.NotContains(t, log.String(), "does not answer", "it is no outage")
			s.Do(t, "ACL", "SETUSER", "app", "+"+right)
			eventually(t, "healthy again", func() bool {
				require.NoError(t, errors.Join(use()...))
				return store.Health(t.Context()).Healthy && strings.Contains(log.String(), `performs a kind of request again" kind="`+kinds[0]+`"`)
			})
		})
	}
}

// A server that stores nothing more answers all the same: it is no outage, and it is not well. Each kind is told once, although values that
// are there are read in requests for leases.
func TestHealthyMeansThatTheServerStores(t *testing.T) {
	s := valkeytest.Start(t)
	for name, c := range map[string]struct {
		begin, end []string
		says       string
		full       bool
	}{
		"noeviction":       {[]string{"maxmemory", "1"}, []string{"maxmemory", "0"}, "OOM ", true},
		"volatile-lru":     {[]string{"maxmemory-policy", "volatile-lru", "maxmemory", "1"}, []string{"maxmemory", "0", "maxmemory-policy", "noeviction"}, "OOM ", true},
		"too few replicas": {[]string{"min-replicas-to-write", "1"}, []string{"min-replicas-to-write", "0"}, "NOREPLICAS ", false},
	} {
		t.Run(name, func(t *testing.T) {
			var log journal
			store, err := tier.Open(t.Context(), tier.WithValkey(s.URL()), tier.WithPrefix(valkeytest.Prefix(t)), tier.WithLogger(log.logger()), tier.WithRemoteTimeout(10*time.Second))
			require.NoError(t, err)
			defer store.Close()
			c2 := view[string](t, store, "docs", tier.WithRemoteOnly())
			n := 0
			use := func() error {
				n++
				_, err := c2.Lookup(t.Context(), fmt.Sprint(n), is("v"))
				_, err2 := c2.Lookup(t.Context(), "there", is("v"))
				return errors.Join(err, err2, c2.Set(t.Context(), "set", "v"), c2.Delete(t.Context(), fmt.Sprint(n)))
			}
			require.NoError(t, c2.Set(t.Context(), "there", "v"))
			require.NoError(t, use())
			require.NoError(t, store.Drain(t.Context()))
			s.Do(t, append([]string{"CONFIG", "SET"}, c.begin...)...)
			defer s.Do(t, append([]string{"CONFIG", "SET"}, c.end...)...)
			for range 30 {
				require.Error(t, use())
				h := store.Health(t.Context())
				require.False(t, h.Healthy)
				for _, kind := range []string{"taking a lease", "setting a value"} {
					require.ErrorContains(t, h.Refused[kind], c.says, "%v", h.Refused)
				}
				require.Equal(t, !c.full, h.Refused["deleting an entry"] != nil, "a deletion needs no room")
			}
			told := func(what string) int { return strings.Count(log.String(), what+` a kind of request`) }
			eventually(t, "it is logged", func() bool { return told("refuses") >= len(store.Health(t.Context()).Refused) })
			require.Equal(t, len(store.Health(t.Context()).Refused), told("refuses"), log.String())
			require.Zero(t, told("performs"), log.String())
			require.NotContains(t, log.String(), "does not answer", "it is no outage")
			s.Do(t, append([]string{"CONFIG", "SET"}, c.end...)...)
			eventually(t, "healthy again", func() bool {
				_ = use()
				return store.Health(t.Context()).Healthy && told("performs") == told("refuses")
			})
		})
	}
}

// Large values are sent by other commands. That these are refused stays told while small ones are performed, and is logged once.
func TestRefusalsOfLargeValuesAndOfChangesAreToldBesideWhatIsPerformed(t *testing.T) {
	s := valkeytest.Start(t, valkeytest.Config("user", "app on >p ~* &* +@all"))
	for right, kind := range map[string]string{
		"strlen":    "reading a large entry",
		"append":    "setting a large value",
		"rename":    "setting a large value",
		"pexpireat": "setting a large value",
		"pexpire":   "setting a large value",
		"publish":   "recording a change",
	} {
		t.Run(right, func(t *testing.T) {
			var log journal
			store, err := tier.Open(t.Context(), tier.WithValkeyClient(valkey.ClientOption{InitAddress: []string{s.Addr}, Username: "app", Password: "p"}),
				tier.WithPrefix(valkeytest.Prefix(t)), tier.WithLogger(log.logger()), tier.WithRemoteTimeout(10*time.Second))
			require.NoError(t, err)
			defer store.Close()
			c := view[string](t, store, "docs", tier.WithRemoteOnly())
			large := strings.Repeat("large", 30<<10)
			require.NoError(t, c.Set(t.Context(), "before", large))
			use := func(patience time.Duration) (errs []error) {
				errs = append(errs, c.Set(t.Context(), "large", large), c.Set(t.Context(), "small", "v"))
				for _, key := range []string{"before", "small"} {
					_, err := c.Lookup(t.Context(), key, is(large))
					errs = append(errs, err)
				}
				ctx, cancel := context.WithTimeout(t.Context(), patience)
				defer cancel()
				_, err := store.InvalidateSource(ctx, "doc")
				return append(errs, err)
			}
			require.NoError(t, errors.Join(use(time.Minute)...))
			s.Do(t, "ACL", "SETUSER", "app", "-"+right)
			defer s.Do(t, "ACL", "SETUSER", "app", "+"+right)
			const brief = 100 * time.Millisecond // for a change that is refused until it is given up
			eventually(t, "it is told", func() bool {
				use(brief)
				return store.Health(t.Context()).Refused[kind] != nil
			})
			for range 3 {
				use(brief)
				h := store.Health(t.Context())
				require.Error(t, h.Refused[kind], "%v", h.Refused)
				require.False(t, h.Healthy)
			}
			told := func(what string) int { return strings.Count(log.String(), what+` a kind of request`) }
			eventually(t, "it is logged", func() bool { return strings.Contains(log.String(), `refuses a kind of request" kind="`+kind+`"`) })
			require.Equal(t, 1, strings.Count(log.String(), `refuses a kind of request" kind="`+kind+`"`), log.String())
			require.Zero(t, told("performs"), log.String())
			s.Do(t, "ACL", "SETUSER", "app", "+"+right)
			eventually(t, "healthy again", func() bool {
				use(brief)
				return store.Health(t.Context()).Healthy
			})
		})
	}
}

// Two databases of one server under one prefix: the server tells each of the other's keys.
func TestTwoDatabasesUnderOnePrefixAreFound(t *testing.T) {
	srv := valkeytest.Start(t)
	var log journal
	var stores [2]*tier.Store
	for i, url := range []string{srv.URL(), srv.URL() + "/3"} {
		var err error
		stores[i], err = tier.Open(t.Context(), tier.WithValkey(url), tier.WithLogger(log.logger()), tier.WithRemoteTimeout(10*time.Second))
		require.NoError(t, err)
		defer stores[i].Close()
	}
	eventually(t, "each finds the other", func() bool {
		for _, s := range stores {
			_, _ = s.InvalidateSource(t.Context(), "doc")
		}
		for _, s := range stores {
			if !strings.Contains(strings.Join(s.Health(t.Context()).Warnings, "\n"), "another change log is under this prefix") {
				return false
			}
		}
		return strings.Count(log.String(), "another change log is under this prefix") == 2
	})
}
