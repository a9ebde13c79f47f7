// Package alloctest bounds what code allocates in tests, fuzz targets among
// them: what is read from outside may make no reader allocate without limit.
package alloctest

import (
	"runtime/metrics"
	"testing"
)

// Slack is what a limit should leave to the runtime and to other goroutines,
// whose allocations are counted as well.
const Slack = 1 << 20

// Within fails the test if f allocates more than limit bytes. It is cheap enough
// for fuzzing, and so counts small objects by the span: see Slack.
func Within(t testing.TB, limit int, f func()) {
	t.Helper()
	before := allocated()
	f()
	if n := allocated() - before; n > uint64(limit) {
		t.Fatalf("%d bytes were allocated, the limit is %d", n, limit)
	}
}

func allocated() uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}
