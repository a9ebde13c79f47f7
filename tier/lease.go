package tier

import (
	"context"
	"encoding/hex"
	"errors"
	"math/rand/v2"
	"time"

	crand "crypto/rand"

	"github.com/tiercache/tiercache/remote"
)

func newToken() string {
	var b [12]byte
	_, _ = crand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

// lease asks for the fleet's leases of the flights. ready are those to load
// now, held those that another process loads. Flights that turn out to have
// been answered meanwhile are ended.
func (l *loadRun) lease(ctx context.Context, fs []*flight) (ready, held []*flight) {
	var ask []*flight
	for _, f := range fs {
		if l.cfg.localOnly || f.offline {
			ready = append(ready, f)
			continue
		}
		ask = append(ask, f)
	}
	for len(ask) > 0 {
		leases, err := l.askLeases(ctx, ask)
		if err != nil {
			l.failed(err)
			l.releaseLater(names(ask))
			for _, f := range ask {
				f.offline = true
			}
			return append(ready, ask...), held
		}
		var again []*flight
		for i, f := range ask {
			switch lease := leases[i]; {
			case lease.Acquired:
				ready = append(ready, f)
			case lease.Err != nil:
				l.failed(lease.Err)
				f.offline = true
				f.refused = errors.Is(lease.Err, remote.ErrFull)
				ready = append(ready, f)
			case !lease.Item.Found():
				held = append(held, f)
			case !l.serve(ctx, f, lease.Item, l.load, l.o):
				again = append(again, f) // another version, and no good either
			}
		}
		ask = again
		if ctx.Err() != nil {
			l.end(ask, outcome{err: context.Cause(ctx)})
			return ready, held
		}
	}
	return ready, held
}

func (l *loadRun) askLeases(ctx context.Context, fs []*flight) ([]remote.Lease, error) {
	reqs := make([]remote.LeaseRequest, len(fs))
	for i, f := range fs {
		// Registered before the request, since it reads the key (R9).
		l.s.table.restart(f, l.s.tail.View())
		reqs[i] = remote.LeaseRequest{Key: f.name, Token: l.token, Seen: f.seen, TTL: l.s.cfg.leaseTTL, Any: f.force}
	}
	rctx, cancel := l.s.request(ctx)
	defer cancel()
	return l.s.conn.Lease(rctx, reqs)
}

const (
	// maxLeaseWait bounds one wait for another's lease: notices end it sooner,
	// and this is for those that get lost.
	maxLeaseWait = time.Second
	// leasePoll is used where no notices come.
	leasePoll = 20 * time.Millisecond
)

// awaitLease waits until another process has loaded f's key, or has given up.
func (l *loadRun) awaitLease(ctx context.Context, f *flight) (ready []*flight) {
	if f.resident != nil {
		l.end([]*flight{f}, outcome{err: errAbandoned}) // a refresh that another does
		return nil
	}
	wait := maxLeaseWait
	if l.s.cfg.noTracking {
		wait = leasePoll
	}
	for {
		if err := f.sleep(ctx, wait/2+rand.N(wait/2)); err != nil {
			l.end([]*flight{f}, outcome{err: err})
			return nil
		}
		ready, held := l.lease(ctx, []*flight{f})
		if len(held) == 0 {
			return ready
		}
	}
}

// releaseLater gives up leases that the server may hold for us although its
// answer did not come: it performs late what it was slow to answer, and this
// after it, so that nobody waits for us until the leases expire.
func (l *loadRun) releaseLater(keys []string) {
	l.s.spawn(func() {
		ctx, cancel := context.WithTimeout(l.s.ctx, max(l.s.cfg.timeout, time.Second))
		defer cancel()
		if err := l.s.conn.Release(ctx, keys, l.token); err != nil {
			l.failed(err)
		}
	})
}

func namesOf(writes []remote.Write) []string {
	out := make([]string, len(writes))
	for i, w := range writes {
		out[i] = w.Key
	}
	return out
}

func names(fs []*flight) []string {
	out := make([]string, 0, len(fs))
	for _, f := range fs {
		if !f.offline {
			out = append(out, f.name)
		}
	}
	return out
}
