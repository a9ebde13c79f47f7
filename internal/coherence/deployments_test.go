package coherence

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/valkey-io/valkey-go"

	"github.com/tiercache/tiercache/internal/valkeytest"
	"github.com/tiercache/tiercache/remote"
)

// The fleet on servers as they are deployed: with a password, with TLS, as a user
// with the rights that the README grants and no others, behind sentinels.

// works runs a fleet until it has done enough of everything, and once more after
// each of the events.
func works(t *testing.T, cfg Config, option valkey.ClientOption, events ...func(b *Board)) {
	t.Helper()
	cfg.Members = 3
	b := NewBoard()
	reports := runFleet(t, cfg, b, remote.Valkey(option), func() {
		progress(t, b, cfg)
		for _, event := range events {
			event(b)
			progress(t, b, cfg)
		}
	})
	for _, r := range reports {
		require.Empty(t, r.Violations, "seed %d", cfg.Seed)
	}
}

// progress waits until every member has read, changed, synchronised and hit.
func progress(t *testing.T, b *Board, cfg Config) {
	t.Helper()
	type done struct{ reads, changes, syncs, hits int64 }
	now := func(i int) done {
		ta := b.Tally(i)
		return done{ta.Reads.Load(), ta.Changes.Load(), ta.Syncs.Load(), ta.LocalHits.Load()}
	}
	before := make([]done, cfg.Members)
	for i := range before {
		before[i] = now(i)
	}
	require.Eventually(t, func() bool {
		for i, was := range before {
			is := now(i)
			if is.reads < was.reads+5000 || is.changes < was.changes+10 || is.syncs < was.syncs+3 || is.hits < was.hits+1000 {
				return false
			}
			if is.hits <= is.reads/4 { // else it shows little, or the machine is too slow for a proof in time as yet
				return false
			}
		}
		return true
	}, patience, 5*time.Millisecond)
}

func TestAServerWithAPassword(t *testing.T) {
	s := valkeytest.Start(t, valkeytest.Config("requirepass", "secret"))
	works(t, DefaultConfig(), valkey.ClientOption{InitAddress: []string{s.Addr}, Password: "secret"})
}

func TestAServerWithTLS(t *testing.T) {
	s := valkeytest.Start(t, valkeytest.TLS(), valkeytest.Config("requirepass", "secret"))
	works(t, DefaultConfig(), valkey.ClientOption{InitAddress: []string{s.Addr}, Password: "secret", TLSConfig: s.TLSConfig()})
}

// The line that the README gives, with another prefix and password.
func TestAUserWithTheLeastRights(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	require.NoError(t, err)
	_, line, ok := strings.Cut(string(readme), "ACL SETUSER ")
	require.True(t, ok, "the README's ACL line")
	line, _, _ = strings.Cut(line, "\n")
	cfg := DefaultConfig()
	line = strings.NewReplacer("PASSWORD", "secret", "~tiercache:", "~"+cfg.Prefix+":", "&tiercache:", "&"+cfg.Prefix+":").Replace(line)
	s := valkeytest.Start(t)
	s.Do(t, append([]string{"ACL", "SETUSER"}, strings.Fields(line)...)...)
	s.Do(t, "ACL", "SETUSER", "default", "off")
	user := valkey.ClientOption{InitAddress: []string{s.Addr}, Username: "tiercache", Password: "secret"}
	works(t, cfg, user)
}

// Cells are spared: see the lagging replica in topology_test.go.
func TestAFailoverBySentinels(t *testing.T) {
	set := valkeytest.StartSentinels(t)
	option := valkey.ClientOption{InitAddress: set.Addrs(), Sentinel: valkey.SentinelOption{MasterSet: set.Name}}
	cfg := DefaultConfig()
	cfg.Cells = 0
	works(t, cfg, option, func(b *Board) {
		b.SetPhase(Faulty)
		b.Excuse()
		set.Replica.AwaitReplica(t, set.Primary)
		set.Primary.Kill()
		set.AwaitPrimary(t, set.Replica)
		progress(t, b, Config{Members: 3})
		b.Forgive(Now())
		b.SetPhase(Healthy)
	})
}
