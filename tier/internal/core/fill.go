package core

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"time"

	"github.com/tiercache/tiercache/internal/backend"
	"github.com/tiercache/tiercache/internal/mono"
	"github.com/tiercache/tiercache/internal/remoteerr"
	"github.com/tiercache/tiercache/internal/unawaited"
	"github.com/tiercache/tiercache/remote"
	"github.com/tiercache/tiercache/tier/internal/breaker"
	"github.com/tiercache/tiercache/tier/internal/inflight"
	"github.com/tiercache/tiercache/tier/internal/pieces"
	"github.com/tiercache/tiercache/tier/internal/record"
	"github.com/tiercache/tiercache/tier/internal/session"
)

// pendingFill is one loaded value on its way into both tiers.
type pendingFill struct {
	call  *inflight.Call
	it    *record.Item
	write backend.Write
	clean bool // no invalidation of the key came between the taking of its lease and the write
	// unlinked: it stands beside an entry of another encoding, of whose changes this process is
	// not told any more.
	unlinked bool
}

// fill ends the calls with what was loaded, stores what may be stored, and then ends
// the run.
func (l *loadRun) fill(fs []*inflight.Call, r loadResult) {
	ctx := context.WithoutCancel(l.Values)
	done := make([]finishedLoad, len(fs))
	for i, f := range fs {
		done[i] = l.finished(ctx, f, r, i)
	}
	l.dropOlder(ctx, fs, done)
	var fills []pendingFill
	var release []string
	var unstored []*inflight.Call
	for i, f := range fs {
		d := &done[i]
		if d.answered() {
			l.s.pauses.Succeed(f.H)
		}
		switch {
		case d.err != nil:
			l.fail(f, d.err)
		case d.leaves(f):
			// Callers that have joined it load the value themselves: it would be newer than what stays.
			d.it.Release(l.s.Session.Tail)
			l.finishAll([]*inflight.Call{f}, inflight.Outcome{Err: errAbandoned})
		case d.envelope != nil && !f.WithoutLease():
			fills = append(fills, pendingFill{call: f, it: d.it, write: backend.Write{
				Key: f.Name, Token: l.token, LeaseTTL: l.s.Config.LeaseTTL, Envelope: d.envelope, Expires: expiryOfFill(f, d.envelope)}})
			continue
		default:
			if d.envelope != nil && f.Lease == inflight.LeaseRefused {
				l.ns.Stats.FillErrors.Add(1)
				l.ns.Stats.Full.Add(1)
				l.s.observeLater(l.fillEvent(0, remote.ErrFull))
			}
			l.keepUnstored(f, d.it, d.kept)
		}
		if !f.WithoutLease() && !l.cfg.LocalOnly {
			release, unstored = append(release, f.Name), append(unstored, f)
		}
	}
	if len(release) > 0 {
		l.giveBackRights(unstored...)
		// guard: rights-before-leases
		l.rights.wait()
		if left, err := pieces.Each(release, func(piece []string) error {
			rctx := l.s.Session.Request(ctx)
			defer rctx.End()
			return l.s.Session.Conn.Release(rctx, piece, l.token)
		}); err != nil {
			l.countRemoteError(err)
			// guard: release-lease-of-failed-load
			l.releaseLater(left)
		}
	}
	switch n := pieces.Next(len(fills), func(i int) int { return len(fills[i].write.Envelope) }); {
	case len(fills) == 0:
		l.finish()
	case n < len(fills):
		l.storeInPieces(ctx, fills)
	default:
		l.store(ctx, fills)
	}
}

// finishedLoad is what became of one call's load.
type finishedLoad struct {
	it       *record.Item
	envelope []byte        // nil: not to be stored
	kept     time.Duration // how long a copy may stay here; 0: it may not
	discard  bool          // since the loader says so
	err      error
}

// answered reports whether it is known what there is: a value, or none.
func (d *finishedLoad) answered() bool { return d.err == nil || errors.Is(d.err, ErrNotFound) }

