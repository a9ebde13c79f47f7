package remote_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/valkey-io/valkey-go"

	"github.com/tiercache/tiercache/internal/backend"
	"github.com/tiercache/tiercache/internal/faultproxy"
	"github.com/tiercache/tiercache/internal/remoteerr"
	"github.com/tiercache/tiercache/internal/valkeytest"
	"github.com/tiercache/tiercache/remote"
)

// version is a value of n bytes, each part of which tells which version it is of.
func version(v, n int) string { return strings.Repeat(fmt.Sprintf("version %d; ", v), n/10)[:n] }

// isRange reports whether a command reads a range of an entry.
func isRange(words []string) bool {
	return strings.HasPrefix(words[0], "EVAL") && !isPlace(words) && len(words) >= 7
}

// largeWorld is a connection whose commands are handed on one by one.
func largeWorld(t *testing.T) (*gaps, backend.Conn, *valkeytest.Server, func(key, value string)) {
	s := valkeytest.Start(t)
	g := newGaps(t, s.Addr)
	conn := connect(t, remote.Valkey(valkey.ClientOption{InitAddress: []string{g.Addr().String()}}), "p", newInvalidations())
	put := valkeyHarness(t, s).Put
	return g, conn, s, put
}

// between calls f before each command that is of a kind, from the nth on, and for as long as f returns true.
func (g *gaps) between(is func(words []string) bool, nth int, f func() bool) {
	var n atomic.Int64
	var over atomic.Bool
	hook := func(words []string) {
		if is(words) && n.Add(1) > int64(nth) && !over.Load() {
			over.Store(!f())
		}
	}
	g.hook.Store(&hook)
}

func TestAValueThatIsReplacedWhileItsRangesAreReadIsReadAnew(t *testing.T) {
	g, conn, s, put := largeWorld(t)
	const n = 1500 << 10
	del := func() { s.Do(t, "DEL", "p:k") }
	for name, x := range map[string]struct {
		instead func()
		then    string
	}{
		"by another": {func() { put("p:k", version(2, n)) }, version(2, n)},
		"by longer":  {func() { put("p:k", version(2, 2*n)) }, version(2, 2*n)},
		"by shorter": {func() { put("p:k", version(2, n/2)) }, version(2, n/2)},
		"by small":   {func() { put("p:k", "2") }, "2"},
		"by nothing": {del, ""},
	} {
		for nth := range 4 {
			t.Run(fmt.Sprint(name, " before range ", nth), func(t *testing.T) {
				put("p:k", version(1, n))
				g.between(isRange, nth, func() bool { x.instead(); return false })
				defer g.hook.Store(nil)
				it, err := conn.GetOne(within(t), "p:k")
				require.NoError(t, err)
				require.True(t, it.Envelope() == x.then, "%d bytes: %.20q", len(it.Raw), it.Raw)
				for _, read := range []func(context.Context, []string) ([]backend.Item, error){conn.GetUntracked, many(conn)} {
					put("p:k", version(1, n))
					put("p:beside", version(3, n))
					g.between(isRange, nth, func() bool { x.instead(); return false })
					items, err := read(within(t), []string{"p:k", "p:none", "p:beside"})
					require.NoError(t, err)
					require.True(t, items[0].Envelope() == x.then, "%d bytes: %.20q", len(items[0].Raw), items[0].Raw)
					require.False(t, items[1].Found())
					require.True(t, items[2].Envelope() == version(3, n))
				}
			})
		}
	}
}

func many(c backend.Conn) func(context.Context, []string) ([]backend.Item, error) {
	return func(ctx context.Context, keys []string) ([]backend.Item, error) {
		items, _, err := c.Get(ctx, keys, nil)
		return items, err
	}
}

func TestAValueThatIsReplacedAllTheTimeIsAnError(t *testing.T) {
	g, conn, _, put := largeWorld(t)
	put("p:k", version(0, 1<<20))
	put("p:other", "small")
	v := 0
	g.between(isRange, 0, func() bool { v++; put("p:k", version(v, 1<<20)); return true })
	defer g.hook.Store(nil)
	_, err := conn.GetOne(within(t), "p:k")
	require.ErrorContains(t, err, "replaced each time")
	items, _, err := conn.Get(within(t), []string{"p:k", "p:other"}, nil)
	require.NoError(t, err)
	require.ErrorContains(t, items[0].Err, "replaced each time")
	require.Equal(t, "small", items[1].Envelope(), "which the other key is not")
}

func isPart(words []string) bool { return words[0] == "APPEND" }
func isPlace(words []string) bool {
	return strings.HasPrefix(words[0], "EVAL") && words[2] == "3"
}

