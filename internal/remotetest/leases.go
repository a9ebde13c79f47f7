package remotetest

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/internal/backend"
)

// seen is what a store that read raw would send with its request.
func (s *store) seen(t testing.TB, key string) string { return s.get(t, key).Seen() }

var leases = []test{
	{"OnlyOneStoreGetsALease", func(t *testing.T, h Harness) {
		a, b := h.pair(t)
		k := a.key("k")
		require.True(t, a.lease(t, backend.LeaseRequest{Key: k, Token: "a", TTL: time.Minute}).Acquired)
		l := b.lease(t, backend.LeaseRequest{Key: k, Token: "b"})
		require.False(t, l.Acquired)
		require.False(t, l.Item.Found())
		require.Greater(t, l.Wait, time.Duration(0))
		require.LessOrEqual(t, l.Wait, time.Minute)
	}},

	{"OfManyAtOnceOneGetsTheLease", func(t *testing.T, h Harness) {
		p := prefix()
		conns := []*store{h.open(t, p), h.open(t, p), h.open(t, p)}
		for round := range 50 {
			k := conns[0].key(fmt.Sprint(round))
			var acquired atomic.Int32
			var all sync.WaitGroup
			for i := range 12 {
				s := conns[i%len(conns)]
				all.Go(func() {
					l, err := s.Lease(s.ctx, []backend.LeaseRequest{{Key: k, Token: fmt.Sprint(i), TTL: time.Minute}})
					if err != nil || l[0].Err != nil {
						t.Errorf("%v %v", l, err)
					} else if l[0].Acquired {
						acquired.Add(1)
					}
				})
			}
			all.Wait()
			require.EqualValues(t, 1, acquired.Load())
		}
	}},

	{"AnExpiredLeaseIsFreeAndItsTokenStoresNothing", func(t *testing.T, h Harness) {
		a, b := h.pair(t)
		k := a.key("k")
		require.True(t, a.lease(t, backend.LeaseRequest{Key: k, Token: "a", TTL: 20 * time.Millisecond}).Acquired)
		eventually(t, func() bool { return b.lease(t, backend.LeaseRequest{Key: k, Token: "b"}).Acquired }, "the lease expires")
		require.False(t, a.writeWith(t, k, "a", "late").Stored)
		l := a.lease(t, backend.LeaseRequest{Key: k, Token: "c"})
		require.False(t, l.Acquired, "nor does it end another's")
		require.Greater(t, l.Wait, time.Duration(0), "which still ends by itself")
		require.LessOrEqual(t, l.Wait, time.Hour)
		a.put(t, backend.Write{Key: k, Token: "a", Envelope: []byte("late"), Expires: in(time.Hour)})
		require.Greater(t, a.lease(t, backend.LeaseRequest{Key: k, Token: "c"}).Wait, time.Second, "though it does not say how long leases last")
		require.False(t, b.get(t, k).Found())
		require.True(t, b.writeWith(t, k, "b", "in time").Stored)
		require.Equal(t, "in time", a.get(t, k).Envelope())
	}},

	// As when the server's clock was set back an hour after its owner took it:
	// had the owner died, no process could load the key for an hour.
	{"ALeaseLastsNoLongerThanLeasesDo", func(t *testing.T, h Harness) {
		a, b := h.pair(t)
		k := a.key("k")
		require.True(t, a.lease(t, backend.LeaseRequest{Key: k, Token: "a", TTL: time.Hour}).Acquired)
		l := b.lease(t, backend.LeaseRequest{Key: k, Token: "b", TTL: time.Minute})
		require.False(t, l.Acquired, "its owner may be alive")
		require.LessOrEqual(t, l.Wait, time.Minute)
		l = b.lease(t, backend.LeaseRequest{Key: k, Token: "b"})
		require.Less(t, l.Wait, 2*time.Minute, "it was cut")
		require.True(t, a.writeWith(t, k, "a", "loaded").Stored, "and is still its owner's")
	}},

	{"AFillEndsItsLease", func(t *testing.T, h Harness) {
		s := h.open(t, prefix())
		k := s.key("k")
		s.lease(t, backend.LeaseRequest{Key: k, Token: "one"})
		require.True(t, s.writeWith(t, k, "one", "v").Stored)
		require.False(t, s.writeWith(t, k, "one", "again").Stored, "it was for one fill")
		require.True(t, s.lease(t, backend.LeaseRequest{Key: k, Token: "two", Any: true}).Acquired)
	}},

	{"ASetTakesTheLeaseAway", func(t *testing.T, h Harness) {
		a, b := h.pair(t)
		k := a.key("k")
		a.lease(t, backend.LeaseRequest{Key: k, Token: "a"})
		require.True(t, b.write(t, k, "newer").Stored)
		require.False(t, a.writeWith(t, k, "a", "late").Stored)
		require.Equal(t, "newer", a.get(t, k).Envelope())
		require.True(t, a.lease(t, backend.LeaseRequest{Key: k, Token: "c", Any: true}).Acquired)
	}},

	{"ADeleteTakesTheLeaseAway", func(t *testing.T, h Harness) {
		a, b := h.pair(t)
		for _, there := range []bool{true, false} {
			k := a.key(fmt.Sprint(there))
			if there {
				h.Put(k, "there")
			}
			a.lease(t, backend.LeaseRequest{Key: k, Token: "a", Any: true})
			b.delete(t, k, a.key("another"))
			require.False(t, a.writeWith(t, k, "a", "late").Stored)
			require.False(t, a.get(t, k).Found())
			require.True(t, a.lease(t, backend.LeaseRequest{Key: k, Token: "c"}).Acquired)
		}
	}},

	{"AStoreThatHasSeenAnOlderValueGetsTheNewer", func(t *testing.T, h Harness) {
		a, b := h.pair(t)
		k := a.key("k")
		l := func(seen string, any bool) backend.Lease {
			return a.lease(t, backend.LeaseRequest{Key: k, Token: "a", Seen: seen, Any: any})
		}
		free := func() { require.NoError(t, a.Release(a.ctx, []string{k}, "a")) }
		none := a.seen(t, k)
		require.True(t, l(none, false).Acquired, "nothing was there, and is not")
		free()
		b.write(t, k, "first value, which has a nonce in front of it")
		got := l(none, false)
		free() // it may have been acquired as well
		require.Equal(t, "first value, which has a nonce in front of it", got.Item.Envelope())
		first := a.seen(t, k)
		require.True(t, l(first, false).Acquired, "the value is the one that was seen")
		free()
		b.write(t, k, "other value, which has a nonce in front of it")
		got = l(first, false)
		free()
		require.Equal(t, "other value, which has a nonce in front of it", got.Item.Envelope())
		require.Equal(t, a.seen(t, k), got.Item.Seen())
		require.True(t, l(first, true).Acquired, "whatever the value is")
		free()
		b.delete(t, k)
		require.True(t, l(first, false).Acquired, "what was seen is gone")
	}},

	{"ANewerValueIsReturnedThoughAnotherHoldsTheLease", func(t *testing.T, h Harness) {
		a, b := h.pair(t)
		k := a.key("k")
		value := strings.Repeat("x", backend.SeenLen) + "and more"
		h.Put(k, value)
		require.True(t, b.lease(t, backend.LeaseRequest{Key: k, Token: "b", Any: true}).Acquired)
		l := a.lease(t, backend.LeaseRequest{Key: k, Token: "a"})
		require.False(t, l.Acquired)
		require.True(t, l.Item.Found())
		require.Equal(t, value[:backend.SeenLen], l.Item.Seen())
	}},

	{"AValueThatIsANumberIsNoAnswerOfTheScript", func(t *testing.T, h Harness) {
		s := h.open(t, prefix())
		for _, raw := range []string{"1", "0", "-5"} {
			k := s.key(raw)
			h.Put(k, raw)
			l := s.lease(t, backend.LeaseRequest{Key: k, Token: "a"})
			require.True(t, l.Item.Found(), raw)
			require.Equal(t, raw, l.Item.Seen(), raw)
		}
	}},

	{"ALeaseWithoutAnExpiryBlocksNoStore", func(t *testing.T, h Harness) {
		s := h.open(t, prefix())
		k := s.key("k")
		s.lease(t, backend.LeaseRequest{Key: k, Token: "a"})
		name := ""
		for _, n := range h.Keys(s.prefix) {
			if of, ok := backend.LeaseOf(n); ok && of == k {
				name = n
			}
		}
		require.NotEmpty(t, name)
		h.Put(name, "foreign")
		require.True(t, s.lease(t, backend.LeaseRequest{Key: k, Token: "b"}).Acquired)
		require.False(t, s.lease(t, backend.LeaseRequest{Key: k, Token: "c"}).Acquired, "ours has an expiry")
		require.True(t, s.writeWith(t, k, "b", "v").Stored)
		if h.PutList == nil {
			return
		}
		k = s.key("list")
		h.PutList(k + name[len(name)-1:])
		require.False(t, s.writeWith(t, k, "x", "v").Stored, "no token holds that")
		require.NoError(t, s.Extend(s.ctx, []string{k}, "x", time.Minute))
		require.NoError(t, s.Release(s.ctx, []string{k}, "x"))
		require.True(t, s.lease(t, backend.LeaseRequest{Key: k, Token: "b"}).Acquired)
		h.PutList(s.key("data"))
		require.True(t, s.lease(t, backend.LeaseRequest{Key: s.key("data"), Token: "b"}).Acquired, "a value of another type is none")
		require.True(t, s.writeWith(t, s.key("data"), "b", "v").Stored)
	}},

	{"OnlyTheHolderExtendsAndReleases", func(t *testing.T, h Harness) {
		s := h.open(t, prefix())
		k, none := s.key("k"), s.key("none")
		wait := func() time.Duration { return s.lease(t, backend.LeaseRequest{Key: k, Token: "other"}).Wait }
		require.True(t, s.lease(t, backend.LeaseRequest{Key: k, Token: "a", TTL: time.Minute}).Acquired)
		require.NoError(t, s.Extend(s.ctx, []string{k, none}, "b", time.Hour))
		require.LessOrEqual(t, wait(), time.Minute)
		require.NoError(t, s.Release(s.ctx, []string{k, none}, "b"))
		require.Greater(t, wait(), time.Duration(0))
		require.NoError(t, s.Extend(s.ctx, []string{none, k}, "a", time.Hour))
		require.Greater(t, wait(), time.Minute)
		require.NoError(t, s.Extend(s.ctx, []string{none}, "a", time.Hour))
		require.True(t, s.lease(t, backend.LeaseRequest{Key: none, Token: "c"}).Acquired, "a lost lease is not revived")
		require.NoError(t, s.Release(s.ctx, []string{none, k}, "a"))
		require.False(t, s.writeWith(t, k, "a", "late").Stored)
		require.True(t, s.lease(t, backend.LeaseRequest{Key: k, Token: "d"}).Acquired)
	}},

	{"OnlyTheHolderDiscards", func(t *testing.T, h Harness) {
		s := h.open(t, prefix())
		k, free := s.key("k"), s.key("free")
		h.Put(k, "older")
		h.Put(free, "older")
		require.True(t, s.lease(t, backend.LeaseRequest{Key: k, Token: "a", Any: true}).Acquired)
		require.NoError(t, s.Discard(s.ctx, []string{free, k}, "b"))
		require.True(t, s.get(t, k).Found())
		require.False(t, s.lease(t, backend.LeaseRequest{Key: k, Token: "c", Any: true}).Acquired)
		require.NoError(t, s.Discard(s.ctx, []string{free, k}, "a"))
		require.True(t, s.get(t, free).Found(), "no store holds its lease")
		require.False(t, s.get(t, k).Found())
		require.True(t, s.lease(t, backend.LeaseRequest{Key: k, Token: "c"}).Acquired)
	}},

	{"TheHolderThatAsksAgainStillHasIt", func(t *testing.T, h Harness) {
		s := h.open(t, prefix())
		k := s.key("k")
		for range 2 { // as when a request was sent twice
			require.True(t, s.lease(t, backend.LeaseRequest{Key: k, Token: "a"}).Acquired)
		}
		require.False(t, s.lease(t, backend.LeaseRequest{Key: k, Token: "b"}).Acquired)
	}},

	{"TakingALeaseTracksTheKey", func(t *testing.T, h Harness) {
		s := h.open(t, prefix())
		for _, any := range []bool{false, true} {
			k := s.key(fmt.Sprint(any))
			require.True(t, s.lease(t, backend.LeaseRequest{Key: k, Token: "a", Any: any}).Acquired)
			h.Put(k, "foreign")
			s.hears(t, 1, k)
		}
	}},

	{"SeveralLeasesAreTakenInOneStep", func(t *testing.T, h Harness) {
		s := h.open(t, prefix())
		h.Put(s.key("there"), "a value")
		s.lease(t, backend.LeaseRequest{Key: s.key("taken"), Token: "other"})
		l, err := s.Lease(s.ctx, []backend.LeaseRequest{
			{Key: s.key("free"), Token: "a", TTL: time.Minute},
			{Key: s.key("there"), Token: "a", TTL: time.Minute},
			{Key: s.key("taken"), Token: "a", TTL: time.Minute},
		})
		require.NoError(t, err)
		require.Len(t, l, 3)
		require.True(t, l[0].Acquired)
		require.True(t, l[1].Item.Found())
		require.True(t, !l[2].Acquired && l[2].Wait > 0)
	}},
}
