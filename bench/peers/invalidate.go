package main

import (
	"context"
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/valkey-io/valkey-go"

	"github.com/tiercache/tiercache/tier"
)

// signal is something that one process does and others notice.
type signal struct {
	prepare func()      // not timed: gives the others something to lose
	send    func()      // returns when the server has acknowledged it
	reached func() bool // by all the others
}

// reaching is the time from the writer's call until the last of 4 other stores does not believe its copy any more, beside
// a bare PUBLISH until the last of 4 subscribers has it, and a PING. All are waited for in the same way, from when the
// call has returned, so nothing can look faster than its own call.
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
		b.StartTimer()
		begun := time.Now()
		s.send()
		back := time.Now()
		for !s.reached() {
			runtime.Gosched()
		}
		called[i], returned[i] = time.Since(begun), time.Since(back)
	}
	b.ReportMetric(at(called, 0.5)/1000, "p50-µs")
	b.ReportMetric(at(called, 0.99)/1000, "p99-µs")
	b.ReportMetric(at(returned, 0.5)/1000, "p50-after-return-µs")
	b.ReportMetric(at(returned, 0.99)/1000, "p99-after-return-µs")
}

func publishing(p *pitch) signal {
	c, channel := p.valkey(), p.prefix()
	var heard [fleet]atomic.Int64
	for i := range heard {
		listen(p, channel, &heard[i])
	}
	var sent int64
	return signal{
		prepare: func() {},
		send: func() {
			sent++
			must(c.Do(context.Background(), c.B().Publish().Channel(channel).Message("doc").Build()).Error())
		},
		reached: func() bool {
			for i := range heard {
				if heard[i].Load() < sent {
					return false
				}
			}
			return true
		},
	}
}

func pinging(p *pitch) signal {
	c := p.valkey()
	return signal{
		prepare: func() {},
		send:    func() { must(c.Do(context.Background(), c.B().Ping().Build()).Error()) },
		reached: func() bool { return true },
	}
}

// invalidating waits until the other stores' position in the change log has passed the change: from there on they do not
// believe copies made from the source. That their copies are really gone is seen by the next round's load.
func invalidating(p *pitch) signal {
	ctx, prefix := context.Background(), p.prefix()
	writer := p.store(prefix)
	var readers [fleet]*tier.Store
	var copies [fleet]*tier.Cache[string]
	for i := range readers {
		readers[i] = p.store(prefix)
		copies[i] = view[string](readers[i], "blobs")
	}
	load := func(_ context.Context, e *tier.Entry) (string, error) {
		e.DependsOn("doc")
		return "value", nil
	}
	var change tier.AsOf
	return signal{
		prepare: func() {
			for i, c := range copies {
				r, err := c.Lookup(ctx, "key", load)
				must(err)
				if r.Origin == tier.Local && !change.IsZero() {
					must(fmt.Errorf("store %d still believed its copy", i))
				}
			}
			for _, r := range readers { // their fills are acknowledged later, and should not fall into the time
				for r.Stats().Loads != r.Stats().Fills+r.Stats().Fenced+r.Stats().Overtaken+r.Stats().FillErrors {
					time.Sleep(50 * time.Microsecond)
				}
			}
		},
		send: func() {
			var err error
			change, err = writer.InvalidateSource(ctx, "doc")
			must(err)
		},
		reached: func() bool {
			for _, r := range readers {
				if r.AsOf().Tick < change.Tick {
					return false
				}
			}
			return true
		},
	}
}

// listen counts the messages of a channel, from when the subscription stands.
func listen(p *pitch, channel string, heard *atomic.Int64) {
	client := p.valkey()
	ctx, cancel := context.WithCancel(context.Background())
	standing, ended := make(chan struct{}, 1), make(chan struct{})
	hooked := valkey.WithOnSubscriptionHook(ctx, func(valkey.PubSubSubscription) {
		select {
		case standing <- struct{}{}:
		default:
		}
	})
	go func() {
		defer close(ended)
		_ = client.Receive(hooked, client.B().Subscribe().Channel(channel).Build(), func(valkey.PubSubMessage) { heard.Add(1) })
	}()
	<-standing
	p.host.Cleanup(func() { cancel(); <-ended })
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
