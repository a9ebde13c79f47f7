package remote

import (
	"context"
	"time"

	"github.com/valkey-io/valkey-go"
)

// Lease implements [Conn].
//
// Most leases are free, so they are taken with commands of the server's own; a
// script costs it four times as much. The lease comes first and the value after
// it, so that nobody can have filled the key in between:
//
//	A: reads the key: nothing there
//	B: stores what it has loaded, which ends its lease
//	A: takes the lease, and would load what is there already
//
// If it is taken, a script says by whom and reads both in one step, so that one
// is told when either changes.
func (c *valkeyConn) Lease(ctx context.Context, reqs []LeaseRequest) ([]Lease, error) {
	b := c.tracked.B()
	cmds := make([]valkey.Completed, 0, 2*len(reqs))
	for _, r := range reqs {
		cmds = append(cmds, b.Set().Key(r.Key+leaseSuffix).Value(r.Token).Nx().PxMilliseconds(max(r.TTL.Milliseconds(), 1)).Build())
		switch {
		case r.Any:
			cmds = append(cmds, b.Exists().Key(r.Key).Build())
		case r.Seen == "":
			cmds = append(cmds, b.Get().Key(r.Key).Build())
		default:
			cmds = append(cmds, b.Getrange().Key(r.Key).Start(0).End(int64(len(r.Seen)-1)).Build())
		}
	}
	results := c.tracked.DoMulti(ctx, cmds...)
	leases := make([]Lease, len(reqs))
	var again []int
	for i, r := range reqs {
		var whole bool
		leases[i], whole = leaseOf(r, results[2*i], results[2*i+1])
		if err := leases[i].Err; err != nil && Unreachable(err) {
			return nil, err
		}
		if !whole {
			again = append(again, i)
		}
	}
	if len(again) == 0 {
		return leases, nil
	}
	return leases, c.leaseAgain(ctx, reqs, leases, again)
}

// leaseOf reads the answers about one lease. It returns false if more has to be
// asked: who holds it, or the value that another than Seen has been replaced by.
func leaseOf(r LeaseRequest, taken, there valkey.ValkeyResult) (l Lease, whole bool) {
	switch err := taken.Error(); {
	case err == nil:
		l.Acquired = true
	case !valkey.IsValkeyNil(err):
		return Lease{Err: failure(err)}, true
	}
	s, err := there.ToString()
	switch {
	case r.Any:
		err = there.Error()
		return Lease{Acquired: l.Acquired, Err: failure(err)}, l.Acquired || err != nil
	case isWrongType(err) || valkey.IsValkeyNil(err) || err == nil && r.Seen != "" && (s == "" || s == r.Seen):
		return l, l.Acquired // what is there is nothing, or no news
	case err != nil:
		return Lease{Err: failure(err)}, true
	case r.Seen != "":
		return l, false
	}
	l.Item = Item{s, true}
	return l, true
}

// leaseAgain completes what leaseOf could not tell.
func (c *valkeyConn) leaseAgain(ctx context.Context, reqs []LeaseRequest, leases []Lease, again []int) error {
	results := run(ctx, c.tracked, func(b valkey.Builder, whole bool) []valkey.Completed {
		cmds := make([]valkey.Completed, len(again))
		for i, n := range again {
			r, force := reqs[n], "0"
			if r.Any {
				force = "1"
			}
			cmds[i] = call{script: scriptLease, keys: pair(r.Key),
				args: []string{r.Token, millis(r.TTL), r.Seen, force}}.build(b, whole)
		}
		return cmds
	})
	for i, n := range again {
		acquired := leases[n].Acquired
		leases[n] = parseLease(results[i])
		if err := leases[n].Err; err != nil && Unreachable(err) {
			return err
		}
		leases[n].Acquired = leases[n].Acquired || acquired && leases[n].Err == nil
	}
	return nil
}

func parseLease(r valkey.ValkeyResult) Lease {
	m, err := r.ToMessage()
	if err != nil {
		return Lease{Err: failure(err)}
	}
	if n, err := m.ToInt64(); err == nil {
		if n == 1 {
			return Lease{Acquired: true}
		}
		return Lease{Wait: max(time.Duration(-n), 0) * time.Millisecond}
	}
	s, err := m.ToString()
	return Lease{Item: Item{s, true}, Err: err}
}

// Extend implements [Conn].
func (c *valkeyConn) Extend(ctx context.Context, keys []string, token string, ttl time.Duration) error {
	return c.each(ctx, keys, scriptExtend, lease, token, millis(ttl))
}

// Release implements [Conn].
func (c *valkeyConn) Release(ctx context.Context, keys []string, token string) error {
	return c.each(ctx, keys, scriptRelease, lease, token)
}
