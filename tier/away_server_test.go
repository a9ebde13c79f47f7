package tier_test

import (
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/internal/faultproxy"
	"github.com/tiercache/tiercache/internal/valkeytest"
	"github.com/tiercache/tiercache/tier"
)

// I8 on a real server, with default options but for the log. What is slow here
// may be the machine, so no time is judged: see docs/faults.md for those.

// outages are ways for a server to be away, and to be back.
var outages = map[string]struct {
	begin, end func(*valkeytest.Server, *faultproxy.Proxy)
	intact     bool // what was stored is still there
}{
	"killed, so that connections are refused": {
		func(s *valkeytest.Server, _ *faultproxy.Proxy) { s.Kill() },
		func(s *valkeytest.Server, _ *faultproxy.Proxy) { s.Restart() }, false},
	"frozen": {
		func(s *valkeytest.Server, _ *faultproxy.Proxy) { s.Pause() },
		func(s *valkeytest.Server, _ *faultproxy.Proxy) { s.Resume() }, true},
	"half-open": {
		func(_ *valkeytest.Server, p *faultproxy.Proxy) { p.Freeze(faultproxy.ToServer, faultproxy.ToClient) },
		func(_ *valkeytest.Server, p *faultproxy.Proxy) { p.Thaw() }, true},
	"half-open, answers only": {
		func(_ *valkeytest.Server, p *faultproxy.Proxy) { p.Freeze(faultproxy.ToClient) },
		func(_ *valkeytest.Server, p *faultproxy.Proxy) { p.Thaw() }, true},
	"slow": {
		func(_ *valkeytest.Server, p *faultproxy.Proxy) { p.Throttle(faultproxy.ToClient, 200) },
		func(_ *valkeytest.Server, p *faultproxy.Proxy) { p.Heal() }, true},
}

func TestI8NoReadFailsWhateverTheServerDoes(t *testing.T) {
	for name, outage := range outages {
		for how, options := range tracking {
			t.Run(name+", "+how, func(t *testing.T) {
				server := valkeytest.Start(t)
				proxy, err := faultproxy.Start(server.Addr, 1)
				require.NoError(t, err)
				defer proxy.Close()
				var log journal
				s, err := tier.Open(t.Context(), append([]tier.Option{tier.WithValkey("valkey://" + proxy.Addr()), tier.WithLogger(log.logger())}, options...)...)
				require.NoError(t, err)
				defer s.Close()
				c := view[string](t, s, "docs")
				kept := view[string](t, s, "kept", tier.WithOutageTTL(tier.UserData))
				eventually(t, "it is stored, though 50 ms are short", func() bool {
					return c.Set(t.Context(), "k", "v") == nil && s.Stats().AwaySince.IsZero()
				})

				outage.begin(server, proxy)
				away := func() bool { return !s.Stats().AwaySince.IsZero() }
				eventually(t, "away", func() bool {
					find(t, c, "k", is("v"))
					find(t, c, "unknown", is("v"))
					return away()
				})
				assert.ErrorIs(t, c.Set(t.Context(), "set", "v"), tier.ErrUnavailable)
				_, err = s.InvalidateSource(t.Context(), "doc")
				assert.ErrorIs(t, err, tier.ErrUnavailable)
				var loads atomic.Int64
				for range 100 {
					for i := range 10 {
						key := strconv.Itoa(i)
						r := find(t, c, key, is("v"))
						assert.NotEqual(t, tier.Remote, r.Origin)
						// Without tracking what is loaded is believed as long as other local copies are.
						assert.True(t, options != nil || r.Origin == tier.Loaded)
						find(t, kept, key, counted(&loads, is("v", "other doc")))
					}
				}
				if away() && tier.Openings(s) == 1 { // a slow server may answer in time, once
					assert.Equal(t, int64(10), loads.Load())
				}

				outage.end(server, proxy)
				eventually(t, "back", func() bool { return !away() && s.Health(t.Context()).Healthy })
				if outage.intact {
					eventually(t, "found again", func() bool {
						r, err := c.Lookup(t.Context(), "k", unneeded)
						return err == nil && r.Value == "v"
					})
				}
				eventually(t, "kept again", func() bool { return find(t, c, "k", is("v")).Origin == tier.Local })
				r := find(t, kept, "0", is("w", "other doc"))
				if options == nil {
					// A slow server may have stored what was loaded for the outage: it answers in time, once.
					assert.True(t, r.Value == "w" || name == "slow" && r.Origin == tier.Remote, "what was kept for the outage is dropped: %+v", r)
				} else if outage.intact {
					assert.Equal(t, "v", r.Value, "the log tells of all that could have changed it")
				}
				if s.Stats().Outages > 0 { // it was no stall
					eventually(t, "it is told", func() bool { return strings.Contains(log.String(), "the remote tier answers again") })
				}
			})
		}
	}
}
