package remotetest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/internal/backend"
)

var writes = []test{
	{"AWriteSendsExactlyOneInvalidationAndTracksWhatItStored", func(t *testing.T, h Harness) {
		s := h.open(t, prefix())
		for name, prepare := range map[string]func(key string){
			"Absent":    func(string) {},
			"Read":      func(k string) { s.get(t, k) },
			"There":     func(k string) { h.Put(k, "old") },
			"ReadThere": func(k string) { h.Put(k, "old"); s.get(t, k) },
			"Written":   func(k string) { s.write(t, k, "old") },
			"Deleted":   func(k string) { s.write(t, k, "old"); s.delete(t, k) },
		} {
			for _, value := range []string{"new value", long("new", 100<<10)} {
				k := s.key(fmt.Sprint(name, len(value)))
				prepare(k)
				s.delta(t) // so that the invalidations of what was prepared are here
				before := s.invalidationsOf(k)
				require.True(t, s.write(t, k, value).Stored, name)
				s.hears(t, before+1, k, "its own: %s", name)
				h.Put(k, "foreign")
				s.hears(t, before+2, k, "the next change is noticed: %s", name)
			}
		}
	}},

	{"AWriteOfAKeyThatWasReadSendsTheInvalidationItOwes", func(t *testing.T, h Harness) {
		s := h.open(t, prefix())
		for name, owed := range map[string]int{"read": 1, "unread": 0} {
			k := s.key(name)
			if owed == 1 {
				s.get(t, k)
			}
			require.True(t, s.put(t, backend.Write{Key: k, Envelope: []byte("v"), Expires: in(time.Hour)}).Stored)
			s.hears(t, owed, k, name)
			h.Put(k, "foreign")
			s.hears(t, owed+1, k, "tracked from the write on: %s", name)
		}
	}},

	{"AWriterIsToldOnceBeforeItWaits", func(t *testing.T, h Harness) {
		s := h.open(t, prefix())
		calls := make([]int, 2)
		var writes []backend.Write
		for i := range calls {
			writes = append(writes, backend.Write{Key: s.key(strconv.Itoa(i)), Envelope: []byte("v"), Expires: in(time.Hour), Queued: func() { calls[i]++ }})
		}
		for times, write := range []func(context.Context, []backend.Write) ([]backend.Written, error){
			s.Conn.Write,
			func(ctx context.Context, w []backend.Write) ([]backend.Written, error) {
				return WriteLater(ctx, s.Conn, w)
			},
		} {
			w, err := write(s.ctx, writes)
			require.NoError(t, err)
			require.True(t, w[0].Stored && w[1].Stored)
			require.Equal(t, []int{times + 1, times + 1}, calls)
		}
	}},

	{"AFillWithItsLeaseSendsExactlyOneInvalidation", func(t *testing.T, h Harness) {
		s := h.open(t, prefix())
		for i := range 4 {
			seen, value := i%2 == 1, []string{"loaded", long("loaded", 100<<10)}[i/2]
			k := s.key(fmt.Sprint(i))
			if seen {
				h.Put(k, "stale")
			}
			require.True(t, s.lease(t, backend.LeaseRequest{Key: k, Token: "mine", Any: seen}).Acquired)
			before := s.invalidationsOf(k)
			require.True(t, s.writeWith(t, k, "mine", value).Stored, "the lease has read the key")
			s.hears(t, before+1, k)
			h.Put(k, "foreign")
			s.hears(t, before+2, k)
		}
	}},

	{"ARefusedFillChangesNothing", func(t *testing.T, h Harness) {
		s := h.open(t, prefix())
		k := s.key("k")
		h.Put(k, "there")
		s.get(t, k)
		w := s.writeWith(t, k, "nobody's", "late")
		require.Equal(t, backend.Written{}, w)
		s.hears(t, 0, k)
		raw, _ := h.Read(k)
		require.Equal(t, "there", raw)
	}},

	{"AWriteOutsideItsWindowIsNotPerformed", func(t *testing.T, h Harness) {
		s := h.open(t, prefix())
		for name, w := range windows() {
			k := s.key(name)
			h.Put(k, "older")
			out := s.put(t, backend.Write{Key: k, Envelope: []byte("v"), Expires: in(time.Hour), Window: w.Window})
			raw, _ := h.Read(k)
			if !w.admits {
				require.Equal(t, backend.Written{}, out, name)
				require.Equal(t, "older", raw, name)
				continue
			}
			require.True(t, out.Stored, name)
			require.NotEqual(t, "older", raw, name)
		}
	}},

	{"ADeletionOutsideItsWindowIsNotPerformed", func(t *testing.T, h Harness) {
		s := h.open(t, prefix())
		var all []backend.Deletion
		var admits []bool
		for name, w := range windows() {
			k := s.key(name)
			h.Put(k, "there")
			require.True(t, s.lease(t, backend.LeaseRequest{Key: k, Token: "mine", Any: true}).Acquired)
			all, admits = append(all, backend.Deletion{Key: k, Window: w.Window}), append(admits, w.admits)
		}
		deleted, err := s.Delete(s.ctx, all)
		require.NoError(t, err)
		require.Len(t, deleted, len(all))
		for i, d := range deleted {
			require.Equal(t, backend.Deleted{Late: !admits[i]}, d, "each key has its outcome: %v", all[i])
			_, there := h.Read(all[i].Key)
			require.Equal(t, !admits[i], there)
			l := s.lease(t, backend.LeaseRequest{Key: all[i].Key, Token: "another's", Any: true})
			require.Equal(t, admits[i], l.Acquired, "so long the lease stays")
		}
	}},

	// The present is no time before itself, not even within its millisecond.
	{"AWindowIsToTheMicrosecond", func(t *testing.T, h Harness) {
		s := h.open(t, prefix())
		for range 50 {
			present := s.delta(t).ServerTime
			for w, stored := range map[backend.Window]bool{{Before: present}: false, {NotBefore: present}: true} {
				require.Equal(t, stored, s.put(t, backend.Write{Key: s.key("k"), Envelope: []byte("v"), Expires: in(time.Hour), Window: w}).Stored, "%v", w)
			}
		}
	}},

	{"WhoseContextHasEndedChangesNothing", func(t *testing.T, h Harness) {
		s := h.open(t, prefix())
		k := s.key("k")
		h.Put(k, "there")
		ctx, cancel := context.WithCancel(s.ctx)
		cancel()
		_, err := s.Conn.Write(ctx, []backend.Write{{Key: k, Envelope: []byte("v"), Expires: in(time.Hour)}})
		require.ErrorIs(t, err, context.Canceled)
		_, err = s.Delete(ctx, []backend.Deletion{{Key: k}})
		require.ErrorIs(t, err, context.Canceled)
		s.delta(t)
		raw, _ := h.Read(k)
		require.Equal(t, "there", raw)
	}},

	// As when the server's clock is set forwards while the write is on its way.
	// Valkey sends no invalidation of such a write if nothing was there, so a store that
	// waited for its own would let another's pass for it.
	{"AWriteThatHasExpiredAlreadyIsNotStored", func(t *testing.T, h Harness) {
		s := h.open(t, prefix())
		for _, there := range []bool{false, true} {
			for _, token := range []string{"", "mine"} {
				k := s.key(fmt.Sprint(there, token))
				if there {
					h.Put(k, "there")
				}
				if token != "" {
					require.True(t, s.lease(t, backend.LeaseRequest{Key: k, Token: token, Any: there}).Acquired)
				}
				w := s.put(t, backend.Write{Key: k, Token: token, Envelope: []byte("v"), Expires: in(-time.Minute), Unread: token == ""})
				require.Equal(t, backend.Written{Expired: true}, w)
				require.False(t, s.get(t, k).Found(), "nor is what was there before")
			}
		}
	}},

	{"ManyValuesAreWrittenTogether", func(t *testing.T, h Harness) {
		s := h.open(t, prefix())
		s.lease(t, backend.LeaseRequest{Key: s.key("b"), Token: "mine"})
		w, err := s.Write(s.ctx, []backend.Write{
			{Key: s.key("a"), Envelope: []byte("A"), Expires: in(time.Hour)},
			{Key: s.key("b"), Envelope: []byte("B"), Expires: in(time.Hour), Token: "mine"},
			{Key: s.key("c"), Envelope: []byte("C"), Expires: in(time.Hour), Token: "mine"},
		})
		require.NoError(t, err)
		require.Equal(t, []bool{true, true, false}, []bool{w[0].Stored, w[1].Stored, w[2].Stored})
		items, _, err := s.Get(s.ctx, []string{s.key("a"), s.key("b"), s.key("c")}, nil)
		require.NoError(t, err)
		require.Equal(t, "A", items[0].Envelope())
		require.Equal(t, "B", items[1].Envelope())
		require.False(t, items[2].Found())
	}},

	{"LargeAndBinaryWritesComeBackAsTheyWere", func(t *testing.T, h Harness) {
		s := h.open(t, prefix())
		for i, envelope := range []string{"\x00", "1", strings.Repeat("x", backend.SeenLen), strings.Repeat("\r\n", backend.SeenLen), strings.Repeat("\xfe", 3<<20), ""} {
			k := s.key(fmt.Sprint(i))
			require.True(t, s.write(t, k, envelope).Stored, "%d", i)
			require.Equal(t, envelope, s.get(t, k).Envelope(), "%d", i)
		}
	}},

	// Strangers change the key at random moments around each write. A store that keeps
	// a copy unless more than one invalidation had come when the write returned, and lets
	// the next one pass if none had, has no copy that the key does not hold.
	{"AStoreThatLetsOneInvalidationPassMissesNoOtherChange", func(t *testing.T, h Harness) {
		s, other := h.pair(t)
		const workers, races = 16, 4_000
		var kept, disturbed, unclean atomic.Int64
		var all sync.WaitGroup
		for worker := range workers {
			all.Go(func() {
				r := race{t: t, h: h, s: s, other: other, rnd: rand.New(rand.NewPCG(1, uint64(worker))), name: fmt.Sprint("w", worker)}
				r.key = s.key(r.name)
				for i := 0; i < races/workers && !t.Failed(); i++ {
					switch r.run(fmt.Sprintf("own %d %d", worker, i)) {
					case keptCopy:
						kept.Add(1)
					case disturbedCopy:
						disturbed.Add(1)
					default:
						unclean.Add(1)
					}
				}
			})
		}
		all.Wait()
		t.Logf("kept %d, disturbed %d, unclean %d", kept.Load(), disturbed.Load(), unclean.Load())
		require.NotZero(t, kept.Load())
	}},
}

