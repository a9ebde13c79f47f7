package remote

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"

	"github.com/valkey-io/valkey-go"
)

// link sends requests over a client and never holds a caller longer than its
// context. The client itself does: while one goroutine dials, the others wait
// for it without looking at theirs. So once a connection is in doubt, and until
// a request has been answered, requests run beside their callers.
type link struct {
	valkey.Client
	doubt   atomic.Bool
	waiting atomic.Int64 // requests that run beside their callers

	mu     sync.Mutex      // guards that open is ended, and that nothing joins beside after it
	open   context.Context // until Close; the client of a cluster goes on for a while after its end
	end    context.CancelFunc
	beside sync.WaitGroup
}

// newLink returns a link without a client.
func newLink() *link {
	l := &link{}
	l.open, l.end = context.WithCancel(context.Background())
	return l
}

// Close ends the client and waits for the requests that it makes return. Those to
// one server of a cluster would be tried again until their contexts end: the
// client of the server does not learn that the cluster's has ended.
func (l *link) Close() {
	l.mu.Lock()
	l.end()
	l.mu.Unlock()
	l.Client.Close()
	l.beside.Wait()
}

func (l *link) closed() bool { return l.open.Err() != nil }

// maxWaiting bounds the goroutines that wait for a connection; beyond it
// requests fail at once.
const maxWaiting = 256

var errNoConnection = errors.New("no connection, and too many requests wait for one")

// Do implements [valkey.CommandClient].
func (l *link) Do(ctx context.Context, cmd valkey.Completed) valkey.ValkeyResult {
	cmd = cmd.Pin() // see DoMulti
	if l.closed() {
		return valkey.NewErrorResult(valkey.ErrClosing)
	}
	if !l.doubt.Load() {
		r := l.Client.Do(ctx, cmd)
		l.note(r.NonValkeyError())
		return r
	}
	return l.runBeside(ctx, 1, func(ctx context.Context) []valkey.ValkeyResult {
		return []valkey.ValkeyResult{l.Client.Do(ctx, cmd)}
	})[0]
}

// DoMulti implements [valkey.CommandClient].
func (l *link) DoMulti(ctx context.Context, cmds ...valkey.Completed) []valkey.ValkeyResult {
	if len(cmds) == 0 {
		return nil
	}
	// Pinned, so that the client does not use their memory for the next commands.
	// It does once a command has been answered, also if that was on a second
	// connection, while the goroutine that writes to the first, lost one may still
	// read it (the race detector told, in a test that kills connections).
	for i := range cmds {
		cmds[i] = cmds[i].Pin()
	}
	if l.closed() {
		return failures(len(cmds), valkey.ErrClosing)
	}
	if !l.doubt.Load() {
		rs := l.Client.DoMulti(ctx, cmds...)
		l.note(rs[0].NonValkeyError())
		return rs
	}
	return l.runBeside(ctx, len(cmds), func(ctx context.Context) []valkey.ValkeyResult { return l.Client.DoMulti(ctx, cmds...) })
}

// note keeps whether the connection is in doubt: a request that got no answer
// makes it so, an answer ends it.
func (l *link) note(err error) {
	if bad := err != nil && !valkey.IsValkeyNil(err); bad != l.doubt.Load() {
		l.doubt.Store(bad)
	}
}

func (l *link) runBeside(ctx context.Context, n int, f func(context.Context) []valkey.ValkeyResult) []valkey.ValkeyResult {
	if l.waiting.Add(1) > maxWaiting {
		l.waiting.Add(-1)
		return failures(n, errNoConnection)
	}
	done := make(chan []valkey.ValkeyResult, 1)
	if !l.spawn(func() {
		defer l.waiting.Add(-1)
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		defer context.AfterFunc(l.open, cancel)()
		rs := f(ctx)
		l.note(rs[0].NonValkeyError())
		for i := range rs {
			// It may say that a context ended, which is not the caller's.
			if rs[i].NonValkeyError() != nil && l.closed() {
				rs[i] = valkey.NewErrorResult(valkey.ErrClosing)
			}
		}
		done <- rs
	}) {
		l.waiting.Add(-1)
		return failures(n, valkey.ErrClosing)
	}
	select {
	case rs := <-done:
		return rs
	case <-ctx.Done():
		return failures(n, ctx.Err())
	}
}

// spawn runs f in a goroutine that Close waits for. It returns false, without
// running it, after Close.
func (l *link) spawn(f func()) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed() {
		return false
	}
	l.beside.Go(f)
	return true
}

func failures(n int, err error) []valkey.ValkeyResult {
	rs := make([]valkey.ValkeyResult, n)
	for i := range rs {
		rs[i] = valkey.NewErrorResult(err)
	}
	return rs
}

// ask implements [asker].
func (l *link) ask(ctx context.Context, b *batch) []reply { return b.by(ctx, l) }

// get implements [carrier].
func (l *link) get(ctx context.Context, key string) reply {
	return l.ask(ctx, &batch{cmds: [][]string{{"GET", key}}})[0]
}

// later implements [carrier].
func (l *link) later(ctx context.Context, b *batch, then func([]reply)) {
	if !l.spawn(func() { then(run(ctx, l, b)) }) {
		then(b.failed(valkey.ErrClosing))
	}
}
