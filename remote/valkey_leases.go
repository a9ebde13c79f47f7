package remote

import (
	"context"
	"strconv"
	"time"

	"github.com/tiercache/tiercache/internal/backend"
	"github.com/tiercache/tiercache/internal/remoteerr"
	"github.com/tiercache/tiercache/internal/resp"
)

// Lease implements [backend.Leaser].
//
// Most leases are free, so they are taken with commands of the server's own; a
// script costs it several times as much. The lease comes first and the value after
// it, so that no process can have filled the key in between:
//
//	A: reads the key: nothing there
//	B: stores what it has loaded, which ends its lease
//	A: takes the lease, and would load what is there already
//
// If it is taken, a script says by whom and reads both in one step, so that one
// is told when either changes.
func (c *valkeyConn) Lease(ctx context.Context, reqs []backend.LeaseRequest) ([]backend.Lease, error) {
	b, most := newBatch(), shareOf(len(reqs))
	for i := range reqs {
		r := &reqs[i]
		// guard: I7-one-lease
		b.add("SET", r.Key+backend.LeaseSuffix, r.Token, "NX", "PX", millis(r.TTL))
		switch {
		case r.Any:
			b.add("EXISTS", r.Key)
		case r.Seen == "":
			c.addRead(b, r.Key, most)
		default:
			b.add("GETRANGE", r.Key, "0", strconv.Itoa(len(r.Seen)-1))
		}
	}
	// guard: I7-lease-before-value
	results := c.tracked.ask(ctx, b)
	leases := make([]backend.Lease, len(reqs))
	var again []int
	for i, r := range reqs {
		var whole bool
		leases[i], whole = leaseOf(r, results[2*i], results[2*i+1])
		if err := leases[i].Err; err != nil && remoteerr.Unreachable(err) {
			return nil, err
		}
		if !whole {
			again = append(again, i)
		}
	}
	if len(again) > 0 {
		if err := c.leaseAgain(ctx, reqs, leases, again, most); err != nil {
			return nil, err
		}
	}
	c.completeLeases(ctx, reqs, leases, most)
	return leases, nil
}

// completeLeases reads the rest of the values that came with leases.
func (c *valkeyConn) completeLeases(ctx context.Context, reqs []backend.LeaseRequest, leases []backend.Lease, most int) {
	var keys []string
	var items []backend.Item
	var of []int
	for i := range leases {
		if it := leases[i].Item; len(it.Raw) == most {
			keys, items, of = append(keys, reqs[i].Key), append(items, it), append(of, i)
		}
	}
	if len(keys) == 0 {
		return
	}
	c.complete(ctx, keys, items, most, func(keys []string) ([]backend.Item, error) {
		b := newBatch()
		for _, key := range keys {
			c.addRead(b, key, most)
		}
		return itemsOf(c.tracked.ask(ctx, b))
	})
	for n, i := range of {
		if leases[i].Item = items[n]; items[n].Err != nil {
			leases[i].Item, leases[i].Err = backend.Item{}, items[n].Err
		}
	}
}

// leaseOf reads the answers about one lease. It returns false if more has to be
// asked: which token holds it, or the value that another than Seen has been replaced by.
//
// A server that refuses to write, for want of memory or of replicas, still reads.
func leaseOf(r backend.LeaseRequest, taken, there reply) (l backend.Lease, whole bool) {
	err := taken.err
	l.Acquired = err == nil
	if err != errNull {
		l.Err = failure(err)
	}
	if remoteerr.Unreachable(l.Err) {
		return l, true
	}
	s, news, err := newsOf(r, there)
	switch {
	case err != nil:
		l.Err = failure(err)
	// guard: read-where-leases-are-refused-after-version
	case news && r.Seen != "":
		return backend.Lease{Acquired: l.Acquired}, false
	// guard: read-where-leases-are-refused
	case news:
		return backend.Lease{Acquired: l.Acquired, Item: backend.Item{Raw: s, Present: true}}, true
	}
	return l, l.Acquired || l.Err != nil
}

// newsOf reads what the key holds, and whether that is news to a caller that has Seen r's.
func newsOf(r backend.LeaseRequest, there reply) (s string, news bool, err error) {
	if r.Any {
		return "", false, there.err
	}
	s, err = there.text()
	if err == errNull || isWrongType(err) {
		return "", false, nil
	}
	return s, err == nil && s != "" && s != r.Seen, err
}

// leaseAgain completes what leaseOf could not tell.
func (c *valkeyConn) leaseAgain(ctx context.Context, reqs []backend.LeaseRequest, leases []backend.Lease, again []int, most int) error {
	b := newBatch()
	for _, n := range again {
		r, force := reqs[n], "0"
		if r.Any {
			force = "1"
		}
		b.eval(scriptLease, pair(r.Key)...)
		b.more(r.Token, millis(r.TTL), r.Seen, force, strconv.Itoa(most-1))
	}
	results := run(ctx, c.tracked, b)
	for i, n := range again {
		acquired := leases[n].Acquired
		leases[n] = parseLease(results[i])
		if err := leases[n].Err; err != nil && remoteerr.Unreachable(err) {
			return err
		}
		// Without either the script has said whose it is by now.
		// guard: lease-of-other-holder
		if l := &leases[n]; l.Item.Found() || l.Err != nil {
			l.Acquired = acquired
		}
	}
	return nil
}

func parseLease(r reply) backend.Lease {
	if r.err == nil && r.Kind == resp.Int {
		if r.Int == 1 {
			return backend.Lease{Acquired: true}
		}
		return backend.Lease{Wait: max(time.Duration(-r.Int), 0) * time.Millisecond}
	}
	s, err := r.text()
	return backend.Lease{Item: backend.Item{Raw: s, Present: err == nil}, Err: failure(err)}
}

// Extend implements [backend.Leaser].
func (c *valkeyConn) Extend(ctx context.Context, keys []string, token string, ttl time.Duration) error {
	return c.each(ctx, keys, scriptExtend, lease, token, millis(ttl))
}

// Release implements [backend.Leaser].
func (c *valkeyConn) Release(ctx context.Context, keys []string, token string) error {
	return c.each(ctx, keys, scriptRelease, lease, token)
}
