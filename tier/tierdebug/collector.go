package tierdebug

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tiercache/tiercache/tier"
	"github.com/tiercache/tiercache/tier/internal/inspect"
)

const (
	every = 2 * time.Second
	// keepPoints is how many are kept: ten minutes' worth.
	keepPoints = 300
	// mostInPoint is how many namespaces have a rate of their own in a point: those that are read most.
	mostInPoint = 50
	// healthTimeout bounds the wait for a server that does not answer.
	healthTimeout = time.Second
	// mostWalked is how many local entries are looked at for the sizes, every sizesEvery.
	mostWalked = 200_000
	sizesEvery = 10 * time.Second
	// fleetEvery is how often the reports of the fleet are read.
	fleetEvery = 10 * time.Second
)

// collector has the figures of a store collected by one goroutine, which ends with the store. While no page is open it reads
// only what is in the process.
type collector struct {
	store   *tier.Store
	inside  *inspect.Store
	viewers atomic.Int32
	wake    chan struct{} // has one when a page was opened
	ended   chan struct{} // is closed when the store is

	// The collecting goroutine's own.
	before  tier.Stats
	at      time.Time
	points  []point
	sizes   inspect.Sizes
	sizedAt time.Time
	fleet   []process
	fleetAt time.Time
	follow  follower

	mu struct {
		sync.Mutex // guards what follows
		latest     *state
		news       chan struct{} // is closed when latest changes
		changes    []change      // the latest
		seen       int64         // how many there were in all
	}
}

func newCollector(store *tier.Store, inside *inspect.Store) *collector {
	c := &collector{store: store, inside: inside, wake: make(chan struct{}, 1), ended: make(chan struct{})}
	c.mu.news = make(chan struct{})
	inside.Watch.Start()
	if !inside.Spawn(c.run) {
		inside.Watch.Stop()
		close(c.ended)
	}
	return c
}

// view begins the view of a page. The caller calls leave at its end.
func (c *collector) view() (leave func()) {
	c.viewers.Add(1)
	select {
	case c.wake <- struct{}{}:
	default:
	}
	return func() { c.viewers.Add(-1) }
}

// next returns a state that is later than the one that a page has, and the changes since. A page that has none gets one that was
// collected since it was opened.
func (c *collector) next(ctx context.Context, last *state) (*state, []change, error) {
	opened := time.Now()
	for {
		c.mu.Lock()
		s, news := c.mu.latest, c.mu.news
		var changes []change
		if s != nil {
			from := int64(0)
			if last != nil {
				from = last.seen
			}
			changes = slices.Clone(c.mu.changes[max(0, len(c.mu.changes)-int(c.mu.seen-from)):])
		}
		c.mu.Unlock()
		switch {
		case s == nil || s == last:
		case last != nil, !s.Time.Before(opened):
			return s, changes, nil
		}
		select {
		case <-news:
		case <-ctx.Done():
			return nil, nil, ctx.Err()
		case <-c.ended:
			return nil, nil, tier.ErrClosed
		}
	}
}

// run collects until the store is closed.
func (c *collector) run(ctx context.Context) {
	defer close(c.ended)
	defer c.inside.Watch.Stop()
	tick := time.NewTicker(every)
	defer tick.Stop()
	c.before, c.at = c.store.Stats(), time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-c.wake:
		}
		c.collect(ctx)
	}
}

// collect adds a point, and if a page is open publishes a state.
func (c *collector) collect(ctx context.Context) {
	stats, now := c.store.Stats(), time.Now()
	if span := now.Sub(c.at); span >= every/2 { // else a page was opened just after a tick
		c.points = append(c.points, pointOf(now, span, &c.before, &stats))
		c.points = c.points[max(0, len(c.points)-keepPoints):]
		c.before, c.at = stats, now
	}
	if c.viewers.Load() == 0 {
		c.inside.Watch.Now(0) // adapts how much is sampled
		c.follow = follower{}
		return
	}
	if now.Sub(c.sizedAt) >= sizesEvery {
		c.sizes, c.sizedAt = c.inside.Sizes(mostWalked), now
	}
	rctx, cancel := context.WithTimeout(ctx, healthTimeout)
	defer cancel()
	if now.Sub(c.fleetAt) >= fleetEvery {
		if reports, err := c.inside.Fleet(rctx); err == nil {
			c.fleet, c.fleetAt = processesOf(reports, now), now
		}
	}
	s := stateOf(c, rctx, now, &stats)
	changes := c.follow.read(rctx, c.inside)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mu.changes = append(c.mu.changes, changes...)
	c.mu.changes = slices.Clone(c.mu.changes[max(0, len(c.mu.changes)-mostChanges):])
	c.mu.seen += int64(len(changes))
	s.seen = c.mu.seen
	c.mu.latest = s
	close(c.mu.news)
	c.mu.news = make(chan struct{})
}

// point are rates at a time.
type point struct {
	Time int64 `json:"t"` // ms since 1970
	All  rates `json:"all"`
	// Of has those namespaces that are read most.
	Of map[string]rates `json:"of"`
}

// rates are events a second: reads, and of them those that the local tier and the remote tier answered; runs of a loader that a
// read waited for, and their errors.
type rates struct {
	Reads  float64 `json:"reads"`
	Local  float64 `json:"local"`
	Remote float64 `json:"remote"`
	Loads  float64 `json:"loads"`
	Errors float64 `json:"errors"`
	Stale  float64 `json:"stale"`
}

func ratesOf(span time.Duration, before, now tier.Counts) rates {
	per := func(a, b int64) float64 { return max(0, float64(b-a)/span.Seconds()) }
	return rates{
		Reads: per(before.Reads(), now.Reads()), Local: per(before.LocalHits, now.LocalHits),
		Remote: per(before.RemoteHits+before.Shared, now.RemoteHits+now.Shared), Loads: per(before.Loads, now.Loads),
		Errors: per(before.LoadErrors, now.LoadErrors), Stale: per(before.Stale, now.Stale),
	}
}

func pointOf(now time.Time, span time.Duration, before, stats *tier.Stats) point {
	p := point{Time: now.UnixMilli(), All: ratesOf(span, before.Counts, stats.Counts), Of: make(map[string]rates)}
	type one struct {
		path string
		rates
	}
	var all []one
	for path, counts := range stats.Namespaces {
		if r := ratesOf(span, before.Namespaces[path], counts); r.Reads+r.Loads > 0 {
			all = append(all, one{path, r})
		}
	}
	slices.SortFunc(all, func(a, b one) int {
		return cmp.Or(cmp.Compare(b.Reads, a.Reads), strings.Compare(a.path, b.path))
	})
	for _, o := range all[:min(mostInPoint, len(all))] {
		p.Of[show(o.path)] = o.rates
	}
	return p
}
