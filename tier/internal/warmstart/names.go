// Package warmstart leaves the names of a store's hottest entries in the remote tier, and reads those that others have left:
// a process that starts knows what to read before it is asked for it. Names are those under which entries are stored, which
// hold a hash of the key.
package warmstart

import (
	"context"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/tiercache/tiercache/internal/backend"
	"github.com/tiercache/tiercache/local"
	"github.com/tiercache/tiercache/tier/internal/background"
	"github.com/tiercache/tiercache/tier/internal/keyspace"
	"github.com/tiercache/tiercache/tier/internal/record"
	"github.com/tiercache/tiercache/tier/internal/session"
)

const (
	// Names are left some seconds after a store was opened, and then every minute, while it is used.
	firstLeave, leaveEvery = 5 * time.Second, time.Minute
	// namesLast is for how long they are kept after the last process that left any.
	namesLast = time.Hour
	// format begins what is stored.
	format = "1\n"
)

// Names are the names of hot entries.
type Names struct {
	Session    *session.Session
	Local      *local.Cache[record.Item]
	Goroutines *background.Group
	Prefix     string // of the store
	Count      int    // how many are left, and read

	read sync.Once
	left []string // by others, the hottest first; set by read
}

// key is where the names are.
func (n *Names) key() string { return n.Prefix + ":{" + n.Prefix + "}:warm" }

// Run leaves names until the store is closed.
func (n *Names) Run() {
	for pause := firstLeave; ; pause = leaveEvery {
		select {
		case <-time.After(pause/2 + rand.N(pause)):
			if !n.Session.Tail.Idle() && n.Session.Conn.OpenOutage() == nil {
				n.leave()
			}
		case <-n.Goroutines.Ctx.Done():
			return
		}
	}
}

// leave leaves the names of the entries that were used last. That it fails is of no consequence: it is tried again.
func (n *Names) leave() {
	var b strings.Builder
	b.WriteString(format)
	for _, e := range n.Local.Hottest(n.Count) {
		if space, ok := e.Value.Space.(interface{ Names() *session.Namespace }); ok && !e.Value.Negative {
			b.WriteString(strings.TrimPrefix(space.Names().RemoteName(e.Key()), n.Prefix+":d:"))
			b.WriteByte('\n')
		}
	}
	if b.Len() == len(format) {
		return
	}
	ctx, cancel := n.Session.ChangeContext(n.Goroutines.Ctx, 1)
	defer cancel()
	_, _ = n.Session.Conn.Write(ctx, []backend.Write{{Key: n.key(), Envelope: []byte(b.String()), Expires: n.Session.ServerTimeIn(namesLast), Unread: true}})
}

// Of returns the names that others have left of the entries of a namespace, the hottest first. The first call reads them.
func (n *Names) Of(ctx context.Context, space *session.Namespace) (names []string) {
	n.read.Do(func() {
		rctx := n.Session.Request(ctx)
		defer rctx.End()
		if items, err := n.Session.Conn.GetUntracked(rctx, []string{n.key()}); err == nil {
			n.left = parse(items[0].Raw, n.Prefix, n.Count)
		}
	})
	for _, name := range n.left {
		if strings.HasPrefix(name, space.Prefix) && strings.LastIndexByte(name, ':') == len(space.Prefix)-1 {
			names = append(names, name)
		}
	}
	return names
}

// parse reads what is stored, of which any program may be the author: what is no name of an entry is left out.
func parse(raw, prefix string, most int) (names []string) {
	raw, ok := strings.CutPrefix(raw, format)
	if !ok {
		return nil
	}
	for line := range strings.SplitSeq(raw, "\n") {
		if len(names) == most {
			break
		}
		name := prefix + ":d:" + line
		if _, lease, ok := keyspace.Parse(name); ok && !lease && strings.HasSuffix(name, "}") {
			names = append(names, name)
		}
	}
	return names
}
