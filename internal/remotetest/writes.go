package remotetest

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/remote"
)

var writes = []test{
	{"AnUndisturbedWriteIsVerifiedWithExactlyOneNotice", func(t *testing.T, h Harness) {
		s := h.open(t, prefix())
		for name, prepare := range map[string]func(key string){
			"Absent":    func(string) {},
			"Read":      func(k string) { s.get(t, k) },
			"There":     func(k string) { h.Put(k, "old") },
			"ReadThere": func(k string) { h.Put(k, "old"); s.get(t, k) },
			"Written":   func(k string) { s.write(t, k, "old") },
			"Deleted":   func(k string) { s.write(t, k, "old"); s.delete(t, k) },
		} {
			k := s.key(name)
			prepare(k)
			s.delta(t) // so that the notices of what was prepared are here
			before := s.noticed(k)
			w := s.write(t, k, "new value")
			after := s.noticed(k)
			require.True(t, w.Stored, name)
			require.True(t, w.Verified, name)
			require.Equal(t, before+1, after, name)
			s.delta(t)
			require.Equal(t, before+1, s.noticed(k), "no second notice trails behind: %s", name)
			h.Put(k, "foreign")
			s.delta(t)
			require.Equal(t, before+2, s.noticed(k), "the next change is noticed: %s", name)
		}
	}},

	{"AFillWithItsLeaseIsVerifiedWithExactlyOneNotice", func(t *testing.T, h Harness) {
		s := h.open(t, prefix())
		for _, seen := range []bool{false, true} {
			k := s.key(fmt.Sprint(seen))
			if seen {
				h.Put(k, "stale")
			}
			require.True(t, s.lease(t, remote.LeaseRequest{Key: k, Token: "mine", Any: true}).Acquired)
			before := s.noticed(k)
			w := s.writeWith(t, k, "mine", "loaded")
			require.True(t, w.Stored && w.Verified)
			require.Equal(t, before+1, s.noticed(k))
			h.Put(k, "foreign")
			s.delta(t)
			require.Equal(t, before+2, s.noticed(k))
		}
	}},

	{"ARefusedFillChangesNothing", func(t *testing.T, h Harness) {
		s := h.open(t, prefix())
		k := s.key("k")
		h.Put(k, "there")
		s.get(t, k)
		w := s.writeWith(t, k, "nobody's", "late")
		require.Equal(t, remote.Written{}, w)
		s.delta(t)
		require.Zero(t, s.noticed(k))
		raw, _ := h.Read(k)
		require.Equal(t, "there", raw)
	}},

	{"ManyValuesAreWrittenTogether", func(t *testing.T, h Harness) {
		s := h.open(t, prefix())
		s.lease(t, remote.LeaseRequest{Key: s.key("b"), Token: "mine"})
		w, err := s.Write(s.ctx, []remote.Write{
			{Key: s.key("a"), Envelope: []byte("A"), TTL: time.Hour},
			{Key: s.key("b"), Envelope: []byte("B"), TTL: time.Hour, Token: "mine"},
			{Key: s.key("c"), Envelope: []byte("C"), TTL: time.Hour, Token: "mine"},
		})
		require.NoError(t, err)
		require.Equal(t, []bool{true, true, false}, []bool{w[0].Stored, w[1].Stored, w[2].Stored})
		require.Equal(t, []bool{true, true, false}, []bool{w[0].Verified, w[1].Verified, w[2].Verified})
		items, _, err := s.Get(s.ctx, []string{s.key("a"), s.key("b"), s.key("c")}, nil)
		require.NoError(t, err)
		require.Equal(t, "A", items[0].Envelope())
		require.Equal(t, "B", items[1].Envelope())
		require.False(t, items[2].Found())
	}},

	{"LargeAndBinaryWritesAreVerified", func(t *testing.T, h Harness) {
		s := h.open(t, prefix())
		for i, envelope := range []string{"\x00", "1", strings.Repeat("x", remote.VerifyLen), strings.Repeat("\r\n", remote.VerifyLen), strings.Repeat("\xfe", 3<<20), ""} {
			w := s.write(t, s.key(fmt.Sprint(i)), envelope)
			require.True(t, w.Verified, "%d", i)
		}
	}},

	// Strangers change the key at random moments around each write. If the write
	// says that it was verified, and one notice had come when it returned, then
	// either nobody changed the key afterwards or a further notice says so.
	{"WhoeverCountsOneNoticeMissesNoLaterChange", func(t *testing.T, h Harness) {
		p := prefix()
		s, other := h.open(t, p), h.open(t, p)
		races := h.Races
		if races == 0 {
			races = 20_000
		}
		const workers = 16
		var clean, disturbed, unverified atomic.Int64
		var all sync.WaitGroup
		for worker := range workers {
			all.Go(func() {
				rnd := rand.New(rand.NewPCG(1, uint64(worker)))
				k := s.key(fmt.Sprint("w", worker))
				for i := 0; i < races/workers && !t.Failed(); i++ {
					own := fmt.Sprintf("own %d %d", worker, i)
					before := s.noticed(k)
					ops, wait := rnd.IntN(3), rnd.IntN(400)
					kinds := rnd.Uint32()
					foreign := make(chan struct{})
					go func() {
						defer close(foreign)
						for op := range ops {
							for range wait {
								_ = s.told // spin a little, to meet different moments of the write
							}
							switch kinds >> (2 * op) & 3 {
							case 0:
								h.Delete(k)
							case 1:
								_, err := other.Write(s.ctx, []remote.Write{{Key: k, Envelope: []byte("other's"), TTL: time.Hour}})
								if err != nil {
									t.Error(err)
								}
							default:
								h.Put(k, "foreign")
							}
						}
					}()
					w, err := s.Write(s.ctx, []remote.Write{{Key: k, Envelope: []byte(own), TTL: time.Hour}})
					counted := s.noticed(k) - before
					<-foreign
					if err != nil || len(w) != 1 || w[0].Err != nil || !w[0].Stored {
						t.Errorf("write: %v %v", w, err)
						return
					}
					if counted < 1 {
						t.Errorf("race %d of worker %d: a write returned before a notice of its key", i, worker)
						return
					}
					if !w[0].Verified {
						unverified.Add(1)
						continue
					}
					if counted != 1 {
						disturbed.Add(1)
						continue
					}
					clean.Add(1)
					if _, err := s.GetOne(s.ctx, s.key("elsewhere")); err != nil {
						t.Error(err)
					}
					raw, _ := h.Read(k)
					if since := s.noticed(k) - before; since == 1 {
						if !strings.HasSuffix(raw, own) {
							t.Errorf("race %d of worker %d: verified, one notice, and yet the key holds %q", i, worker, raw)
							return
						}
						h.Put(k, "later")
						if _, err := s.GetOne(s.ctx, s.key("elsewhere")); err != nil {
							t.Error(err)
						}
						if s.noticed(k)-before != 2 {
							t.Errorf("race %d of worker %d: a later change was not noticed", i, worker)
							return
						}
					}
				}
			})
		}
		all.Wait()
		t.Logf("clean %d, disturbed %d, unverified %d", clean.Load(), disturbed.Load(), unverified.Load())
		require.NotZero(t, clean.Load())
	}},
}
