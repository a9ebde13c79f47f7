package remote_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/valkey-io/valkey-go"

	"github.com/tiercache/tiercache/internal/backend"
	"github.com/tiercache/tiercache/internal/changelog"
	"github.com/tiercache/tiercache/internal/valkeytest"
	"github.com/tiercache/tiercache/invalidation"
	"github.com/tiercache/tiercache/remote"
)

// gaps stands between a client and its server. It hands commands on one by
// one, each after the one before it was answered, and calls hook in between:
// so a test can do anything at every moment of a pipeline.
type gaps struct {
	net.Listener
	server   string
	hook     atomic.Pointer[func(command []string)]
	answered atomic.Int64 // bytes from the server
	running  sync.WaitGroup
}

func newGaps(t *testing.T, server string) *gaps {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	g := &gaps{Listener: l, server: server}
	g.running.Go(g.accept)
	t.Cleanup(func() {
		l.Close()
		g.running.Wait()
	})
	return g
}

func (g *gaps) accept() {
	for {
		c, err := g.Accept()
		if err != nil {
			return
		}
		s, err := net.Dial("tcp", g.server)
		if err != nil {
			c.Close()
			continue
		}
		g.running.Go(func() { g.forward(bufio.NewReader(c), s); c.Close(); s.Close() })
		g.running.Go(func() { io.Copy(c, counted{s, &g.answered}); c.Close(); s.Close() })
	}
}

type counted struct {
	io.Reader
	n *atomic.Int64
}

func (c counted) Read(b []byte) (int, error) {
	n, err := c.Reader.Read(b)
	c.n.Add(int64(n))
	return n, err
}

func (g *gaps) forward(from *bufio.Reader, to net.Conn) {
	for {
		raw, words, err := readCommand(from)
		if err != nil {
			return
		}
		hook := g.hook.Load()
		if hook != nil {
			(*hook)(words)
		}
		before := g.answered.Load()
		if _, err := io.WriteString(to, raw); err != nil {
			return
		}
		if hook == nil {
			continue
		}
		poll := time.NewTicker(10 * time.Microsecond)
		for deadline := time.Now().Add(10 * time.Second); g.answered.Load() == before && time.Now().Before(deadline); {
			<-poll.C
		}
		poll.Stop()
	}
}

// readCommand reads one command as clients send them: an array of strings.
func readCommand(r *bufio.Reader) (raw string, words []string, err error) {
	var b strings.Builder
	line := func(kind byte) (int, error) {
		l, err := r.ReadString('\n')
		if err != nil || len(l) < 3 || l[0] != kind {
			return 0, fmt.Errorf("%q %w", l, io.ErrUnexpectedEOF)
		}
		b.WriteString(l)
		return strconv.Atoi(strings.TrimSpace(l[1:]))
	}
	n, err := line('*')
	for ; n > 0 && err == nil; n-- {
		var size int
		if size, err = line('$'); err != nil {
			break
		}
		word := make([]byte, size+2)
		if _, err = io.ReadFull(r, word); err == nil {
			b.Write(word)
			words = append(words, string(word[:size]))
		}
	}
	return b.String(), words, err
}