// leaves reports whether f was to renew a value in the background, and is to leave that alone.
func (d *finishedLoad) leaves(f *inflight.Call) bool {
	return f.RefreshTarget != nil && d.discard && d.err == nil
}

// dropOlder removes what the tiers hold of keys whose loader has answered with
// something that is not stored ("not found", DoNotStore, not encodable): after
// a refresh that gave the new value, the older one must not be served again. (See leaves for one that
// gives it to no caller.)
//
// The removal is bound to the lease, as a fill is: the callers may have left, and a value
// that was set since must not be removed. Without a lease, because the server had no
// memory for it, the removal is bound to a time window instead.
func (l *loadRun) dropOlder(ctx context.Context, fs []*inflight.Call, done []finishedLoad) {
	var offline []string
	var leased, unleased []*inflight.Call
	for i, f := range fs {
		d := &done[i]
		if f.Lease == inflight.LeaseSkipped && f.Force && d.envelope != nil {
			// guard: I10-unleased-refresh
			offline = append(offline, f.Name)
		}
		failed := !d.answered()
		takesItsPlace := d.envelope != nil && f.Lease != inflight.LeaseRefused || l.cfg.LocalOnly && d.kept > 0
		// guard: unstored-renewal-leaves-value
		if d.leaves(f) || failed || takesItsPlace {
			continue
		}
		switch {
		case l.cfg.LocalOnly, f.Lease == inflight.LeaseSkipped && f.Force:
			l.s.Local.Remove(f.H)
		case f.Lease == inflight.LeaseSkipped:
			l.dropCopy(f.H)
		case !f.MayReplace():
			// The remote tier has nothing, and a copy from before may still be here: nothing tells of
			// an entry that was evicted, or removed after a load that was not stored.
			//
			//	A: has a copy of 1, past its TTL; B removes the entry; there is no tracking
			//	A: loads 2, which is not to be stored, and returns it
			//	A: is to load again, fails, and would fall back on 1
			// guard: I10-unstored-leaves-no-copy
			l.s.Local.Remove(f.H)
		// guard: G6-discard-by-lease
		case f.Lease == inflight.LeaseRefused:
			unleased = append(unleased, f)
		default:
			leased = append(leased, f)
		}
	}
	if len(offline) > 0 {
		// Refresh was to replace the entry of the remote tier, which did not answer the
		// request for a lease. While it is known to be away nothing is sent.
		_ = l.deleteInTime(ctx, offline) // counted there
	}
	l.removeEntries(ctx, leased, l.discard)
	l.removeEntries(ctx, unleased, l.deleteInTime)
}

// removeEntries removes the entries of calls with remove, which counts errors, and invalidates
// what this process has read of them: see deleteAll.
func (l *loadRun) removeEntries(ctx context.Context, fs []*inflight.Call, remove func(ctx context.Context, names []string) error) {
	if len(fs) == 0 {
		return
	}
	names := make([]string, len(fs))
	for i, f := range fs {
		names[i] = f.Name
		l.s.Table.InvalidateKey(f.H, nil)
		defer l.s.Table.InvalidateKey(f.H, nil)
	}
	if !l.cfg.LocalOnly {
		_ = remove(ctx, names)
	}
}

// discard deletes those of the keys whose leases the run still holds.
func (l *loadRun) discard(ctx context.Context, names []string) error {
	_, err := pieces.Each(names, func(piece []string) error {
		rctx := l.s.Session.Request(ctx)
		defer rctx.End()
		return l.s.Session.Conn.Discard(rctx, piece, l.token)
	})
	if err != nil {
		l.countRemoteError(err)
	}
	return err
}

