package session

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	mrand "math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"weak"

	"github.com/tiercache/tiercache/internal/backend"
	"github.com/tiercache/tiercache/internal/changelog"
	"github.com/tiercache/tiercache/invalidation"
	"github.com/tiercache/tiercache/tier/internal/keyspace"
)

// bypass is which namespaces an operator has had bypassed: processes use neither tier for them, and their loaders answer.
type bypass struct {
	told atomic.Bool // of a list that may be there

	mu         sync.Mutex                // guards what follows
	namespaces []weak.Pointer[Namespace] // which are released when nothing else refers to them
	most       int                       // of namespaces, before those that are gone are looked for
	list       []changelog.Bypass
	following  bool          // a goroutine is, that ends when nothing is bypassed
	news       chan struct{} // has one if the list is to be read again
}

// join adds a namespace, which may be bypassed already.
func (b *bypass) join(n *Namespace) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.namespaces) >= b.most {
		b.forgetLocked()
	}
	b.namespaces = append(b.namespaces, weak.Make(n))
	n.bypassed.Store(covers(b.list, n.Path))
}

// forgetLocked drops what refers to namespaces that are gone.
func (b *bypass) forgetLocked() {
	kept := slices.DeleteFunc(b.namespaces, func(p weak.Pointer[Namespace]) bool { return p.Value() == nil })
	b.namespaces = append([]weak.Pointer[Namespace](nil), kept...) // which gives back what is not needed any more
	b.most = 2*len(b.namespaces) + 64
}

// ForgetNamespaces drops what refers to namespaces that are gone.
func (s *Session) ForgetNamespaces() {
	s.bypass.mu.Lock()
	defer s.bypass.mu.Unlock()
	s.bypass.forgetLocked()
}

func covers(list []changelog.Bypass, path string) bool {
	return slices.ContainsFunc(list, func(b changelog.Bypass) bool { return path == b.Namespace || strings.HasPrefix(path, b.Namespace+":") })
}

// Bypass has a namespace, and those below it, bypassed in every process for a time; 0 ends that. The list is stored first, then every process
// is told to read it: at once by the change's message, and by the log if that is lost.
func (s *Session) Bypass(ctx context.Context, path string, d time.Duration) error {
	err := s.editBypasses(ctx, func(list []changelog.Bypass) []changelog.Bypass {
		list = slices.DeleteFunc(list, func(b changelog.Bypass) bool { return b.Namespace == path })
		if d > 0 {
			list = append(list, changelog.Bypass{Namespace: path, Until: s.ServerTimeIn(d).UTC()})
		}
		return list
	})
	if err != nil {
		return err
	}
	rctx, cancel := s.ChangeContext(ctx, 1)
	defer cancel()
	if _, err = s.Tail.Change(rctx, []invalidation.Scope{changelog.BypassScope}, false, 0); err != nil {
		return err
	}
	return s.refreshBypasses(rctx)
}

const (
	// mostBypassEdits is how often the right to edit the list is asked for: for some ten seconds, in which the rights of three processes that
	// died with them end.
	mostBypassEdits = 120
	betweenEdits    = 100 * time.Millisecond
)

var errBypassesInUse = errors.New("other processes are changing which namespaces are bypassed: try again")

// editBypasses changes the stored list. A lease keeps other processes from it meanwhile, and what is written without it is refused:
//
//	A: reads the list
//	B: reads it, adds a namespace, and stores it
//	A: would store a list without that namespace
func (s *Session) editBypasses(ctx context.Context, edit func([]changelog.Bypass) []changelog.Bypass) error {
	key, token := changelog.BypassKey(s.Cfg.Prefix), "bypass-"+rand.Text()
	for range mostBypassEdits {
		done, err := s.tryEditBypasses(ctx, key, token, edit)
		if done || err != nil {
			return err
		}
		select {
		case <-time.After(betweenEdits/2 + mrand.N(betweenEdits/2)):
		case <-ctx.Done():
			return ctx.Err()
		case <-s.goroutines.Ctx.Done():
			// guard: bypass-ends-with-store
			return backend.ErrClosed
		}
	}
	return errBypassesInUse
}

// tryEditBypasses changes the list, unless another process is about to. The lease ends with the write.
func (s *Session) tryEditBypasses(ctx context.Context, key, token string, edit func([]changelog.Bypass) []changelog.Bypass) (done bool, err error) {
	ctx, cancel := s.ChangeContext(ctx, 1)
	defer cancel()
	leases, err := s.Conn.Lease(ctx, []backend.LeaseRequest{{Key: key, Token: token, TTL: backend.DefaultLeaseTTL, Any: true}})
	if err == nil {
		err = leases[0].Err
	}
	if err == nil && !leases[0].Acquired {
		return false, nil
	}
	defer func() {
		if !done { // also if it is not known whether it was acquired
			rctx, cancel := s.ChangeContext(context.WithoutCancel(ctx), 1)
			_ = s.Conn.Release(rctx, []string{key}, token)
			cancel()
		}
	}()
	if err != nil {
		return false, err
	}
	list, err := s.readBypasses(ctx)
	if err != nil {
		return false, err
	}
	list = edit(list)
	raw, err := changelog.EncodeBypasses(list)
	if err != nil {
		return false, err
	}
	last := s.ServerTimeIn(time.Minute) // an empty list too
	for _, b := range list {
		if b.Until.After(last) {
			last = b.Until
		}
	}
	// guard: bypass-edit-holds-lease
	written, err := s.Conn.Write(ctx, []backend.Write{{Key: key, Token: token, Envelope: raw, Expires: last}})
	if err == nil {
		err = written[0].Err
	}
	return err == nil && written[0].Stored, err
}

