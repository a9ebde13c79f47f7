package remote

import (
	"context"
	"crypto/rand"
	"errors"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/valkey-io/valkey-go"

	"github.com/tiercache/tiercache/internal/mono"
	"github.com/tiercache/tiercache/internal/recovery"
	"github.com/tiercache/tiercache/internal/wire"
)

// asker sends a batch of commands and returns a reply for each.
type asker interface {
	ask(ctx context.Context, b *batch) []reply
}

// byClient asks by way of a link's client.
type byClient struct{ *link }

func (c byClient) ask(ctx context.Context, b *batch) []reply {
	return c.slowly(ctx, b)
}

// directly is the part of a link that goes past its client: over the connection that
// the client uses, once one is known. Which that is the client does not tell: it
// dials when it sees fit, and greets the server before it uses a connection. So it is
// asked to look for a key that nothing else asks for, and the connection over which
// that goes is the one.
//
// While there is none, and whenever a request cannot be sent that way, the client
// does it, with all that it knows of trying again and of other servers.
type directly struct {
	probe string // the key
	wire  atomic.Pointer[wire.Conn]

	finding sync.Mutex   // guards that what is found is the latest
	dialled int          // connections so far; guarded by finding
	next    atomic.Int64 // a mono.Time, when one may be looked for
	on      atomic.Bool  // the client has but one server
}

// probeKey is a key that no other store, nor an earlier one, asks for.
func probeKey(prefix string) string {
	return prefix + ":{" + prefix + "}:probe:" + rand.Text()
}

// goDirectly is called once the client is known to have but one server.
func (l *link) goDirectly() {
	l.on.Store(true)
}

// wireOf returns a connection that was dialled for the client, for it to use. The one
// before is not used any more: the client may turn to another server.
func (l *link) wireOf(conn net.Conn, o wire.Options) net.Conn {
	l.finding.Lock()
	defer l.finding.Unlock()
	l.dialled++
	number := l.dialled
	o.Token, o.Go, o.Panics = l.probe, l.spawn, l.panics
	var w *wire.Conn
	o.Found = func() {
		l.finding.Lock()
		defer l.finding.Unlock()
		if l.dialled == number {
			l.wire.Store(w)
		}
	}
	o.Ended = func() {
		if l.wire.CompareAndSwap(w, nil) {
			l.doubt.Store(true)
		}
	}
	w = wire.New(conn, o)
	l.wire.Store(nil)
	l.next.Store(0)
	return w
}

// busy reports whether answers are being waited for.
func (l *link) busy() bool {
	w := l.wire.Load()
	return w != nil && w.Busy()
}

// find has the client show which connection it uses, unless that is known or was tried
// a moment ago: between dialling and using a connection it may still show the one before.
func (l *link) find() {
	if !l.on.Load() || l.wire.Load() != nil {
		return
	}
	now, next := mono.Now(), l.next.Load()
	if int64(now) < next || !l.next.CompareAndSwap(next, int64(now.Add(findEvery))) {
		return
	}
	l.spawn(func() {
		ctx, cancel := context.WithTimeout(l.open, findEvery)
		defer cancel()
		l.Client.Do(ctx, l.B().Exists().Key(l.probe).Build())
	})
}

// findEvery is how often the client is asked at most.
const findEvery = time.Second

// get reads a key.
func (l *link) get(ctx context.Context, key string) reply {
	return l.last(ctx, []string{"GET", key})
}

// last sends commands that only read, and returns the answer to the last.
func (l *link) last(ctx context.Context, cmds ...[]string) reply {
	if w := l.wire.Load(); w != nil && !l.closed() {
		r, err := w.AskLast(ctx, cmds...)
		if err == nil && !elsewhere(r) {
			return direct(r)
		}
		if gaveUp(err) {
			return reply{err: err}
		}
	}
	b := newBatch()
	for _, words := range cmds {
		b.add(words...)
	}
	return l.slowly(ctx, b)[len(cmds)-1]
}

// ask implements [asker].
func (l *link) ask(ctx context.Context, b *batch) []reply {
	if w := l.wire.Load(); w != nil && !l.closed() && len(b.cmds) > 0 {
		if replies := l.over(ctx, w, b); replies != nil {
			return replies
		}
	}
	return l.slowly(ctx, b)
}

// later is ask, and what run makes of it, for who does not wait: then is told of the
// replies, perhaps by whoever reads the connection, which it must not hold up.
func (l *link) later(ctx context.Context, b *batch, then func([]reply)) {
	aside := func() {
		b.queue()
		if !l.spawn(func() {
			var replies []reply
			defer func() {
				if replies == nil { // it has panicked, and then is to be told once in any case
					replies = b.failed(recovery.ErrPanicked)
				}
				then(replies)
			}()
			replies = run(ctx, byClient{l}, b)
		}) {
			then(b.failed(valkey.ErrClosing))
		}
	}
	w := l.wire.Load()
	if w == nil {
		aside()
		return
	}
	answers := make([]wire.Reply, len(b.cmds))
	if w.Send(ctx, answers, b.whenQueued(), func(_ bool, err error) {
		replies := l.heard(b, answers, err)
		if replies == nil || unknownScript(replies) {
			aside()
			return
		}
		then(replies)
	}, b.cmds...) != nil {
		aside()
	}
}

// over returns nil if the client is to do it.
func (l *link) over(ctx context.Context, w *wire.Conn, b *batch) []reply {
	answers := make([]wire.Reply, len(b.cmds))
	_, err := w.Ask(ctx, answers, b.whenQueued(), b.cmds...)
	return l.heard(b, answers, err)
}

// heard returns the replies, or nil if the client is to do it. With an error the
// answers are not looked at: some may still be written to.
func (l *link) heard(b *batch, answers []wire.Reply, err error) []reply {
	switch {
	case errors.Is(err, wire.ErrRefused), err == nil && othersAnswer(answers, b):
		return nil
	case err != nil && !gaveUp(err) && (l.closed() || b.onlyReads()):
		return nil // which the client tries again, too
	case err != nil:
		return b.failed(err)
	}
	replies := make([]reply, len(answers))
	for i := range replies {
		replies[i] = direct(answers[i])
	}
	return replies
}

// gaveUp reports whether err says that the caller's context ended.
func gaveUp(err error) bool {
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)
}

// othersAnswer reports whether the client is to send all again: nothing of it was done,
// or nothing of it does anything.
func othersAnswer(answers []wire.Reply, b *batch) bool {
	n := 0
	for _, r := range answers {
		if elsewhere(r) {
			n++
		}
	}
	return n > 0 && (n == len(answers) || b.onlyReads())
}

// elsewhere reports whether the server has not done what it was asked, and the client
// knows what to do about it: wait, or ask another.
func elsewhere(r wire.Reply) bool {
	if r.Kind != wire.Error {
		return false
	}
	switch code, _, _ := strings.Cut(r.Text, " "); code {
	case "LOADING", "TRYAGAIN", "MOVED", "ASK", "CLUSTERDOWN", "REDIRECT":
		return true
	}
	return false
}

// slowly asks by way of the client.
func (l *link) slowly(ctx context.Context, b *batch) []reply {
	replies := b.by(ctx, l)
	if len(replies) > 0 && (replies[0].err == errNull || !Unreachable(replies[0].err)) {
		l.find()
	}
	return replies
}