// windowCase is a Window, and whether a request that is sent now is in it.
type windowCase struct {
	backend.Window
	admits bool
}

func windows() map[string]windowCase {
	return map[string]windowCase{
		"none":    {backend.Window{}, true},
		"present": {backend.Window{NotBefore: in(-time.Minute), Before: in(time.Minute)}, true},
		"past":    {backend.Window{NotBefore: in(-time.Hour), Before: in(-time.Minute)}, false},
		"future":  {backend.Window{NotBefore: in(time.Minute), Before: in(time.Hour)}, false},
		"until":   {backend.Window{Before: in(-time.Minute)}, false},
		"from":    {backend.Window{NotBefore: in(time.Minute)}, false},
	}
}

// race is one worker's writes of a key that strangers change.
type race struct {
	t        *testing.T
	h        Harness
	s, other *store
	rnd      *rand.Rand
	name     string
	key      string // of that name
}

// foreign changes the key a few times, beside the caller.
func (r *race) foreign() (done <-chan struct{}) {
	ops, wait, kinds := r.rnd.IntN(3), r.rnd.IntN(400), r.rnd.Uint32()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for op := range ops {
			for range wait {
				_ = r.s.told // spin a little, to meet different moments of the write
			}
			switch kinds >> (2 * op) & 3 {
			case 0:
				r.h.Delete(r.key)
			case 1:
				_, err := r.other.Write(r.s.ctx, []backend.Write{{Key: r.key, Envelope: []byte("other's"), Expires: in(time.Hour)}})
				if err != nil {
					r.t.Error(err)
				}
			default:
				r.h.Put(r.key, "foreign")
			}
		}
	}()
	return ended
}

