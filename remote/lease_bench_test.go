package remote

import (
	"context"
	"fmt"
	"regexp"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/valkey-io/valkey-go"

	"github.com/tiercache/tiercache/internal/backend"
	"github.com/tiercache/tiercache/internal/valkeytest"
)

// leaseCommand is one way to do something to a lease.
type leaseCommand struct {
	name  string
	stats []string // under which the server counts it
	// asks are the round trips that it takes. The lease is k!, and its token is "token".
	asks []func(b *batch, k string)
	// ends: the lease is gone then, so it is taken anew in the first of the round trips.
	ends bool
}

const leaseTTL = "30000"

func takeLease(b *batch, k string) {
	b.add("SET", k+backend.LeaseSuffix, "token", "NX", "PX", leaseTTL)
}

func byScript(s script, names func(string) []string, args ...string) []func(b *batch, k string) {
	return []func(b *batch, k string){func(b *batch, k string) {
		b.eval(s, names(k)...)
		b.more(args...)
	}}
}

func deleteIfEqual(b *batch, k string) { b.add("DELIFEQ", k+backend.LeaseSuffix, "token") }

var leaseCommands = []leaseCommand{
	{name: "nothing", asks: []func(*batch, string){func(*batch, string) {}}, ends: true},
	{name: "extend/script", stats: []string{"evalsha"}, asks: byScript(scriptExtend, lease, "token", leaseTTL)},
	{name: "extend/command", stats: []string{"set"}, asks: []func(*batch, string){func(b *batch, k string) {
		b.add("SET", k+backend.LeaseSuffix, "token", "IFEQ", "token", "PX", leaseTTL)
	}}},
	{name: "release/script", stats: []string{"evalsha"}, asks: byScript(scriptRelease, lease, "token"), ends: true},
	{name: "release/command", stats: []string{"delifeq"}, asks: []func(*batch, string){deleteIfEqual}, ends: true},
	{name: "discard/script", stats: []string{"evalsha"}, asks: byScript(scriptDiscard, pair, "token"), ends: true},
	{name: "discard/commands", stats: []string{"delifeq", "psetex", "unlink"}, asks: []func(*batch, string){deleteIfEqual, func(b *batch, k string) {
		b.add("PSETEX", k, "1000", "") // as the script does, so that the end of a key that is not there is told
		b.add("UNLINK", k)
	}}, ends: true},
}

// BenchmarkLeaseCommands compares the scripts that extend, release and discard a lease with commands of the server's own, SET
// IFEQ (since Valkey 8.1) and DELIFEQ (since 9.0): see docs/adr/0021-leases-keep-their-scripts.md.
//
//	VALKEY_SERVER=/path/to/valkey-server go test -run '^$' -bench LeaseCommands ./remote
//
// A lease is taken in the same round trip as it ends; "nothing" does that alone. "server-µs" is what the server took for the rest.
func BenchmarkLeaseCommands(b *testing.B) {
	s := valkeytest.Start(b)
	admin := s.Client(b)
	opened, err := Valkey(valkey.ClientOption{InitAddress: []string{s.Addr}}).Connect(b.Context(), backend.Options{Prefix: "p", Timeout: time.Minute,
		Events: backend.Events{Changed: func([]string) {}, Lost: func() {}, Published: func(string) {}}})
	if err != nil {
		b.Fatal(err)
	}
	defer opened.Close()
	c := opened.(*valkeyConn)
	for _, op := range leaseCommands {
		for _, callers := range []int{1, 32} {
			b.Run(fmt.Sprintf("%s/callers=%d", op.name, callers), func(b *testing.B) { benchmarkLeases(b, c, admin, op, callers) })
		}
	}
}

func benchmarkLeases(b *testing.B, c *valkeyConn, admin valkey.Client, op leaseCommand, callers int) {
	once := func(k string, takes bool) error {
		for i, add := range op.asks {
			request := newBatch()
			if takes && i == 0 {
				takeLease(request, k)
			}
			add(request, k)
			for _, r := range run(context.Background(), c.tracked, request) {
				if r.err != nil && r.err != errNull {
					return r.err
				}
			}
		}
		return nil
	}
	if err := once("p:d:n:{first}", true); err != nil { // the server knows the script from now on
		b.Skip(err) // it does not have the command
	}
	var left atomic.Int64
	left.Store(int64(b.N))
	before := serverTime(b, admin, op.stats)
	var ended sync.WaitGroup
	b.ResetTimer()
	for caller := range callers {
		ended.Go(func() {
			k := fmt.Sprintf("p:d:n:{%d}", caller)
			err := once(k, true)
			for left.Add(-1) >= 0 && err == nil {
				err = once(k, op.ends)
			}
			if err != nil {
				b.Error(err)
			}
		})
	}
	ended.Wait()
	b.StopTimer()
	b.ReportMetric((serverTime(b, admin, op.stats)-before)/float64(b.N), "server-µs")
}

// serverTime returns how many microseconds the server has spent in the commands.
func serverTime(b *testing.B, admin valkey.Client, commands []string) (sum float64) {
	text, err := admin.Do(b.Context(), admin.B().Info().Section("commandstats").Build()).ToString()
	if err != nil {
		b.Fatal(err)
	}
	for _, name := range commands {
		if found := regexp.MustCompile(`cmdstat_` + name + `:calls=\d+,usec=(\d+)`).FindStringSubmatch(text); found != nil {
			n, err := strconv.ParseFloat(found[1], 64)
			if err != nil {
				b.Fatal(err)
			}
			sum += n
		}
	}
	return sum
}