// readBypasses reads the list. One that cannot be decoded is empty.
func (s *Session) readBypasses(ctx context.Context) ([]changelog.Bypass, error) {
	items, err := s.Conn.GetUntracked(ctx, []string{changelog.BypassKey(s.Cfg.Prefix)})
	if err == nil {
		err = items[0].Err
	}
	if err != nil {
		return nil, err
	}
	list, err := changelog.ParseBypasses(items[0].Raw, s.ServerTimeIn(0))
	if err != nil {
		s.Cfg.Logger.Warn("tiercache: bypassed namespaces", "error", err)
	}
	return list, nil
}

func (s *Session) refreshBypasses(ctx context.Context) error {
	list, err := s.readBypasses(ctx)
	if err != nil {
		return err
	}
	s.bypass.mu.Lock()
	s.bypass.list = list
	s.bypass.mu.Unlock()
	s.applyBypasses()
	s.followBypasses(false)
	return nil
}

// applyBypasses turns to what is bypassed now. It returns for how long that stays so; 0: nothing is bypassed.
func (s *Session) applyBypasses() (rest time.Duration) {
	now := s.ServerTimeIn(0)
	b := &s.bypass
	b.mu.Lock()
	defer b.mu.Unlock()
	// guard: bypass-ends
	b.list = slices.DeleteFunc(b.list, func(b changelog.Bypass) bool { return !b.Until.After(now) })
	var prefixes []string
	for _, one := range b.list {
		if left := one.Until.Sub(now); rest == 0 || left < rest {
			rest = left
		}
		prefixes = append(prefixes, keyspace.New(s.Cfg.Prefix, one.Namespace).Prefix)
	}
	if prefixes == nil {
		s.Conn.Bypassed.Store(nil)
	} else {
		s.Conn.Bypassed.Store(&prefixes)
	}
	for _, p := range b.namespaces {
		if n := p.Value(); n != nil {
			n.bypassed.Store(covers(b.list, n.Path))
		}
	}
	return rest
}

// onBypass is called when the list may have changed. It may run on the reader goroutine of a connection.
func (s *Session) onBypass() {
	s.bypass.told.Store(true)
	if s.following.Load() != nil { // else begin calls it again
		s.followBypasses(true)
	}
}

// followBypasses has a goroutine read the list, if it is to be read, and end what has passed.
func (s *Session) followBypasses(read bool) {
	b := &s.bypass
	b.mu.Lock()
	if b.news == nil {
		b.news = make(chan struct{}, 1)
	}
	if read {
		select {
		case b.news <- struct{}{}:
		default:
		}
	}
	start := !b.following && (read || len(b.list) > 0)
	b.following = b.following || start
	b.mu.Unlock()
	if start && !s.goroutines.Spawn(s.keepBypasses) {
		b.mu.Lock()
		b.following = false
		b.mu.Unlock()
	}
}

// keepBypasses reads the list when it may have changed, until it has been read and nothing is bypassed.
func (s *Session) keepBypasses() {
	b := &s.bypass
	var failed bool
	for {
		select {
		case <-b.news:
			failed = true
		default:
		}
		if failed {
			ctx, cancel := context.WithTimeout(s.goroutines.Ctx, max(s.Cfg.Timeout, time.Second))
			list, err := s.readBypasses(ctx)
			cancel()
			if failed = err != nil; !failed {
				b.mu.Lock()
				b.list = list
				b.mu.Unlock()
			}
		}
		rest := s.applyBypasses()
		if failed {
			rest = s.Cfg.Heartbeat // and try again
		}
		b.mu.Lock()
		if rest == 0 && len(b.news) == 0 {
			b.following = false
			b.mu.Unlock()
			return
		}
		b.mu.Unlock()
		select {
		case <-time.After(max(rest, time.Millisecond)):
		case <-b.news:
			failed = true
		case <-s.goroutines.Ctx.Done():
			return
		}
	}
}

// BypassWarnings says what is bypassed.
func (s *Session) BypassWarnings() (all []string) {
	s.bypass.mu.Lock()
	defer s.bypass.mu.Unlock()
	for _, b := range s.bypass.list {
		all = append(all, fmt.Sprintf("the namespace %.80q, with those below it, is bypassed until %s: its values come from loaders", b.Namespace, b.Until.UTC().Format(time.DateTime+" MST")))
	}
	return all
}
