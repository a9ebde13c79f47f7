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
	"github.com/tiercache/tiercache/internal/wire"
)

// asker sends commands and returns an answer for each.
type asker interface {
	ask(ctx context.Context, cmds ...valkey.Completed) []reply
	B() valkey.Builder
}

// byClient asks by way of a link's client.
type byClient struct{ *link }

func (b byClient) ask(ctx context.Context, cmds ...valkey.Completed) []reply {
	return b.slowly(ctx, cmds...)
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
	o.Token, o.Go = l.probe, l.spawn
	var w *wire.Conn
	o.Found = func(*wire.Conn) {
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
	if w := l.wire.Load(); w != nil && !l.closed() {
		r, err := w.AskOne(ctx, "GET", key)
		if err == nil && !elsewhere(r) {
			return direct(r)
		}
		if gaveUp(err) {
			return reply{err: err}
		}
	}
	return l.slowly(ctx, l.B().Get().Key(key).Build())[0]
}

// ask implements [asker].
func (l *link) ask(ctx context.Context, cmds ...valkey.Completed) []reply {
	if w := l.wire.Load(); w != nil && !l.closed() && len(cmds) > 0 {
		if replies := l.over(ctx, w, cmds); replies != nil {
			return replies
		}
	}
	return l.slowly(ctx, cmds...)
}

// over returns nil if the client is to do it.
func (l *link) over(ctx context.Context, w *wire.Conn, cmds []valkey.Completed) []reply {
	words := make([][]string, len(cmds))
	for i := range cmds {
		words[i] = cmds[i].Commands()
	}
	answers, err := w.Ask(ctx, words...)
	switch {
	case errors.Is(err, wire.ErrRefused), err == nil && othersAnswer(answers, cmds):
		return nil
	case err != nil && !gaveUp(err) && (l.closed() || allReadOnly(cmds)):
		return nil // which the client tries again, too
	}
	replies := make([]reply, len(cmds))
	for i := range replies {
		if err != nil {
			replies[i].err = err
		} else {
			replies[i] = direct(answers[i])
		}
	}
	return replies
}

// gaveUp reports whether err says that the caller's context ended.
func gaveUp(err error) bool {
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)
}

// othersAnswer reports whether the client is to send all again: nothing of it was done,
// or nothing of it does anything.
func othersAnswer(answers []wire.Reply, cmds []valkey.Completed) bool {
	n := 0
	for _, r := range answers {
		if elsewhere(r) {
			n++
		}
	}
	return n > 0 && (n == len(answers) || allReadOnly(cmds))
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

func allReadOnly(cmds []valkey.Completed) bool {
	for i := range cmds {
		if !cmds[i].IsReadOnly() {
			return false
		}
	}
	return true
}

// slowly asks by way of the client.
func (l *link) slowly(ctx context.Context, cmds ...valkey.Completed) []reply {
	results := l.DoMulti(ctx, cmds...)
	replies := allOf(results)
	if len(results) > 0 && results[0].NonValkeyError() == nil {
		l.find()
	}
	return replies
}

func allOf(results []valkey.ValkeyResult) []reply {
	replies := make([]reply, len(results))
	for i := range results {
		replies[i] = clients(results[i])
	}
	return replies
}
