package coherence

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/valkey-io/valkey-go"

	"github.com/tiercache/tiercache/internal/backend"
	"github.com/tiercache/tiercache/internal/valkeytest"
	"github.com/tiercache/tiercache/remote"
)

// A fleet without faults is coherent, on both remotes, with tracking and without.
func TestAHealthyFleetIsCoherent(t *testing.T) {
	backends := map[string]func(t *testing.T) backend.Backend{
		"embedded": func(t *testing.T) backend.Backend { return remote.NewEmbedded(0) },
		"valkey": func(t *testing.T) backend.Backend {
			option, err := valkey.ParseURL(strings.Replace(valkeytest.Shared(t).URL(), "valkey://", "redis://", 1))
			require.NoError(t, err)
			return remote.Valkey(option)
		},
	}
	for name, backend := range backends {
		for n := range 4 {
			noTracking, two := n%2 == 1, n >= 2
			t.Run(name+map[bool]string{true: " without tracking"}[noTracking]+map[bool]string{true: " two encodings"}[two], func(t *testing.T) {
				cfg := testConfig()
				cfg.TwoEncodings = two
				cfg.Members, cfg.Prefix, cfg.NoTracking = 3, valkeytest.Prefix(t), noTracking
				b := NewBoard()
				reports := runFleet(t, cfg, b, backend(t), func() {
					require.Eventually(t, func() bool {
						for i := range cfg.Members {
							if ta := b.Tally(i); ta.Reads.Load() < 20_000/cfg.slowness() || ta.Changes.Load() < 20 || ta.Syncs.Load() < 5 {
								return false
							}
						}
						return true
					}, 3*time.Minute, 5*time.Millisecond)
				})
				for _, r := range reports {
					require.Empty(t, r.Violations, "seed %d", cfg.Seed)
					require.Greater(t, r.LocalHits, r.Reads/4, "most reads have to be local ones, or this shows nothing")
					t.Logf("member %d: %d reads, %d of them local, %d changes, %d loads; stale p50 %v p99 %v max %v", r.Member, r.Reads, r.LocalHits,
						r.Changes, r.Loads, r.Staleness[0].Quantile(.5), r.Staleness[0].Quantile(.99), r.Staleness[0].Max)
				}
			})
		}
	}
}

// Views of one namespace that cannot share its entries, and stores of one prefix that
// do not do the same for each other, are refused, or else they do no harm.
func TestWhatDoesNotGoTogetherIsRefusedOrCoherent(t *testing.T) {
	for name, set := range map[string]func(cfg *Config){
		"a local-only view beside others":  func(cfg *Config) { cfg.Beside = true },
		"tracking beside WithoutTracking":  func(cfg *Config) { cfg.NoTracking = cfg.Member == 2 },
		"a shorter WithMaxTTL beside long": func(cfg *Config) { cfg.MaxTTL = time.Duration(cfg.Member%2) * 20 * time.Second },
	} {
		t.Run(name, func(t *testing.T) {
			s := valkeytest.Shared(t)
			cfg := testConfig()
			cfg.Members, cfg.Prefix, cfg.URL, cfg.Ended, cfg.OwnReads = 3, valkeytest.Prefix(t), s.URL(), 0, false
			b := NewBoard()
			var members []*Member
			var running sync.WaitGroup
			for i := range cfg.Members {
				one := cfg
				one.Member = i
				set(&one)
				m, err := Join(t.Context(), one, b, nil)
				if err != nil {
					t.Logf("member %d: %v", i, err)
					continue
				}
				t.Logf("member %d joined; local-only view: %v", i, m.localCells != nil)
				members = append(members, m)
				running.Go(func() {
					if err := m.Run(context.Background()); err != nil {
						t.Error(err)
					}
				})
			}
			require.NotEmpty(t, members)
			require.Eventually(t, func() bool {
				for _, m := range members {
					if m.tally.Reads.Load() < 30_000 || m.tally.Changes.Load() < 100 {
						return false
					}
				}
				return true
			}, patience, 5*time.Millisecond)
			b.Stop()
			running.Wait()
			for _, m := range members {
				require.Empty(t, m.Report().Violations, "member %d", m.cfg.Member)
			}
		})
	}
}

// runFleet runs the members of cfg in this process until during returns.
func runFleet(t *testing.T, cfg Config, b *Board, backend backend.Backend, during func()) (reports []Report) {
	t.Helper()
	members := make([]*Member, cfg.Members)
	for i := range members {
		cfg.Member = i
		var err error
		members[i], err = Join(context.Background(), cfg, b, backend)
		require.NoError(t, err)
	}
	var running sync.WaitGroup
	for _, m := range members {
		running.Go(func() {
			if err := m.Run(context.Background()); err != nil {
				t.Error(err)
			}
		})
	}
	defer func() {
		b.Stop()
		running.Wait()
		for _, m := range members {
			reports = append(reports, m.Report())
		}
	}()
	during()
	return reports
}