// flush returns when all that was to be told has been.
func (r *race) flush() {
	if _, err := r.s.GetOne(r.s.ctx, r.s.beside(r.name)); err != nil {
		r.t.Error(err)
	}
}

// What became of a copy.
const (
	keptCopy = iota
	disturbedCopy
	uncleanCopy
)

// run writes once, having read the key before or not, and checks the copy that
// would be kept.
func (r *race) run(own string) int {
	read := r.rnd.IntN(2) == 0
	r.flush() // what the round before has caused
	before := r.s.invalidationsOf(r.key)
	foreign := r.foreign()
	if read {
		if _, err := r.s.GetOne(r.s.ctx, r.key); err != nil {
			r.t.Error(err)
		}
		if r.s.invalidationsOf(r.key) != before {
			<-foreign
			return uncleanCopy
		}
	}
	w, err := r.s.Write(r.s.ctx, []backend.Write{{Key: r.key, Envelope: []byte(own), Expires: in(time.Hour), Unread: !read}})
	counted := r.s.invalidationsOf(r.key) - before
	<-foreign
	if err != nil || len(w) != 1 || w[0].Err != nil || !w[0].Stored {
		r.t.Errorf("write: %v %v", w, err)
		return uncleanCopy
	}
	r.flush()
	since := r.s.invalidationsOf(r.key) - before
	if since < 1 {
		r.t.Errorf("%s: no invalidation came of the write itself, and the next would be taken for it", own)
	}
	if counted > 1 || since > 1 {
		return disturbedCopy
	}
	if raw, _ := r.h.Read(r.key); !strings.HasSuffix(raw, own) {
		r.t.Errorf("%s: one invalidation, and yet the key holds %q", own, raw)
	}
	r.h.Put(r.key, "later")
	r.flush()
	if r.s.invalidationsOf(r.key)-before != 2 {
		r.t.Errorf("%s: a later change was not noticed", own)
	}
	return keptCopy
}
