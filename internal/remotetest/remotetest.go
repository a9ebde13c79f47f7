// Package remotetest is the one battery of tests that every [remote.Backend]
// passes: what package remote promises of a connection, told as stories of one
// or more stores and of a stranger that writes to the same server.
package remotetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/internal/backend"
	"github.com/tiercache/tiercache/internal/changelog"
	"github.com/tiercache/tiercache/invalidation"
)

// Harness is a backend, and the hands of a stranger on what it holds. The
// backend is the test's own: it is flushed. The functions may be called from
// several goroutines at once.
type Harness struct {
	Backend backend.Backend

	Read   func(key string) (string, bool)
	Put    func(key, value string) // without an expiry
	Delete func(keys ...string)
	Flush  func()
	Keys   func(prefix string) []string
	// Disconnect ends the connections of all stores, which may renew them.
	Disconnect func()

	// PutList stores a value that is no string; nil where there are no others.
	PutList func(key string)
	// PutMember adds a member to a change log, DeleteMember takes one out; nil
	// where a log cannot be tampered with.
	PutMember    func(log string, tick float64, member string)
	DeleteMember func(log, member string)

	// Withhold has messages of a change log that there is wait for so long, as if many had been published. Longer than
	// changelog.LongestPause is as if the server's clock had been set back since.
	Withhold func(log string, d time.Duration)

	// NoTracking connects all stores without invalidations of changed keys; tests of
	// those are left out.
	NoTracking bool

	// LateDials is for backends that may connect to a server, and tell so as a
	// loss, after all that a store asked for has been answered: to the replicas of
	// a cluster.
	LateDials bool
}

// Run runs the battery.
func Run(t *testing.T, h Harness) {
	for _, part := range []struct {
		name  string
		tests []test
	}{
		{"Reads", reads}, {"Tracking", tracking}, {"Writes", writes}, {"Large", large}, {"Leases", leases},
		{"Log", logs}, {"Pace", paces}, {"Purge", purges}, {"Lifecycle", lifecycle},
	} {
		if h.NoTracking && part.name == "Tracking" {
			continue
		}
		t.Run(part.name, func(t *testing.T) {
			for _, x := range part.tests {
				if h.NoTracking && ofInvalidations[x.name] {
					continue
				}
				t.Run(x.name, func(t *testing.T) { x.run(t, h) })
			}
		})
	}
}

// ofInvalidations are the tests outside of Tracking that wait for invalidations, or for word
// that some may have been lost.
var ofInvalidations = map[string]bool{
	"AWriteSendsExactlyOneInvalidationAndTracksWhatItStored": true,
	"AWriteOfAKeyThatWasReadSendsTheInvalidationItOwes":      true,
	"AFillWithItsLeaseSendsExactlyOneInvalidation":           true,
	"AStoreThatLetsOneInvalidationPassMissesNoOtherChange":   true,
	"TakingALeaseTracksTheKey":                               true,
	"InvalidationsOwedAreTakenBackByALoss":                   true,
	"APurgeOfSeveralPrefixesIsToldAndNoticed":                true,
	"AfterCloseNothingIsTold":                                true,
	"InfoDescribesTheServer":                                 true,
	"ANewConnectionHasAnotherIdentity":                       true,
}

type test struct {
	name string
	run  func(t *testing.T, h Harness)
}

const patience = 30 * time.Second

// eventually waits until cond holds; it is for what happens elsewhere.
func eventually(t testing.TB, cond func() bool, what string, args ...any) {
	t.Helper()
	poll := time.NewTicker(time.Millisecond)
	defer poll.Stop()
	for deadline := time.Now().Add(patience); !cond(); <-poll.C {
		if time.Now().After(deadline) {
			t.Fatalf("never happened: "+what, args...)
		}
	}
}

// store is a connection and what it was told.
type store struct {
	backend.Conn
	*recorder
	prefix string
	ctx    context.Context
	writes atomic.Int64
}