// What is sent ahead may be evicted at any moment; the value before stays.
func TestWhatIsEvictedWhileItIsSentAheadIsNotStored(t *testing.T) {
	g, conn, s, put := largeWorld(t)
	value := []byte(version(2, 1<<20))
	drop := func() bool {
		names, err := s.Do(t, "KEYS", "p:k+*").AsStrSlice()
		if err == nil && len(names) > 0 {
			s.Do(t, append([]string{"DEL"}, names...)...)
		}
		return false
	}
	for name, when := range map[string]func(){
		"before the second part": func() { g.between(isPart, 1, drop) },
		"before the last part":   func() { g.between(isPart, 3, drop) },
		"before it is placed":    func() { g.between(isPlace, 0, drop) },
	} {
		t.Run(name, func(t *testing.T) {
			put("p:k", "old")
			when()
			written, err := conn.Write(within(t), []backend.Write{{Key: "p:k", Envelope: value, Expires: time.Now().Add(time.Hour)}})
			g.hook.Store(nil)
			require.NoError(t, err)
			require.ErrorContains(t, written[0].Err, "not there any more")
			require.False(t, remoteerr.Away(written[0].Err))
			it, err := conn.GetOne(within(t), "p:k")
			require.NoError(t, err)
			require.Equal(t, "old", it.Envelope())
			eventually(t, func() bool {
				names, err := s.Do(t, "KEYS", "p:k*").AsStrSlice()
				return err == nil && len(names) == 1
			}, "nothing is left of it")
		})
	}
}

// Another process may write the key while the value of a fill is sent ahead: the lease is gone then.
func TestAFillThatIsSentAheadIsFencedAsOthersAre(t *testing.T) {
	g, conn, s, _ := largeWorld(t)
	other := connect(t, backendOf(s), "p", newInvalidations())
	leases, err := conn.Lease(within(t), []backend.LeaseRequest{{Key: "p:k", Token: "mine", TTL: time.Minute}})
	require.NoError(t, err)
	require.True(t, leases[0].Acquired)
	g.between(isPlace, 0, func() bool {
		w, err := other.Write(within(t), []backend.Write{{Key: "p:k", Envelope: []byte("set"), Expires: time.Now().Add(time.Hour)}})
		if err != nil || !w[0].Stored {
			t.Error(w, err)
		}
		return false
	})
	written, err := conn.Write(within(t), []backend.Write{{Key: "p:k", Token: "mine", Envelope: []byte(version(1, 1<<20)), Expires: time.Now().Add(time.Hour)}})
	g.hook.Store(nil)
	require.NoError(t, err)
	require.Equal(t, []backend.Written{{}}, written)
	it, err := conn.GetOne(within(t), "p:k")
	require.NoError(t, err)
	require.Equal(t, "set", it.Envelope())
}

// The lease of a fill is renewed while that is sent ahead, which may take longer than leases last.
func TestALeaseIsRenewedWhileItsValueIsSentAhead(t *testing.T) {
	g, conn, _, _ := largeWorld(t)
	const ttl = 60 * time.Millisecond
	var renewed atomic.Int64
	hook := func(words []string) {
		switch {
		case isPart(words):
			<-time.After(ttl / 2)
		case strings.HasPrefix(words[0], "EVAL") && words[2] == "1" && words[3] == "p:k!":
			renewed.Add(1)
		}
	}
	g.hook.Store(&hook)
	defer g.hook.Store(nil)
	_, err := conn.Write(within(t), []backend.Write{{Key: "p:k", Token: "mine", LeaseTTL: ttl, Envelope: []byte(version(1, 1<<20)), Expires: time.Now().Add(time.Hour)}})
	require.NoError(t, err)
	require.Positive(t, renewed.Load())
}

// What is large is read beside the connection that tracks, so small reads and heartbeats are not held up by it.
func TestALargeValueHoldsUpNothingElse(t *testing.T) {
	s := valkeytest.Start(t)
	p, err := faultproxy.Start(s.Addr, 1)
	require.NoError(t, err)
	defer p.Close()
	conn := connect(t, remote.Valkey(valkey.ClientOption{InitAddress: []string{p.Addr()}}), "p", newInvalidations())
	put := valkeyHarness(t, s).Put
	put("p:large", version(1, 4<<20))
	put("p:small", "small")
	_, err = conn.GetOne(within(t), "p:large") // both connections are there
	require.NoError(t, err)
	p.Throttle(faultproxy.ToClient, 4<<20) // a second
	var done atomic.Bool
	read := make(chan error, 1)
	go func() {
		it, err := conn.GetOne(within(t), "p:large")
		done.Store(true)
		read <- errors.Join(err, unless(it.Envelope() == version(1, 4<<20), len(it.Raw)))
	}()
	meanwhile := 0
	for !done.Load() {
		it, err := conn.GetOne(within(t), "p:small")
		require.NoError(t, err)
		require.Equal(t, "small", it.Envelope())
		meanwhile++
	}
	require.NoError(t, <-read)
	require.Greater(t, meanwhile, 5, "small reads while the large one went on")
}

// Close ends both connections while a large value is on its way.
func TestCloseEndsALargeRead(t *testing.T) {
	g, conn, _, put := largeWorld(t)
	put("p:k", version(1, 4<<20))
	closed := make(chan struct{})
	g.between(isRange, 2, func() bool {
		go func() { conn.Close(); close(closed) }()
		return false
	})
	_, err := conn.GetOne(within(t), "p:k")
	g.hook.Store(nil)
	if err != nil { // unless it was faster
		require.True(t, errors.Is(err, backend.ErrClosed) || remoteerr.Unreachable(err), err)
	}
	<-closed
	_, err = conn.GetOne(within(t), "p:k")
	require.ErrorIs(t, err, backend.ErrClosed)
}