// Every foreign change at every moment around a write, in all combinations:
// before the key is read, between that and the write, and after the write but
// before its answer is looked at. (Only adversity makes servers stop in the
// middle of a pipeline, so the battery's random races hardly meet these
// schedules.)
func TestForeignChangesInEveryGapAroundAWrite(t *testing.T) {
	valkeytest.EachVersion(t, func(t *testing.T, s *valkeytest.Server) {
		h := valkeyHarness(t, s)
		g := newGaps(t, s.Addr)
		ctx := within(t)
		told := newInvalidations()
		conn, err := remote.Valkey(valkey.ClientOption{InitAddress: []string{g.Addr().String()}}).Connect(ctx,
			backend.Options{Prefix: "gaps", Timeout: 10 * time.Second, Events: told.events()})
		require.NoError(t, err)
		defer conn.Close()
		other, err := backendOf(s).Connect(ctx, backend.Options{Prefix: "gaps", Timeout: 10 * time.Second, Events: newInvalidations().events()})
		require.NoError(t, err)
		defer other.Close()
		_, err = conn.Write(ctx, []backend.Write{{Key: "warm", Envelope: []byte("up"), Expires: time.Now().Add(time.Hour)}})
		require.NoError(t, err)

		barrier := func() {
			_, err := conn.GetOne(ctx, "elsewhere")
			require.NoError(t, err)
		}
		foreign := []struct {
			name string
			do   func(key string)
		}{
			{"nothing", func(string) {}},
			{"put", func(k string) { h.Put(k, "foreign") }},
			{"delete", func(k string) { h.Delete(k) }},
			{"write", func(k string) {
				if _, err := other.Write(ctx, []backend.Write{{Key: k, Envelope: []byte("another's"), Expires: time.Now().Add(time.Hour)}}); err != nil {
					t.Error(err)
				}
			}},
		}
		kept := 0
		for _, unread := range []bool{false, true} {
			for n := range len(foreign) * len(foreign) * len(foreign) {
				ops := [3]int{n % 4, n / 4 % 4, n / 16}
				name := fmt.Sprintf("unread %v: %s, read, %s, write, %s", unread, foreign[ops[0]].name, foreign[ops[1]].name, foreign[ops[2]].name)
				k := "gaps:d:n:{" + fmt.Sprint(unread, n) + "}"
				before := told.of(k)
				foreign[ops[0]].do(k)
				if !unread {
					_, err := conn.GetOne(ctx, k)
					require.NoError(t, err)
				}
				foreign[ops[1]].do(k)
				barrier() // the write's sender would have been told
				clean := told.of(k) == before || unread
				// The barrier stands behind the write, so what comes before it was told
				// before the answer is looked at.
				hook := func(words []string) {
					if words[len(words)-1] == "elsewhere" {
						foreign[ops[2]].do(k)
					}
				}
				before = told.of(k)
				g.hook.Store(&hook)
				w, err := conn.Write(ctx, []backend.Write{{Key: k, Envelope: []byte("own"), Expires: time.Now().Add(time.Hour), Unread: unread}})
				require.NoError(t, err)
				barrier()
				g.hook.Store(nil)
				require.True(t, w[0].Stored)
				barrier()
				counted := told.of(k) - before
				if clean {
					require.GreaterOrEqual(t, counted, 1, name)
				}
				if ops[2] == 0 && clean {
					require.Equal(t, 1, counted, name)
				}
				if !clean || counted != 1 {
					continue
				}
				kept++
				raw, _ := h.Read(k)
				require.True(t, strings.HasSuffix(raw, "own"), "%s: the key holds %q", name, raw)
				h.Put(k, "later")
				barrier()
				require.Equal(t, 2, told.of(k)-before, name)
			}
		}
		require.Greater(t, kept, 4)
	})
}

// A change between the two halves of a fresh read is not in its delta: had the
// values been read first, the delta would say of older values that they are
// true as of the change.
func TestAFreshReadTakesItsDeltaFirst(t *testing.T) {
	s := valkeytest.Start(t)
	g := newGaps(t, s.Addr)
	conn := connect(t, remote.Valkey(valkey.ClientOption{InitAddress: []string{g.Addr().String()}}), "p", newInvalidations())
	other := connect(t, backendOf(s), "p", newInvalidations())
	h := valkeyHarness(t, s)
	h.Put("k", "old")
	change := func() changelog.Appended {
		a, err := other.Append(within(t), changelog.Change{Scopes: []invalidation.Scope{"s:x"}, Retention: time.Hour})
		if err != nil {
			t.Error(err)
		}
		return a
	}
	first := change()
	_, err := conn.Delta(within(t), changelog.DeltaQuery{Limit: 1})
	require.NoError(t, err)
	hook := func(words []string) {
		if words[0] == "GETRANGE" {
			h.Put("k", "new")
			change()
		}
	}
	g.hook.Store(&hook)
	items, d, err := conn.Get(within(t), []string{"k"}, &changelog.DeltaQuery{Limit: 10})
	g.hook.Store(nil)
	require.NoError(t, err)
	require.Equal(t, first.Tick, d.Tick)
	require.Equal(t, "new", items[0].Seen())
}

// invalidations counts what a connection tells.
type invalidations struct {
	mu   sync.Mutex
	n    map[string]int
	lost int
	subs int // times that the subscription began
	msgs int
}

func newInvalidations() *invalidations { return &invalidations{n: make(map[string]int)} }

func (n *invalidations) events() backend.Events {
	locked := func(f func()) {
		n.mu.Lock()
		defer n.mu.Unlock()
		f()
	}
	return backend.Events{
		Changed: func(keys []string) {
			locked(func() {
				for _, k := range keys {
					n.n[strings.Clone(k)]++
				}
			})
		},
		Lost:  func() { locked(func() { n.lost++ }) },
		Moved: func() {},
		Published: func(m string) {
			locked(func() {
				if m == "" {
					n.subs++
				} else {
					n.msgs++
				}
			})
		},
	}
}

func (n *invalidations) of(key string) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.n[key]
}

func (n *invalidations) counts() (lost, subs, msgs int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.lost, n.subs, n.msgs
}

func connect(t *testing.T, b backend.Backend, prefix string, n *invalidations) backend.Conn {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	c, err := b.Connect(ctx, backend.Options{Prefix: prefix, Timeout: 5 * time.Second, Events: n.events()})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	return c
}
