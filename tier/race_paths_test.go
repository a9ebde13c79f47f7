package tier_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/internal/embedded"
	"github.com/tiercache/tiercache/internal/interpose"
	"github.com/tiercache/tiercache/tier"
)

// wayToLoad is one way in which a value is loaded, renewed or served.
type wayToLoad struct {
	options  []tier.CacheOption
	store    []tier.Option
	calls    []tier.CallOption
	lasts    bool // the loader takes a while of fake time now and then
	fails    bool // every second load fails
	leaves   bool // callers give up
	batch    bool // readers use GetMany
	refresh  bool // readers use Refresh now and then
	sets     bool // readers use Set now and then, with an as-of
	discards bool // every second load says DoNotStore
	missing  bool // of an odd version the loader says ErrNotFound
	fleet    bool // half of the readers, and the changes, are those of another process
	hears    bool // which reads without Fresh(): it has heard of a change after WithMaxStaleness
	cuts     bool // connections end now and then, so that local copies are suspended
	deletes  bool // the key is deleted, of which the log knows nothing
	outages  bool // for some rounds the server does not answer
	starts   bool // the other process is another one in each round, and starts warm
	rests    bool // a value is past its TTL, or due to be renewed, when the next round begins
}

// I5, I1: a source changes and is invalidated again and again while a value made from it is read, by each way in which a
// value is loaded or renewed. No read that begins after an invalidation has returned is answered from before it.
// In a process that only hears of it, that is so once WithMaxStaleness has passed, whatever the connection does.
// TIERCACHE_RACES sets the rounds (make races: 100,000).
func TestRaceInvalidationsAgainstEveryWayToLoad(t *testing.T) {
	rounds := int64(100)
	if testing.Short() {
		rounds = 20
	}
	if n, err := strconv.ParseInt(os.Getenv("TIERCACHE_RACES"), 10, 64); err == nil {
		rounds = n
	}
	hour := time.Hour
	short := tier.WithTTL(time.Millisecond)
	early := tier.WithEarlyRefresh(1e-9)
	revalidates := []tier.CacheOption{short, tier.WithStaleWhileRevalidate(hour)}
	untracked := []tier.Option{tier.WithoutTracking()}
	kept := []tier.CacheOption{tier.WithOutageTTL(hour)}
	brief := []tier.Option{tier.WithRemoteTimeout(5 * time.Millisecond)}
	for name, way := range map[string]wayToLoad{
		"a miss":                          {},
		"a miss, untracked":               {store: untracked},
		"a miss in a fleet":               {fleet: true},
		"a miss, past the local tier":     {calls: []tier.CallOption{tier.NoLocal()}},
		"a fresh read":                    {calls: []tier.CallOption{tier.Fresh()}},
		"a batch":                         {batch: true},
		"a batch in a fleet":              {batch: true, fleet: true},
		"a batch, remote only":            {options: []tier.CacheOption{tier.WithRemoteOnly()}, batch: true},
		"Refresh":                         {refresh: true},
		"Set":                             {sets: true},
		"Set in a fleet":                  {sets: true, fleet: true},
		"an early refresh":                {options: []tier.CacheOption{early}, rests: true},
		"an early refresh in a fleet":     {options: []tier.CacheOption{early}, rests: true, fleet: true},
		"an early refresh of a batch":     {options: []tier.CacheOption{early}, rests: true, batch: true},
		"while revalidating":              {options: revalidates, rests: true},
		"while revalidating, untracked":   {options: revalidates, rests: true, store: untracked},
		"while revalidating, in a fleet":  {options: revalidates, rests: true, fleet: true},
		"while revalidating, a batch":     {options: revalidates, rests: true, batch: true},
		"while revalidating, remote only": {options: append(revalidates, tier.WithRemoteOnly()), rests: true, batch: true},
		"on error":                        {options: []tier.CacheOption{short, tier.WithStaleOnError(hour), tier.WithRetryAfter(time.Millisecond, time.Millisecond)}, fails: true, rests: true},
		"soft timeout":                    {options: []tier.CacheOption{short, tier.WithStaleOnError(hour), tier.WithSoftTimeout(time.Millisecond)}, lasts: true, rests: true},
		"detached":                        {options: []tier.CacheOption{tier.WithDetachedLoads()}, leaves: true, lasts: true},
		"abandoned":                       {leaves: true, lasts: true},
		"local only":                      {options: append(revalidates, tier.WithLocalOnly()), rests: true},
		"local only, Set":                 {options: []tier.CacheOption{tier.WithLocalOnly()}, sets: true},
		"not stored":                      {options: revalidates, rests: true, discards: true},
		"a fleet that hears":              {fleet: true, hears: true},
		"a fleet that hears, untracked":   {fleet: true, hears: true, store: untracked},
		"a batch in a fleet that hears":   {fleet: true, hears: true, batch: true},
		"Set in a fleet that hears":       {fleet: true, hears: true, sets: true},
		"early in a fleet that hears":     {options: []tier.CacheOption{early}, fleet: true, hears: true, rests: true},
		"stale in a fleet that hears":     {options: revalidates, fleet: true, hears: true, rests: true},
		"suspended":                       {cuts: true},
		"suspended, in a fleet":           {fleet: true, hears: true, cuts: true},
		"suspended, a batch in a fleet":   {fleet: true, hears: true, cuts: true, batch: true},
		"suspended, stale, in a fleet":    {options: revalidates, fleet: true, hears: true, cuts: true, rests: true},
		"suspended, untracked":            {fleet: true, hears: true, cuts: true, store: untracked},
		"deleted in a fleet that hears":   {fleet: true, hears: true, deletes: true},
		"deleted, suspended":              {fleet: true, hears: true, deletes: true, cuts: true},
		"deleted, suspended, a batch":     {fleet: true, hears: true, deletes: true, cuts: true, batch: true},
		"an outage":                       {outages: true, store: brief},
		"an outage, a batch":              {outages: true, store: brief, batch: true},
		"an outage, kept":                 {options: kept, outages: true, store: brief},
		"an outage, kept, stale":          {options: append(kept, revalidates...), outages: true, store: brief, rests: true},
		"an outage, remote only":          {options: []tier.CacheOption{tier.WithRemoteOnly()}, outages: true, store: brief},
		"a warm start":                    {fleet: true, hears: true, starts: true},
		"a warm start, a batch":           {fleet: true, hears: true, starts: true, batch: true},
		"not found":                       {options: []tier.CacheOption{early, tier.WithNegativeTTL(hour)}, rests: true, missing: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { way.race(t, rounds) })
		})
	}
}

