package tier_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/valkey-io/valkey-go"

	"github.com/tiercache/tiercache/internal/moment"
	"github.com/tiercache/tiercache/internal/valkeytest"
	"github.com/tiercache/tiercache/remote"
	"github.com/tiercache/tiercache/tier"
)

// BenchmarkInvalidationReaches changes a source in one store and waits until the other one, which has a copy made from it,
// does not believe that any more. The moment is taken on the goroutine that has just applied the push; a copy that went
// before the call returned counts as 0 after the return. Beside it, in the same rounds: a bare PUBLISH, until the
// subscriber's goroutine has the message, and a PING.
//
// Use -benchtime=5000x: 99th percentiles need rounds.
func BenchmarkInvalidationReaches(b *testing.B) {
	ctx := context.Background()
	prefix := valkeytest.Prefix(b)
	applied, heard := moment.New(), moment.New()
	writer := openBench(b, prefix)
	reader := openBench(b, prefix, tier.WithRemote(
		moment.Overhear(remote.Valkey(valkey.ClientOption{InitAddress: []string{valkeytest.Shared(b).Addr}}), applied)))
	c := benchView[record](b, reader, "records")
	publisher := valkeytest.Shared(b).Client(b)
	b.Cleanup(moment.Listen(valkeytest.Shared(b).Client(b), prefix+":bare", heard))

	took := make(map[string][]time.Duration)
	timed := func(name string, m *moment.Moment, act func() error, reached func() bool) {
		m.Forget()
		begun := time.Now()
		if err := act(); err != nil {
			b.Fatal(err)
		}
		returned, ended := time.Now(), time.Time{}
		for ended.IsZero() || !reached() {
			ended = m.Wait()
		}
		took[name+"-called"] = append(took[name+"-called"], ended.Sub(begun))
		took[name+"-returned"] = append(took[name+"-returned"], max(0, ended.Sub(returned)))
	}
	load := is(recordOf(1), "doc")
	poll := time.NewTicker(50 * time.Microsecond)
	defer poll.Stop()
	for range b.N {
		r, err := c.Lookup(ctx, "key", load)
		if err != nil || r.Origin == tier.Local {
			b.Fatal("the copy should have gone: ", r.Origin, err)
		}
		// A fill is acknowledged after the answer; it should not fall into what is timed.
		for st := reader.Stats(); st.Loads > st.Fills+st.FillErrors+st.Fenced+st.Overtaken; st = reader.Stats() {
			<-poll.C
		}
		var asOf tier.AsOf
		timed("ours", applied, func() (err error) { asOf, err = writer.InvalidateSource(ctx, "doc"); return err },
			func() bool { return reader.AsOf().Tick >= asOf.Tick })
		timed("publish", heard, func() error {
			return publisher.Do(ctx, publisher.B().Publish().Channel(prefix+":bare").Message("doc").Build()).Error()
		}, func() bool { return true })
		begun := time.Now()
		if err := publisher.Do(ctx, publisher.B().Ping().Build()).Error(); err != nil {
			b.Fatal(err)
		}
		took["ping-called"] = append(took["ping-called"], time.Since(begun))
	}
	b.ReportMetric(0, "ns/op") // a round is several things
	for name, all := range took {
		percentiles(b, name, all)
	}
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
