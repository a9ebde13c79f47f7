package tier_test

import (
	"context"
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/valkey-io/valkey-go"

	"github.com/tiercache/tiercache/internal/valkeytest"
	"github.com/tiercache/tiercache/tier"
)

// BenchmarkInvalidationReaches changes a source in one store and waits until the other one, which has a copy made from it,
// does not believe that any more. The wait begins when the call has returned, so a copy that went before counts as 0
// after the return, and as the duration of the call from its beginning. Beside it, in the same rounds and measured in the
// same way: a bare PUBLISH until the subscriber has the message, and a PING.
//
// Use -benchtime=5000x: 99th percentiles need rounds.
func BenchmarkInvalidationReaches(b *testing.B) {
	ctx := context.Background()
	prefix := valkeytest.Prefix(b)
	writer, reader := openBench(b, prefix), openBench(b, prefix)
	c := benchView[record](b, reader, "records")
	publisher, subscriber := valkeytest.Shared(b).Client(b), valkeytest.Shared(b).Client(b)
	heard := listen(b, subscriber, prefix+":bare")

	took := make(map[string][]time.Duration)
	timed := func(name string, act func(), reached func() bool) {
		begun := time.Now()
		act()
		returned := time.Now()
		for reached != nil && !reached() {
			runtime.Gosched()
		}
		ended := time.Now()
		took[name+"-called"] = append(took[name+"-called"], ended.Sub(begun))
		if reached != nil {
			took[name+"-returned"] = append(took[name+"-returned"], ended.Sub(returned))
		}
	}
	load := is(recordOf(1), "doc")
	for b.Loop() {
		r, err := c.Lookup(ctx, "key", load)
		if err != nil || r.Origin == tier.Local {
			b.Fatal("the copy should have gone: ", r.Origin, err)
		}
		// A fill is acknowledged after the answer; it should not fall into what is timed.
		for reader.Stats().Fills != reader.Stats().Loads {
			time.Sleep(50 * time.Microsecond)
		}
		var asOf tier.AsOf
		timed("ours", func() { asOf, err = writer.InvalidateSource(ctx, "doc") },
			func() bool { return reader.AsOf().Tick >= asOf.Tick })
		if err != nil {
			b.Fatal(err)
		}
		want := heard.Load() + 1
		timed("publish", func() {
			err = publisher.Do(ctx, publisher.B().Publish().Channel(prefix+":bare").Message("doc").Build()).Error()
		}, func() bool { return heard.Load() >= want })
		timed("ping", func() { err = publisher.Do(ctx, publisher.B().Ping().Build()).Error() }, nil)
		if err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(0, "ns/op") // a round is several things
	for name, all := range took {
		percentiles(b, name, all)
	}
}

// listen counts the messages of a channel, from when the subscription stands.
func listen(b *testing.B, client valkey.Client, channel string) *atomic.Int64 {
	var heard atomic.Int64
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
	b.Cleanup(func() { cancel(); <-ended })
	return &heard
}

// BenchmarkInvalidate changes a namespace of many entries, all of them stored remotely and held locally, beside an INCR. The
// entries stay where they are, unbelieved: that is why their number does not matter, and why it can be done again and
// again. With -short there are 1,000.
func BenchmarkInvalidate(b *testing.B) {
	ctx := context.Background()
	n := 100_000
	if testing.Short() {
		n = 1000
	}
	prefix := valkeytest.Prefix(b)
	s, bare := openBench(b, prefix), valkeytest.Shared(b).Client(b)
	fillWith(b, benchView[record](b, s, "docs:many"), benchKeys(n), recordOf)
	serially(b, fmt.Sprintf("namespace/entries=%d", n), func(int) {
		if _, err := s.InvalidateNamespace(ctx, "docs"); err != nil {
			b.Fatal(err)
		}
	})
	serially(b, "INCR", func(int) {
		if err := bare.Do(ctx, bare.B().Incr().Key(prefix+":bare").Build()).Error(); err != nil {
			b.Fatal(err)
		}
	})
}
