package bench

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tiercache/tiercache/tier"
)

// BumpLoad is the workload of [Fleet.LoadsThroughBump].
type BumpLoad struct {
	Questions int           // distinct ones, of Zipf popularity with exponent 1
	Rate      float64       // questions per second, in the whole fleet
	Load      time.Duration // what a load takes
	Before    time.Duration // from the beginning to the version bump
	After     time.Duration // from there to the end
	ByHand    bool          // look, load and store, as one writes it without leases or shared loads
}

// LoadsThroughBump returns how many loads began in each second of a simulation in which questions come at random times,
// also while others are being loaded, and the store's version is bumped once. Like Simulate it must run in a bubble of
// testing/synctest.
func (f Fleet) LoadsThroughBump(w BumpLoad, seed uint64) ([]int, error) {
	if f.Processes < 1 || w.Rate <= 0 {
		return nil, fmt.Errorf("bench: %d processes, %v questions per second", f.Processes, w.Rate)
	}
	d := Documents{Questions: w.Questions, Sources: 1, Skew: 1, Rate: w.Rate, Bump: w.Before}
	s := &simulation{books: newBooks(d)}
	f.TTL = 24 * time.Hour
	if err := s.open(f); err != nil {
		return nil, errors.Join(err, s.close())
	}
	loads := loadCounter{began: time.Now(), perSecond: make([]int, int((w.Before+w.After)/time.Second)+1)}
	err := s.storm(d.Events(seed, 1<<30), w, &loads)
	return loads.perSecond, errors.Join(err, s.close())
}

// storm asks without waiting for answers, and bumps once.
func (s *simulation) storm(events func(func(Event) bool), w BumpLoad, loads *loadCounter) error {
	var asked errgroup.Group
	var bumpErr error
	ctx, bumped := context.Background(), false
	for e := range events {
		if e.At > w.Before+w.After {
			break
		}
		time.Sleep(e.At - time.Since(loads.began)) // fake
		p := s.processes[int(e.Who*float64(len(s.processes)))]
		switch {
		case e.Kind == Bumped && !bumped:
			bumped = true
			_, bumpErr = p.store.InvalidateAll(ctx)
		case e.Kind == Ask:
			asked.Go(func() error { return p.get(ctx, e.Index, w, loads) })
		}
	}
	return errors.Join(bumpErr, asked.Wait())
}

func (p *process) get(ctx context.Context, question int, w BumpLoad, loads *loadCounter) error {
	cache, key := p.caches[question%len(p.caches)], Question(question)
	load := func(context.Context, *tier.Entry) (answer, error) {
		loads.count()
		time.Sleep(w.Load) // fake
		return answer{Bytes: 1}, nil
	}
	if !w.ByHand {
		_, err := cache.Get(ctx, key, load)
		return err
	}
	if _, ok, err := cache.Peek(ctx, key); ok || err != nil {
		return err
	}
	v, _ := load(ctx, nil)
	return cache.Set(ctx, key, v)
}

// loadCounter counts what begins in each second.
type loadCounter struct {
	began time.Time

	mu        sync.Mutex
	perSecond []int
}

func (c *loadCounter) count() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.perSecond[min(int(time.Since(c.began)/time.Second), len(c.perSecond)-1)]++
}