// Write is WriteLater every second time: all that is true of the one is true of the
// other.
func (s *store) Write(ctx context.Context, writes []backend.Write) ([]backend.Written, error) {
	if s.writes.Add(1)%2 == 0 {
		return s.Conn.Write(ctx, writes)
	}
	return WriteLater(ctx, s.Conn, writes)
}

// WriteLater waits for what c's WriteLater tells.
func WriteLater(ctx context.Context, c backend.Writer, writes []backend.Write) (out []backend.Written, err error) {
	told := make(chan struct{}) // closing it twice panics
	c.WriteLater(ctx, writes, func(w []backend.Written, e error) {
		out, err = w, e
		close(told)
	})
	<-told
	return out, err
}

var prefixes atomic.Int64

// prefix returns one that no other test uses.
func prefix() string { return fmt.Sprintf("battery%d", prefixes.Add(1)) }

// open connects a store that is closed with the test.
func (h Harness) open(t testing.TB, prefix string, change ...func(*backend.Options)) *store {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 4*patience)
	t.Cleanup(cancel)
	s := &store{recorder: newRecorder(), prefix: prefix, ctx: ctx}
	o := backend.Options{Prefix: prefix, Timeout: patience, NoTracking: h.NoTracking, Events: s.events()}
	for _, f := range change {
		f(&o)
	}
	var err error
	s.Conn, err = h.Backend.Connect(ctx, o)
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, s.Close())
		require.False(t, s.overlapped.Load(), "events were told at the same time")
	})
	return s
}

// pair connects two stores of one prefix.
func (h Harness) pair(t testing.TB) (a, b *store) {
	t.Helper()
	p := prefix()
	return h.open(t, p), h.open(t, p)
}

// listening waits until messages of the store's channel arrive, which happens
// after Connect returned.
func (s *store) listening(t testing.TB) *store {
	t.Helper()
	eventually(t, func() bool {
		a, err := s.Append(s.ctx, changelog.Change{Retention: time.Hour})
		require.NoError(t, err)
		s.delta(t)
		return slices.ContainsFunc(s.published(), func(m changelog.Message) bool { return m.Tick == a.Tick })
	}, "a message of the channel")
	return s
}

// in is the expiry of what lives for d; server and tests have one clock.
func in(d time.Duration) time.Time { return time.Now().Add(d) }

// key names a data key as package tier does.
func (s *store) key(name string) string { return s.prefix + ":d:n:{" + name + "}" }

// beside names a key of the same slot, and so of the same server.
func (s *store) beside(name string) string { return s.prefix + ":d:beside:{" + name + "}" }

func (s *store) get(t testing.TB, key string) backend.Item {
	t.Helper()
	it, err := s.GetOne(s.ctx, key)
	require.NoError(t, err)
	return it
}

// write stores a value without a lease.
func (s *store) write(t testing.TB, key, envelope string) backend.Written {
	t.Helper()
	return s.writeWith(t, key, "", envelope)
}

func (s *store) writeWith(t testing.TB, key, token, envelope string) backend.Written {
	t.Helper()
	return s.put(t, backend.Write{Key: key, Token: token, LeaseTTL: time.Hour, Envelope: []byte(envelope), Expires: in(time.Hour), Unread: token == ""})
}

// put performs one write.
func (s *store) put(t testing.TB, w backend.Write) backend.Written {
	t.Helper()
	written, err := s.Write(s.ctx, []backend.Write{w})
	require.NoError(t, err)
	require.Len(t, written, 1)
	require.NoError(t, written[0].Err)
	return written[0]
}

func (s *store) delete(t testing.TB, keys ...string) {
	t.Helper()
	require.NoError(t, s.remove(s.ctx, keys))
}

// remove deletes keys at any time, and returns an error if one was not.
func (s *store) remove(ctx context.Context, keys []string) error { return Delete(ctx, s.Conn, keys...) }

