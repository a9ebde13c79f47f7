package remote_test

import (
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/valkey-io/valkey-go"

	"github.com/tiercache/tiercache/internal/backend"
	"github.com/tiercache/tiercache/internal/valkeytest"
	"github.com/tiercache/tiercache/remote"
)

// administration is withheld by all of them.
var administration = []string{"-acl", "-bgrewriteaof", "-bgsave", "-debug", "-failover", "-lastsave", "-migrate", "-module", "-monitor", "-psync", "-replicaof",
	"-save", "-shutdown", "-slaveof", "-sync"}

// providers, with what their documents say that they withhold. All but the untracked track.
var providers = map[string]struct {
	withheld  []string
	cluster   bool
	untracked bool
}{
	"ElastiCache, nodes":     {withheld: []string{"-config"}},
	"ElastiCache Serverless": {withheld: []string{"-config", "-client|tracking", "-client|caching", "-client|setinfo"}, cluster: true, untracked: true},
	"MemoryDB":               {withheld: []string{"-config"}, cluster: true},
	"Memorystore for Valkey": {withheld: []string{"-config", "-client|setinfo"}},
	"Azure Managed Redis": {withheld: []string{"-config", "-asking", "-cluster", "+cluster|info", "+cluster|nodes", "+cluster|shards", "+cluster|slots"},
		cluster: true},
	"Redis Cloud":      {withheld: []string{"-config", "-asking", "-cluster", "-client|getredir", "-client|no-evict", "-client|pause"}},
	"Aiven for Valkey": {withheld: []string{"-config", "-cluster", "-command"}},
	"Upstash":          {withheld: []string{"-config", "-client|tracking", "-client|caching"}, untracked: true},
}

// Each row of docs/providers.md, on a real server that withholds as much.
func TestProvidersAreEmulated(t *testing.T) {
	page, err := os.ReadFile("../docs/providers.md")
	require.NoError(t, err)
	_, table, ok := strings.Cut(string(page), "## By provider")
	require.True(t, ok)
	rows := make(map[string]string)
	for line := range strings.Lines(table) {
		if cells := strings.Split(line, "|"); len(cells) == 6 && !strings.HasPrefix(cells[1], "-") && strings.TrimSpace(cells[1]) != "provider" {
			rows[strings.TrimSpace(cells[1])] = line
		}
	}
	require.Len(t, rows, len(providers))
	for name, p := range providers {
		t.Run(name, func(t *testing.T) {
			require.Contains(t, rows, name)
			rights := slices.Concat([]string{"ACL", "SETUSER", "app", "on", ">secret", "~*", "&*", "+@all"}, administration, p.withheld)
			o := valkey.ClientOption{Username: "app", Password: "secret"}
			if p.cluster {
				c := valkeytest.StartCluster(t, 3)
				for _, s := range c.Nodes() {
					s.Do(t, rights...)
				}
				o.InitAddress = c.Addrs()
			} else {
				s := valkeytest.Start(t)
				s.Do(t, rights...)
				o.InitAddress = []string{s.Addr}
			}
			c, err := remote.Valkey(o).Connect(within(t), backend.Options{Prefix: "p", Timeout: 5 * time.Second, Events: newInvalidations().events()})
			require.NoError(t, err)
			defer c.Close()
			for call, err := range calls(within(t), c) {
				require.NoError(t, err, call)
			}
			mode := backend.ModeOf(c, backend.Options{})
			require.Equal(t, p.untracked, mode.NoTracking)
			require.Equal(t, p.untracked, strings.Contains(rows[name], "as `WithoutTracking`"), rows[name])
			require.Contains(t, strings.Join(mode.Without, "\n"), "tracking table", "CONFIG")
		})
	}
}

// A change is recorded, and a loaded value stored, by scripts. Without any engine for them Open says so, in one line with the cure.
func TestAServerWithoutScriptsIsRefusedInOneLine(t *testing.T) {
	open := func(t *testing.T, s *valkeytest.Server, user, cure string) {
		t.Helper()
		_, err := remote.Valkey(valkey.ClientOption{InitAddress: []string{s.Addr}, Username: user, Password: "secret"}).
			Connect(within(t), backend.Options{Prefix: "p", Timeout: 5 * time.Second, Events: newInvalidations().events()})
		require.ErrorContains(t, err, cure)
		require.NotContains(t, err.Error(), "\n")
	}
	user := []string{"ACL", "SETUSER", "app", "on", ">secret", "~*", "&*", "+@all"}
	valkeytest.EachVersion(t, func(t *testing.T, s *valkeytest.Server) {
		s.Do(t, append(user, "-@scripting")...)
		open(t, s, "app", "grant +evalsha +eval")
		s.Do(t, user...)
		modules, err := s.Do(t, "INFO", "modules").ToString()
		require.NoError(t, err)
		if strings.Contains(modules, "name=lua") { // since Valkey 9.1
			s.Do(t, "MODULE", "UNLOAD", "lua")
			open(t, s, "app", "the server runs no Lua scripts, which the change log needs: load its Lua module")
		}
	}, valkeytest.Config("enable-module-command", "yes"))
	valkeytest.EachVersion(t, func(t *testing.T, s *valkeytest.Server) {
		s.Do(t, user...)
		open(t, s, "app", "the server runs no Lua scripts, which the change log needs: load its Lua module")
	}, valkeytest.Config("rename-command", `EVAL ""`), valkeytest.Config("rename-command", `EVALSHA ""`))
}
