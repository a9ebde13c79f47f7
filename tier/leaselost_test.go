package tier_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/valkey-io/valkey-go"

	"github.com/tiercache/tiercache/internal/backend"
	"github.com/tiercache/tiercache/internal/faultproxy"
	"github.com/tiercache/tiercache/internal/interpose"
	"github.com/tiercache/tiercache/internal/valkeytest"
	"github.com/tiercache/tiercache/remote"
	"github.com/tiercache/tiercache/tier"
)

// A connection that is cut leaves a lease with the server, of which the process need not know that it has it. The
// process lives, and gives the lease back: no load waits for it to expire, which takes an hour here.
func TestALeaseWhoseConnectionWasCutIsGivenBack(t *testing.T) {
	t.Parallel()
	s := valkeytest.Start(t)
	p, err := faultproxy.Start(s.Addr, 1)
	require.NoError(t, err)
	t.Cleanup(p.Close)
	w := &world{t, remote.Valkey(valkey.ClientOption{InitAddress: []string{p.Addr()}}), "p", nil}
	sa, hooks := w.open(append(quiet, tier.LeaseTTL(time.Hour))...)
	w.inner = remote.Valkey(valkey.ClientOption{InitAddress: []string{s.Addr}})
	sb, _ := w.open(append(quiet, tier.LeaseTTL(time.Hour))...)
	a, b := view[string](t, sa, "docs"), view[string](t, sb, "docs")
	find(t, a, "before", is("v"))
	find(t, b, "before", is("v"))
	filled(t, sa, 1)
	leased := func(key string) bool {
		n, err := s.Do(t, "EXISTS", tier.RemoteName(a, key)+"!").AsInt64()
		require.NoError(t, err)
		return n == 1
	}
	missing := func(key string) {
		t.Helper()
		v := find(t, b, key, is("of b")).Value // or it fails, for want of the lease
		require.Contains(t, []string{"of b", "of a"}, v, "a fill may still have been sent, over the next connection")
	}
	cuts := map[string]func(key string){
		"before it knew that it has it": func(key string) {
			hooks.Before(func(op interpose.Op) error {
				if op == interpose.Lease {
					p.Freeze(faultproxy.ToClient)
				}
				return nil
			})
			defer hooks.Before(nil)
			told := make(chan string)
			go func() {
				v, _ := a.Get(bg, key, is("of a"))
				told <- v
			}()
			within(t, "the server grants the lease", func() bool { return leased(key) })
			p.Cut()
			p.Thaw()
			require.Equal(t, "of a", <-told)
		},
		"while it loads, which fails": func(key string) {
			_, err := a.Get(bg, key, func(context.Context, *tier.Entry) (string, error) {
				require.True(t, leased(key))
				p.Cut()
				return "", errOrigin
			})
			require.ErrorIs(t, err, errOrigin)
		},
		"and is still lost as it is given up": func(key string) {
			var attempts atomic.Int64
			hooks.Before(func(op interpose.Op) error {
				if op == interpose.Release && attempts.Add(1) <= 3 { // the first is that of the end of the load
					return errUnreachable
				}
				return nil
			})
			defer hooks.Before(nil)
			_, err := a.Get(bg, key, fails[string](errOrigin))
			require.ErrorIs(t, err, errOrigin)
			within(t, "it is given up again", func() bool { return !leased(key) })
		},
		"before it has stored what it loaded": func(key string) {
			_, err := a.Get(bg, key, func(context.Context, *tier.Entry) (string, error) {
				p.Freeze(faultproxy.ToServer)
				return "of a", nil
			})
			require.NoError(t, err)
			p.Cut()
			p.Thaw()
		},
	}
	for _, way := range []string{"read first", "lease first"} {
		for name, cut := range cuts {
			t.Run(name+", "+way, func(t *testing.T) {
				for i := range 10 {
					if way == "lease first" {
						tier.LeaseFirst(a)
					}
					within(t, "it is connected", func() bool { return sa.Sync(bg) == nil })
					key := fmt.Sprint(name, way, i)
					cut(key)
					missing(key)
				}
			})
		}
	}
}

// A lease that its owner does not renew is asked for when it ends, of which no invalidation comes: that is when it is found
// to have expired.
func TestALeaseThatExpiresIsTakenAtOnce(t *testing.T) {
	inBubbles(t, func(t *testing.T, f *fleet) {
		s := f.process()
		c := view[string](t, s, "docs")
		silent := backend.Events{Changed: func([]string) {}, Lost: func() {}, Published: func(string) {}}
		dead, err := f.hub.Connect(t.Context(), backend.Options{Prefix: f.prefix, NoTracking: !f.tracked, Events: silent})
		require.NoError(t, err)
		defer dead.Close()
		for i := range 20 {
			const lasts = 700 * time.Millisecond
			key := fmt.Sprint(i)
			l, err := dead.Lease(t.Context(), []backend.LeaseRequest{{Key: tier.RemoteName(c, key), Token: "dead", TTL: lasts}})
			require.NoError(t, err)
			require.True(t, l[0].Acquired)
			begun := time.Now()
			require.Equal(t, "v", find(t, c, key, is("v")).Value)
			require.GreaterOrEqual(t, time.Since(begun), lasts)
			require.LessOrEqual(t, time.Since(begun), lasts+20*time.Millisecond)
		}
	})
}