// keepUnstored ends a call whose value is not stored remotely. The value is kept
// locally by local-only caches, while the server is away (see allowOutage), and if it is too
// long for the remote tier and the key was read with its lease: a change of it is told then.
// (Not in a cluster, where it is not known that the server that was read tells of it.)
func (l *loadRun) keepUnstored(f *inflight.Call, it *record.Item, kept time.Duration) {
	keeps := kept > 0 && l.usesLocal(l.o) && (l.allowOutage(f, it) || l.cfg.LocalOnly || f.Lease == inflight.LeaseOwned && !l.s.Session.Sharded())
	if !keeps || !l.s.Table.InsertIfUnchanged(f.H, &f.Watch, it) {
		if f.Force {
			// guard: I10-unleased-refresh-local
			l.s.Local.Remove(f.H) // the copy that Refresh was to replace
		}
		it.Release(l.s.Session.Tail)
	}
	l.finishAll([]*inflight.Call{f}, inflight.Outcome{Served: inflight.Served{It: it, Origin: inflight.FromLoader}})
}

// store writes loaded values to the remote tier. Their callers are answered
// before that is acknowledged, unless too many such writes are under way.
//
// A value is put into the local tier at once as well, provisionally: it is believed
// no longer than the proof of that moment lasts. Once the write is acknowledged the copy
// stays, unless invalidations show that the key was changed by another write: see
// Table.CommitProvisional.
func (l *loadRun) store(ctx context.Context, fills []pendingFill) {
	writes := make([]backend.Write, len(fills))
	var bytes int64
	for i := range fills {
		l.keepProvisionally(&fills[i])
		writes[i] = fills[i].write
		bytes += int64(len(writes[i].Envelope))
	}
	bytes = min(bytes, maxFilling) // what is larger is under way alone
	begun := mono.Now()
	rctx := l.s.Session.Request(ctx)
	if !l.s.fills.TryAcquire(bytes) {
		written, err := l.s.Session.Conn.Write(rctx, writes)
		rctx.End()
		l.stored(fills, begun, written, err)
		return
	}
	writes[len(writes)-1].Queued = func() { l.answer(fills) }
	l.s.Session.Conn.WriteLater(rctx, writes, func(written []backend.Written, err error) {
		rctx.End()
		l.s.fills.Release(bytes)
		// guard: reader-does-not-settle-failed-fill
		// guard: reader-does-not-run-observer
		if l.s.Config.Observer == nil && err == nil && !slices.ContainsFunc(written, backend.Written.Refused) {
			l.stored(fills, begun, written, err)
			return
		}
		// After a write that was not performed, withdraw may send a request and wait for its
		// answer, which the reader goroutine cannot do: it reads that answer. And the observer may
		// be slow.
		l.s.Goroutines.RunInBackground(func() { l.stored(fills, begun, written, err) })
	})
}

// storeInPieces is store of more than one request is to store: one piece after another. It answers the callers of all before
// the first, as store does.
func (l *loadRun) storeInPieces(ctx context.Context, fills []pendingFill) {
	var bytes int64
	for i := range fills {
		l.keepProvisionally(&fills[i])
		bytes += int64(len(fills[i].write.Envelope))
	}
	bytes = min(bytes, maxFilling)
	if !l.s.fills.TryAcquire(bytes) {
		l.storePieces(fills, func() (context.Context, func()) {
			rctx := l.s.Session.Request(ctx)
			return rctx, rctx.End
		})
		return
	}
	l.answer(fills)
	l.s.Goroutines.RunInBackground(func() {
		defer l.s.fills.Release(bytes)
		l.storePieces(fills, func() (context.Context, func()) { // no caller waits
			rctx, cancel := context.WithTimeoutCause(ctx, max(l.s.Config.Timeout, time.Second), breaker.ErrRemoteTimeout)
			return rctx, cancel
		})
	})
}

