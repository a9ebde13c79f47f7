package tier_test

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/internal/backend"
	"github.com/tiercache/tiercache/internal/embedded"
	"github.com/tiercache/tiercache/internal/interpose"
	"github.com/tiercache/tiercache/internal/mono"
	"github.com/tiercache/tiercache/tier"
)

// fickle is a backend whose server falls silent, slow or unreachable, in fake
// time as well. What it has published still arrives.
type fickle struct {
	*interpose.Backend

	mu     sync.Mutex    // guards the rest
	silent chan struct{} // closed when it goes on; nil: it answers
	slow   time.Duration
	err    error
	sent   map[interpose.Op]int
}

var errUnreachable = errors.New("dial tcp 192.0.2.1:6379: connect: connection refused")

func newFickle(b backend.Backend) *fickle {
	f := &fickle{Backend: &interpose.Backend{Inner: b}, sent: make(map[interpose.Op]int)}
	f.Reach(f.reach)
	return f
}

// silence has requests wait until the server works again, or their context ends.
func (b *fickle) silence() { b.set(func() { b.silent = make(chan struct{}) }) }

// delay has each answer take d.
func (b *fickle) delay(d time.Duration) { b.set(func() { b.slow = d }) }

// refuse has each request fail at once.
func (b *fickle) refuse(err error) { b.set(func() { b.err = err }) }

// work ends all of these.
func (b *fickle) work() {
	b.set(func() {
		if b.silent != nil {
			close(b.silent)
		}
		b.silent, b.slow, b.err = nil, 0, nil
	})
}

func (b *fickle) set(f func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	f()
}

// count returns how many requests of a kind were sent, and forgets them.
func (b *fickle) count(ops ...interpose.Op) (n int) {
	b.set(func() {
		for _, op := range ops {
			n += b.sent[op]
			b.sent[op] = 0
		}
	})
	return n
}

// reach is what a request waits for before it is performed.
func (b *fickle) reach(ctx context.Context, op interpose.Op) error {
	b.mu.Lock()
	b.sent[op]++
	silent, slow, err := b.silent, b.slow, b.err
	b.mu.Unlock()
	if err != nil {
		return err
	}
	if silent != nil {
		select {
		case <-silent:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if slow > 0 {
		timer := time.NewTimer(slow)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// partition is a process behind a fickle server, and another that always
// reaches it.
type partition struct {
	t       *testing.T
	hub     *embedded.Remote
	server  *fickle
	tracked bool
	store   *tier.Store
	other   *tier.Store
}

const (
	testTimeout   = 50 * time.Millisecond  // the default
	testHeartbeat = 250 * time.Millisecond // the default
)

// partitioned runs a test in fake time, with default options but for those
// given, with and without tracking.
func partitioned(t *testing.T, test func(t *testing.T, p *partition), options ...tier.Option) {
	for name, how := range tracking {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				hub := embedded.New(0)
				p := &partition{t: t, hub: hub, server: newFickle(hub), tracked: len(how) == 0}
				open := func(b backend.Backend, options ...tier.Option) *tier.Store {
					s, err := tier.Open(context.Background(), append(append([]tier.Option{tier.WithRemote(b), tier.WithLogger(slog.New(slog.DiscardHandler))}, how...), options...)...)
					require.NoError(t, err)
					t.Cleanup(func() { require.NoError(t, s.Close()) })
					return s
				}
				p.store, p.other = open(p.server, options...), open(hub)
				synctest.Wait() // what opening has begun ends before the server is another
				test(t, p)
			})
		})
	}
}

func (p *partition) away() bool { return !p.store.Stats().AwaySince.IsZero() }

// begin has the server fall silent, and returns when that is known.
func (p *partition) begin() {
	p.t.Helper()
	p.server.silence()
	p.notice()
}

// beginUnproven is begin, and returns when no local copy is proven any more: without tracking, what is loaded is believed like those.
func (p *partition) beginUnproven() {
	p.t.Helper()
	p.begin()
	time.Sleep(time.Second)
}

// invalidation makes the requests that find the server away.
func (p *partition) notice() {
	p.t.Helper()
	c := view[string](p.t, p.store, "noticing")
	for range 2 {
		find(p.t, c, "k", is("v"), tier.NoLocal())
	}
	require.True(p.t, p.away())
}

// end has the server work again, and returns when that is known.
func (p *partition) end() {
	p.t.Helper()
	p.server.work()
	took := elapsed(func() {
		for p.away() {
			time.Sleep(time.Millisecond)
		}
	})
	require.LessOrEqual(p.t, took, time.Second)
	synctest.Wait()
}

// elapsed is how long f takes, in fake time.
func elapsed(f func()) time.Duration {
	begun := mono.Now()
	f()
	return mono.Now().Sub(begun)
}
