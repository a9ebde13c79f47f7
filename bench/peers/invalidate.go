package main

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/valkey-io/valkey-go"

	"github.com/tiercache/tiercache/internal/moment"
	"github.com/tiercache/tiercache/remote"
	"github.com/tiercache/tiercache/tier"
)

// signal is something that one process does and others notice.
type signal struct {
	prepare func()           // not timed: gives the others something to lose
	send    func()           // returns when the server has acknowledged it
	noticed []*moment.Moment // when each of the others did
	reached func(int) bool   // whether what that one noticed was this
}

// reaching is the time from the writer's call until the last of 4 other stores does not believe its copy any more, beside
// a bare PUBLISH until the last of 4 subscribers has it, and a PING. The moment is taken on the goroutine that has just
// applied the push. A waiter sleeps: spinning would keep the runtime from looking at the network.
func reaching() []work {
	w := work{name: fmt.Sprintf("InvalidationReaches/stores=%d", fleet), unit: "p50-µs"}
	for _, k := range []struct {
		name string
		make func(p *pitch) signal
	}{{"PUBLISH", publishing}, {ours, invalidating}, {"PING", pinging}} {
		w.contestants = append(w.contestants, contestant{k.name, func(p *pitch) func(*testing.B) { return k.make(p).time }})
	}
	return []work{w}
}

func (s signal) time(b *testing.B) {
	called, returned := make([]time.Duration, b.N), make([]time.Duration, b.N)
	for i := range b.N {
		b.StopTimer()
		s.prepare()
		for _, m := range s.noticed {
			m.Forget()
		}
		b.StartTimer()
		begun := time.Now()
		s.send()
		back := time.Now()
		last := back
		if len(s.noticed) > 0 {
			last = begun
		}
		for other, m := range s.noticed {
			var at time.Time
			for at.IsZero() || !s.reached(other) {
				at = m.Wait()
			}
			if at.After(last) {
				last = at
			}
		}
		called[i], returned[i] = last.Sub(begun), max(0, last.Sub(back))
	}
	b.ReportMetric(at(called, 0.5)/1000, "p50-µs")
	b.ReportMetric(at(called, 0.99)/1000, "p99-µs")
	b.ReportMetric(at(returned, 0.5)/1000, "p50-after-return-µs")
	b.ReportMetric(at(returned, 0.99)/1000, "p99-after-return-µs")
}

func publishing(p *pitch) signal {
	ctx, c, channel := context.Background(), p.valkey(), p.prefix()
	var listeners []valkey.Client
	s := signal{
		prepare: func() { // what invalidating does before each round, or else its cores and caches would be the colder
			for _, l := range listeners {
				must(l.Do(ctx, l.B().Set().Key(channel).Value("value").Build()).Error())
				must(l.Do(ctx, l.B().Get().Key(channel).Build()).Error())
			}
			time.Sleep(50 * time.Microsecond)
		},
		send: func() {
			must(c.Do(ctx, c.B().Publish().Channel(channel).Message("doc").Build()).Error())
		},
		reached: func(int) bool { return true },
	}
	for range fleet {
		m, l := moment.New(), p.valkey()
		p.host.Cleanup(moment.Listen(l, channel, m))
		listeners, s.noticed = append(listeners, l), append(s.noticed, m)
	}
	return s
}

func pinging(p *pitch) signal {
	c := p.valkey()
	return signal{prepare: func() {}, send: func() { must(c.Do(context.Background(), c.B().Ping().Build()).Error()) }}
}

// invalidating waits until the other stores' position in the change log has passed the change: from there on they do not
// believe copies made from the source. That their copies are really gone is seen by the next round's load.
func invalidating(p *pitch) signal {
	ctx, prefix := context.Background(), p.prefix()
	writer := p.store(prefix)
	var readers [fleet]*tier.Store
	var copies [fleet]*tier.Cache[string]
	var change tier.AsOf
	s := signal{reached: func(i int) bool { return readers[i].AsOf().Tick >= change.Tick }}
	for i := range readers {
		m := moment.New()
		readers[i] = p.storeOn(moment.Overhear(remote.Valkey(valkey.ClientOption{InitAddress: []string{p.addr()}}), m), prefix)
		copies[i] = view[string](readers[i], "blobs")
		s.noticed = append(s.noticed, m)
	}
	load := func(_ context.Context, e *tier.Entry) (string, error) {
		e.DependsOn("doc")
		return "value", nil
	}
	s.prepare = func() {
		for i, c := range copies {
			r, err := c.Lookup(ctx, "key", load)
			must(err)
			if r.Origin == tier.Local && !change.IsZero() {
				must(fmt.Errorf("store %d still believed its copy", i))
			}
		}
		for _, r := range readers { // their fills are acknowledged later, and should not fall into the time
			for st := r.Stats(); st.Loads > st.Fills+st.FillErrors+st.Fenced+st.Overtaken; st = r.Stats() {
				time.Sleep(50 * time.Microsecond)
			}
		}
	}
	s.send = func() {
		var err error
		change, err = writer.InvalidateSource(ctx, "doc")
		must(err)
	}
	return s
}

// bulk invalidates much at once, beside an INCR. The entries are in both tiers, and stay there unbelieved, which is why
// their number does not matter and why it can be done again and again.
func bulk(million bool) []work {
	incr := contestant{"INCR", func(p *pitch) func(*testing.B) {
		c, key := p.valkey(), p.prefix()
		return serially(func(int) error { return c.Do(context.Background(), c.B().Incr().Key(key).Build()).Error() })
	}}
	entries := func(name string, n int, sources ...string) work {
		return work{name: name, unit: "ns/op", contestants: []contestant{
			{ours, func(p *pitch) func(*testing.B) {
				ctx := context.Background()
				s := p.store(p.prefix())
				c := view[record](s, "docs:many")
				for batch := range batches(p.keys(p.size(n))) {
					must(c.SetMany(ctx, batch, tier.WithSources(sources...)))
				}
				return serially(func(int) (err error) {
					if len(sources) > 0 {
						_, err = s.InvalidateSource(ctx, sources...)
					} else {
						_, err = s.InvalidateNamespace(ctx, "docs")
					}
					return err
				})
			}}, incr,
		}}
	}
	all := []work{
		entries("InvalidateNamespace/entries=100000", 100_000),
		entries("InvalidateSource/dependents=10000", 10_000, "doc"),
	}
	if million {
		all = append(all, entries("InvalidateNamespace/entries=1000000", 1_000_000))
	}
	return all
}