// storePieces writes, each piece with a context of its own, until two in a row are not answered, and ends the run.
func (l *loadRun) storePieces(fills []pendingFill, request func() (ctx context.Context, end func())) {
	defer l.finish()
	defer func() { l.dropFills(fills) }() // after a panic
	var silence pieces.Silence
	for len(fills) > 0 {
		piece := fills[:pieces.Next(len(fills), func(i int) int { return len(fills[i].write.Envelope) })]
		writes := make([]backend.Write, len(piece))
		for i := range piece {
			writes[i] = piece[i].write
		}
		begun := mono.Now()
		ctx, end := request()
		written, err := l.s.Session.Conn.Write(ctx, writes)
		end()
		// guard: silent-piece-of-fills-is-not-the-last
		if silence.Ends(err) || breaker.Refused(err) {
			piece = fills
		}
		fills = fills[len(piece):]
		l.settleAll(piece, begun, written, err)
	}
}

// stored ends a run whose writes are done, or given up. It calls the observer last,
// since that may end this goroutine.
func (l *loadRun) stored(fills []pendingFill, begun mono.Time, written []backend.Written, err error) {
	// guard: run-ends-on-goexit
	defer l.finish()
	l.settleAll(fills, begun, written, err)
}

// settleAll ends the calls of fills whose writes are done, or given up.
func (l *loadRun) settleAll(fills []pendingFill, begun mono.Time, written []backend.Written, err error) {
	settled := false
	defer func() {
		// guard: panic-in-fill-ends-calls
		if !settled {
			l.dropFills(fills)
		}
	}()
	took := mono.Now().Sub(begun)
	if err != nil {
		written = make([]backend.Written, len(fills))
		for i := range written {
			written[i].Err = err
		}
	}
	// guard: I10-withdraw-before-end
	l.withdraw(fills, written)
	var refused []string
	for i, fl := range fills {
		if e := written[i].Err; e != nil && !errors.Is(e, remote.ErrFull) { // ErrFull is handled by settle
			// guard: I8-refused-fill-releases-lease
			refused = append(refused, fl.write.Key)
		}
		l.settle(fl, written[i])
		fl.call.Finish(inflight.Outcome{Served: inflight.Served{It: fl.it, Origin: inflight.FromLoader}}) // unless answer has
		l.s.Table.Unregister(fl.call)
	}
	if len(refused) > 0 {
		l.releaseLater(refused) // or the next load would wait for our lease to expire
	}
	settled = true
	if e := breaker.Worst(written, nil); err != nil || remoteerr.Away(e) {
		l.countRemoteError(e)
	}
	for i := range written {
		l.countFill(written[i], took) // last: a fill that is counted is complete
	}
}

// withdraw removes older values that the remote tier may still have, of keys whose new
// value was returned and could not be stored: no caller in this process is to be given
// an older value after the new one. It runs before the calls are unregistered, so that
// until then callers share what was loaded.
//
// A write that was not answered may have been performed, or be performed later. Either
// the write ends the lease and the withdrawal does nothing, or the reverse.
//
// A write that was fenced is no reason to withdraw if the key was set or deleted
// meanwhile: the server then has something newer. But a lease can also be evicted, or
// expire in a process that was suspended. Without tracking these cannot be told apart;
// nor, with it, if an invalidation of an earlier write came late. Then the entry stays.
func (l *loadRun) withdraw(fills []pendingFill, written []backend.Written) {
	var unanswered, fenced []string
	for i := range fills {
		fl, w := &fills[i], &written[i]
		switch {
		case !fl.call.MayReplace() || w.Stored || w.Expired || errors.Is(w.Err, remote.ErrFull): // settle handles ErrFull
			continue
		case w.Err != nil:
			// guard: I10-unanswered-fill
			unanswered = append(unanswered, fl.write.Key)
		// guard: keep-what-was-set-meanwhile
		case fl.clean && !l.s.Config.NoTracking && l.s.Table.Unchanged(fl.call.H, &fl.call.Watch):
			// guard: I10-fenced-fill
			fenced = append(fenced, fl.write.Key)
		default:
			continue
		}
		fl.call.Finish(inflight.Outcome{Served: inflight.Served{It: fl.it, Origin: inflight.FromLoader}}) // unless answer has: no caller waits for this
	}
	if len(unanswered)+len(fenced) == 0 {
		return
	}
	if len(unanswered) > 0 {
		_ = l.discard(unawaited.Background(), unanswered) // counted there
	}
	if len(fenced) > 0 {
		_ = l.deleteInTime(unawaited.Background(), fenced)
	}
}