// Delete deletes keys at any time, and returns an error if one was not.
func Delete(ctx context.Context, c backend.Writer, keys ...string) error {
	all := make([]backend.Deletion, len(keys))
	for i, k := range keys {
		all[i].Key = k
	}
	deleted, err := c.Delete(ctx, all)
	for _, d := range deleted {
		err = errors.Join(err, d.Err)
	}
	return err
}

func (s *store) lease(t testing.TB, r backend.LeaseRequest) backend.Lease {
	t.Helper()
	if r.TTL == 0 {
		r.TTL = time.Hour
	}
	l, err := s.Lease(s.ctx, []backend.LeaseRequest{r})
	require.NoError(t, err)
	require.Len(t, l, 1)
	require.NoError(t, l[0].Err)
	return l[0]
}

func (s *store) append(t testing.TB, scopes ...invalidation.Scope) changelog.Appended {
	t.Helper()
	a, err := s.Append(s.ctx, changelog.Change{Scopes: scopes, Retention: time.Hour})
	require.NoError(t, err)
	return a
}

// delta reads the whole log. It is also the barrier: every invalidation of what was
// acknowledged before has been told when it returns.
func (s *store) delta(t testing.TB, scopes ...invalidation.Scope) changelog.Delta {
	t.Helper()
	return s.deltaSince(t, 0, scopes...)
}

func (s *store) deltaSince(t testing.TB, since invalidation.Tick, scopes ...invalidation.Scope) changelog.Delta {
	t.Helper()
	require.NoError(t, s.Prove(s.ctx))
	d, err := s.Delta(s.ctx, changelog.DeltaQuery{Since: since, Limit: 1 << 20, Scopes: scopes})
	require.NoError(t, err)
	return d
}

// hears requires that so many invalidations of a key were told, once all have been that are due.
func (s *store) hears(t testing.TB, n int, key string, says ...any) {
	t.Helper()
	s.delta(t)
	require.Equal(t, n, s.invalidationsOf(key), says...)
}

// log finds the name of the store's change log.
func (h Harness) log(t testing.TB, prefix string) string {
	t.Helper()
	for _, k := range h.Keys(prefix) {
		if strings.HasSuffix(k, ":log") {
			return k
		}
	}
	t.Fatal("the store has no change log")
	return ""
}

// recorder keeps what a connection reports.
type recorder struct {
	running    atomic.Bool
	overlapped atomic.Bool

	mu            sync.Mutex
	invalidations map[string]int
	losses        int // of all keys
	moves         int // of the keys of a server of a cluster
	messages      []string
	total         int // events of any kind
}

func newRecorder() *recorder { return &recorder{invalidations: make(map[string]int)} }

func (r *recorder) events() backend.Events {
	event := func(f func()) {
		if !r.running.CompareAndSwap(false, true) {
			r.overlapped.Store(true)
		}
		r.mu.Lock()
		r.total++
		f()
		r.mu.Unlock()
		r.running.Store(false)
	}
	return backend.Events{
		Changed: func(keys []string) {
			event(func() {
				for _, k := range keys {
					r.invalidations[strings.Clone(k)]++
				}
			})
		},
		Lost:      func() { event(func() { r.losses++ }) },
		Moved:     func() { event(func() { r.moves++ }) },
		Published: func(m string) { event(func() { r.messages = append(r.messages, m) }) },
	}
}

// invalidationsOf is how many invalidations of key were told so far.
func (r *recorder) invalidationsOf(key string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.invalidations[key]
}

func (r *recorder) lost() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.losses + r.moves
}

// lostAll is how often invalidations of all keys may have been lost.
func (r *recorder) lostAll() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.losses
}

func (r *recorder) told() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.total
}

// published returns the messages so far; those that say "subscribed" and those
// that do not parse are left out.
func (r *recorder) published() (out []changelog.Message) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, raw := range r.messages {
		if m, err := changelog.ParseMessage(raw); err == nil {
			out = append(out, m)
		}
	}
	return out
}
