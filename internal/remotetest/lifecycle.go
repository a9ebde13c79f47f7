package remotetest

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/internal/backend"
	"github.com/tiercache/tiercache/internal/changelog"
	"github.com/tiercache/tiercache/invalidation"
)

// calls are all methods that ask the server something.
func (s *store) calls(ctx context.Context) map[string]error {
	out := make(map[string]error)
	k := []string{s.key("k")}
	_, out["GetOne"] = s.GetOne(ctx, k[0])
	_, _, out["Get"] = s.Get(ctx, k, nil)
	_, _, out["GetDelta"] = s.Get(ctx, k, &changelog.DeltaQuery{Limit: 1})
	_, out["GetUntracked"] = s.GetUntracked(ctx, k)
	_, out["Lease"] = s.Lease(ctx, []backend.LeaseRequest{{Key: k[0], Token: "t", TTL: time.Minute}})
	out["Extend"] = s.Extend(ctx, k, "t", time.Minute)
	out["Release"] = s.Release(ctx, k, "t")
	writes := []backend.Write{{Key: k[0], Envelope: []byte("v"), Expires: in(time.Minute)}}
	_, out["Write"] = s.Conn.Write(ctx, writes)
	_, out["WriteLater"] = WriteLater(ctx, s.Conn, writes)
	out["Delete"] = s.remove(ctx, k)
	out["Discard"] = s.Discard(ctx, k, "t")
	_, out["Purge"] = s.Purge(ctx, backend.PurgeRequest{Prefixes: []string{s.prefix + ":d:"}})
	_, out["Info"] = s.Info(ctx)
	_, out["Delta"] = s.Delta(ctx, changelog.DeltaQuery{Limit: 1})
	_, out["Append"] = s.Append(ctx, changelog.Change{Scopes: []invalidation.Scope{"s:x"}, Retention: time.Hour})
	out["Renew"] = s.Renew(ctx, changelog.Loss{})
	return out
}

var lifecycle = []test{
	{"EveryCallWorksWhileTheConnectionIsOpen", func(t *testing.T, h Harness) {
		s := h.open(t, prefix())
		for name, err := range s.calls(s.ctx) {
			require.NoError(t, err, name)
		}
	}},

	{"AfterCloseEveryCallSaysSo", func(t *testing.T, h Harness) {
		s := h.open(t, prefix())
		require.NoError(t, s.Close())
		for name, err := range s.calls(s.ctx) {
			require.ErrorIs(t, err, backend.ErrClosed, name)
		}
		require.NoError(t, s.Close(), "closing twice is fine")
	}},

	{"AfterCloseNothingIsTold", func(t *testing.T, h Harness) {
		p := prefix()
		s, other := h.open(t, p).listening(t), h.open(t, p).listening(t)
		k := s.key("k")
		s.get(t, k)
		other.get(t, k)
		require.NoError(t, s.Close())
		told := s.told()
		h.Put(k, "new")
		a := other.append(t, "s:x")
		h.Disconnect()
		eventually(t, func() bool {
			m := other.published()
			return other.invalidationsOf(k) == 1 && m[len(m)-1].Tick == a.Tick && other.lost() > 0
		}, "the other store is told everything")
		require.Equal(t, told, s.told())
	}},

	{"ClosingIsNoLoss", func(t *testing.T, h Harness) {
		p, losses := prefix(), 0
		for range 50 {
			s := h.open(t, p)
			s.get(t, s.key("k"))
			require.NoError(t, s.Prove(s.ctx), "so that all servers are connected to")
			before := s.lost()
			require.NoError(t, s.Close())
			losses += s.lost() - before
		}
		if h.LateDials {
			require.Less(t, losses, 5)
			return
		}
		require.Zero(t, losses)
	}},

	{"CloseWhileEverythingGoesOnLeavesNothingBehind", func(t *testing.T, h Harness) {
		for range 5 {
			s, other := h.pair(t)
			ctx, cancel := context.WithCancel(s.ctx)
			var all sync.WaitGroup
			for range 4 {
				all.Go(func() {
					for ctx.Err() == nil {
						s.calls(ctx)
					}
				})
			}
			all.Go(func() {
				for ctx.Err() == nil {
					other.calls(ctx)
				}
			})
			eventually(t, func() bool { return s.told() > 50 }, "something goes on")
			require.NoError(t, s.Close())
			told := s.told()
			_, err := s.GetOne(s.ctx, s.key("k"))
			require.ErrorIs(t, err, backend.ErrClosed)
			cancel()
			all.Wait()
			require.Equal(t, told, s.told())
		}
	}},

	{"ACancelledContextIsAnErrorOfEveryCall", func(t *testing.T, h Harness) {
		s := h.open(t, prefix())
		ctx, cancel := context.WithCancel(s.ctx)
		cancel()
		for name, err := range s.calls(ctx) {
			require.ErrorIs(t, err, context.Canceled, name)
		}
		for name, err := range s.calls(s.ctx) {
			require.NoError(t, err, name)
		}
	}},

	{"InfoDescribesTheServer", func(t *testing.T, h Harness) {
		s := h.open(t, prefix())
		s.get(t, s.key("k"))
		i, err := s.Info(s.ctx)
		require.NoError(t, err)
		require.NotEmpty(t, i.Server)
		require.NotEmpty(t, i.Policy)
		require.Empty(t, i.Unknown)
		require.Positive(t, i.TrackedMax)
		require.Positive(t, i.TrackedKeys)
		require.NotEmpty(t, h.Backend.String())
	}},
}