// dropFills ends the calls of fills that a panic kept from being settled, and removes
// their local copies.
func (l *loadRun) dropFills(fills []pendingFill) {
	for _, fl := range fills {
		l.s.Table.RemoveProvisional(fl.call.H, &fl.call.Watch, fl.it)
		fl.call.Finish(inflight.Outcome{Err: l.s.Config.NewPanic(nil, nil)})
		l.s.Table.Unregister(fl.call)
	}
}

// answer ends the calls of fills that are about to be written. It yields, so that a
// waiting caller runs first: its next request is sent together with the write, or
// ahead of it.
func (l *loadRun) answer(fills []pendingFill) {
	for _, fl := range fills {
		fl.call.Finish(inflight.Outcome{Served: inflight.Served{It: fl.it, Origin: inflight.FromLoader}})
	}
	runtime.Gosched()
}

// keepProvisionally marks the key as being written, and puts the value into the local tier
// if the key is known not to have changed since the lease was taken.
func (l *loadRun) keepProvisionally(fl *pendingFill) {
	view := l.s.Session.Tail.View()
	clean := l.s.Table.ResetBaseline(fl.call.H, &fl.call.Watch)
	// An invalidation since the lease may have ended the tracking of the key. It need not
	// mean that the key was changed: the server also sends one when an older value
	// expires, which it may notice only when the lease is taken.
	//
	// Nor is it known in a cluster that the write goes to the server that was read.
	// guard: R9-unread
	// guard: R9-unread-in-cluster
	fl.write.Unread = !clean || l.s.Session.Sharded()
	shard := l.s.Session.ShardOf(fl.call.Name)
	l.setShard(fl.it, shard)
	if shard != fl.call.Shard {
		clean = false
	}
	// guard: P4-link-of-own-server
	if f := fl.call; f.Unlinked() || f.Beside != nil && f.Beside.Basis.Shard != shard {
		clean, fl.unlinked = false, true
	}
	fl.clean = clean
	if !clean || !l.usesLocal(l.o) || view.Proof == 0 {
		// An older copy may be there: a refresh by a view without local copies
		// replaces what another view has kept. No invalidation will remove it, since
		// the next one is taken for the echo of this write.
		l.s.Local.Remove(fl.call.H)
		return
	}
	proof := view.Proof
	if l.s.Session.Sharded() {
		proof = min(proof, shard.Proof())
	}
	fl.it.Meta().Provisional.Store(int64(proof.Add(l.s.Config.MaxStaleness)))
	fl.it.Plan(l.earlyShare(fl.it))
	l.s.Table.InsertProvisional(fl.call.H, &fl.call.Watch, fl.it)
}

// settle keeps or drops the local copy according to how its write went.
func (l *loadRun) settle(fl pendingFill, w backend.Written) {
	if errors.Is(w.Err, remote.ErrFull) {
		// Neither the lease nor an older value is to stay, if the lease is still ours:
		// the server refused the write without checking the lease.
		//
		//	A: loads the key
		//	B: sets it, which ends A's lease; there is no more memory
		//	A: is refused, and must not remove what B has set
		// guard: R8-full-server-discard
		l.removeEntries(unawaited.Background(), []*inflight.Call{fl.call}, l.discard)
	}
	if w.Stored && !fl.unlinked && l.usesLocal(l.o) && l.s.Table.CommitProvisional(fl.call.H, &fl.call.Watch, fl.it) {
		fl.it.Meta().Provisional.Store(0)
		fl.it.Plan(l.earlyShare(fl.it))
		return
	}
	l.s.Table.RemoveProvisional(fl.call.H, &fl.call.Watch, fl.it)
	fl.it.Release(l.s.Session.Tail)
}