// By when a process of a fleet has heard of a change, or believes no local copy.
const (
	raceHeartbeat = 5 * time.Millisecond
	raceStaleness = 20 * time.Millisecond
)

func (w *wayToLoad) race(t *testing.T, rounds int64) {
	hub := embedded.New(0)
	var away atomic.Bool
	hooks := &interpose.Backend{Inner: hub}
	hooks.Reach(func(ctx context.Context, _ interpose.Op) error {
		if !away.Load() {
			return nil
		}
		<-ctx.Done()
		return ctx.Err()
	})
	options := append([]tier.Option{tier.WithRemote(hooks), tier.WithMaxLoads(4)}, w.store...)
	if w.hears {
		options = append(options, tier.WithHeartbeat(raceHeartbeat), tier.WithMaxStaleness(raceStaleness))
	}
	if w.starts {
		options = append(options, tier.WithWarmStart(10))
	}
	open := func() (*tier.Store, *tier.Cache[int64]) {
		s, err := tier.Open(context.Background(), options...)
		require.NoError(t, err)
		return s, view[int64](t, s, "docs", w.options...)
	}
	s, c := open()
	stores, caches := []*tier.Store{s}, [2]atomic.Pointer[tier.Cache[int64]]{}
	defer func() {
		for _, s := range stores {
			require.NoError(t, s.Close())
		}
	}()
	caches[0].Store(c)
	caches[1].Store(c)
	if w.fleet {
		s, c := open()
		stores = append(stores, s)
		caches[1].Store(c)
	}
	var source, runs, reads, old, unanswered atomic.Int64
	var invalidated [2]atomic.Int64 // up to which version, for readers of each process
	load := func(_ context.Context, e *tier.Entry) (int64, error) {
		n := runs.Add(1)
		v := source.Load()
		e.DependsOn("doc")
		switch rand.IntN(4) { // a while, after it has read
		case 0:
			for range 50 {
				runtime.Gosched()
			}
		case 1:
			if w.lasts {
				time.Sleep(time.Duration(rand.IntN(3000)) * time.Microsecond)
			}
		}
		switch {
		case w.fails && n%2 == 0:
			return 0, errOrigin
		case w.missing && v%2 != 0:
			return 0, tier.ErrNotFound
		case w.discards && n%2 == 0:
			e.DoNotStore()
		}
		return v, nil
	}
	many := func(ctx context.Context, _ []string, e tier.Entries) (map[string]int64, error) {
		v, err := load(ctx, e.For("k"))
		return map[string]int64{"k": v}, err
	}
	// read is one read, or now and then another way to renew the value. It returns once it has compared what it got with
	// what had been invalidated before it began.
	read := func(i int) {
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		if w.leaves && rand.IntN(2) == 0 {
			ctx, cancel = context.WithTimeout(ctx, time.Duration(rand.IntN(2000))*time.Microsecond)
			defer cancel()
		}
		c, calls := caches[i%2].Load(), w.calls
		if w.fleet && !w.hears {
			calls = []tier.CallOption{tier.Fresh()} // what the other process has changed meanwhile is asked for
		}
		from := invalidated[i%2].Load()
		var v int64
		var err error
		switch {
		case w.sets && rand.IntN(2) == 0:
			asOf := stores[i%len(stores)].AsOf()
			if w.fleet && !w.hears {
				asOf, err = stores[i%2].AsOf(), stores[i%2].Sync(ctx)
			}
			if v = source.Load(); err == nil {
				err = c.Set(ctx, "k", v, tier.WithSources("doc"), tier.WithAsOf(asOf))
			}
			v = max(v, from)
		case w.refresh && rand.IntN(2) == 0:
			v, err = c.Refresh(ctx, "k", load)
		case w.batch:
			var got map[string]int64
			got, err = c.GetMany(ctx, []string{"k"}, many, calls...)
			v = got["k"]
		default:
			v, err = c.Get(ctx, "k", load, calls...)
		}
		reads.Add(1)
		switch {
		case errors.Is(err, tier.ErrNotFound) && w.missing:
			// An odd version was the answer: there has to have been one since.
			if from%2 == 0 && source.Load() == from {
				old.Add(1)
			}
		case err == nil && v < from:
			old.Add(1)
		case err != nil && (errors.Is(err, errOrigin) || ctx.Err() != nil || w.starts && errors.Is(err, tier.ErrClosed)):
			unanswered.Add(1)
		case err != nil:
			t.Error(err)
		}
	}
	if w.starts {
		read(0)
		time.Sleep(2 * time.Minute) // the names of what is read most are left for processes that start
		other, c := open()
		time.Sleep(time.Second)
		require.Equal(t, 1, other.Stats().LocalEntries, "it has started warm")
		require.NoError(t, other.Close())
		runtime.KeepAlive(c)
	}
	kick, stop := racers(4, read)
	for i := range rounds {
		kick()
		for range rand.IntN(100) { // they begin before, while and after the source changes
			runtime.Gosched()
		}
		if w.lasts {
			time.Sleep(time.Duration(rand.IntN(3000)) * time.Microsecond)
		}
		var both sync.WaitGroup // with the racers, that is
		if w.cuts && rand.IntN(2) == 0 {
			both.Go(func() {
				for range rand.IntN(100) {
					runtime.Gosched()
				}
				hub.Disconnect()
			})
		}
		if w.starts {
			both.Go(func() { // while it changes
				was := stores[1]
				s, c := open()
				caches[1].Store(c)
				stores[1] = s
				require.NoError(t, was.Close())
			})
		}
		if w.outages && i%20 == 0 {
			away.Store(!away.Load())
		}
		v := source.Add(1)
		changes := int(i) % len(stores)
		if w.starts {
			changes = 0
		}
		change := func() (err error) {
			if w.deletes {
				return caches[changes].Load().Delete(context.Background(), "k")
			}
			_, err = stores[changes].InvalidateSource(context.Background(), "doc")
			return err
		}
		err := change()
		switch {
		case w.outages:
			// It holds in this process though it is not recorded.
		case w.cuts:
			for err != nil {
				time.Sleep(time.Millisecond)
				err = change()
			}
		default:
			require.NoError(t, err)
		}
		invalidated[changes].Store(v)
		if w.hears {
			if w.starts {
				both.Wait()
			}
			time.Sleep(raceStaleness + time.Millisecond)
		}
		invalidated[0].Store(v)
		invalidated[1].Store(v)
		for i := range caches {
			both.Go(func() { read(i) })
		}
		both.Wait()
		if w.rests || w.outages {
			time.Sleep(2 * time.Millisecond)
		}
	}
	stop()
	t.Logf("%d invalidations, %d reads (%d of them without an answer), %d loads, %d in the background, %d of values past their TTL, %d answered from before an invalidation",
		rounds, reads.Load(), unanswered.Load(), runs.Load(), stores[0].Stats().Refreshes, stores[0].Stats().Stale, old.Load())
	require.Zero(t, old.Load())
	require.Positive(t, runs.Load())
	if w.outages && rounds >= 10_000 { // with fewer it may not be found to be away
		require.Positive(t, stores[0].Stats().Outages)
	}
}