func (l *loadRun) countFill(w backend.Written, took time.Duration) {
	st := l.ns.Stats
	switch {
	case w.Err != nil:
		st.FillErrors.Add(1)
		if errors.Is(w.Err, remote.ErrFull) {
			st.Full.Add(1)
		}
	case !w.Stored && !w.Expired:
		st.Fenced.Add(1)
	default:
		st.Fills.Add(1)
	}
	l.s.observe(l.fillEvent(took, w.Err))
}

// finished makes the item of what was loaded for a call, and its envelope if it may be
// stored.
func (l *loadRun) finished(ctx context.Context, f *inflight.Call, r loadResult, i int) finishedLoad {
	cfg, discard := r.entries[i].taken()
	it, err := r.loaded[i].It, r.loaded[i].Err
	// First of all: a "not found" without its sources would be believed although they
	// changed, and the caller would never learn what was wrong with them.
	// guard: bad-argument-is-error
	if wrong := cfg.Check(l.s.Config.MaxTTL); wrong != nil {
		return finishedLoad{err: badArgument(fmt.Errorf("tier: the entry that a loader of namespace %q describes: %w", l.ns.Path, wrong), err)}
	}
	negative := errors.Is(err, ErrNotFound)
	if err != nil && !negative {
		return finishedLoad{err: err}
	}
	// guard: S3-from-begin
	end := l.endOf(ctx, r.asOf, r.begun, cfg.Sources)
	f.Ends = max(end, 1)
	if negative {
		l.ns.Stats.NotFound.Add(1)
		if l.cfg.NegativeTTL == 0 || discard {
			return finishedLoad{err: err}
		}
	}
	fresh, kept := cfg.Life(&l.cfg, l.s.Config.MaxTTL, negative)
	fresh, kept, keeps := session.Limit(end, fresh, kept)
	if negative {
		// guard: own-error-beside-not-found
		f.NotFound = err
		it = l.typed.Empty()
		// guard: negative-kind
		it.Kind = l.typed.Kind.NegativeKind
	}
	// guard: extra-before-size
	l.setBasis(it, &f.Basis)
	l.describe(it, f.Key, cfg, r.asOf, fresh, kept)
	if !l.pinMarks(ctx, it) || !keeps {
		l.ns.Stats.Overtaken.Add(1)
		return finishedLoad{it: it}
	}
	if discard {
		return finishedLoad{it: it, discard: true}
	}
	if l.cfg.LocalOnly {
		return finishedLoad{it: it, kept: kept}
	}
	envelope, err := l.seal(it, fresh, kept, cfg.Cost)
	if err != nil {
		l.countEncodeError(err)
		l.s.observeLater(l.fillEvent(0, err))
		if errors.As(err, new(*tooLargeError)) {
			return finishedLoad{it: it, kept: kept} // see keepUnstored
		}
		return finishedLoad{it: it} // the value is good, it just cannot be kept
	}
	if f.Beside != nil {
		envelope = besideLink(f.Beside.Nonce, envelope)
	}
	return finishedLoad{it: it, envelope: envelope, kept: kept}
}

// expiryOfFill is when the server is to forget what was loaded for f, by its clock.
func expiryOfFill(f *inflight.Call, sealed []byte) time.Time {
	if f.Beside != nil {
		sealed = withoutLink(sealed)
	}
	return expiryOf(sealed)
}

// badArgument is the error of a load whose loader gave its entry a bad argument and
// returned err, which may be nil. It does not match ErrNotFound: whether there is a
// value is not known.
func badArgument(wrong, err error) error {
	switch {
	case err == nil:
		return wrong
	case errors.Is(err, ErrNotFound):
		// guard: bad-argument-is-not-notfound
		return fmt.Errorf("%w; the loader returned %q", wrong, err.Error())
	}
	return fmt.Errorf("%w; the loader returned: %w", wrong, err)
}
