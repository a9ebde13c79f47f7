package bench_test

import (
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
)

// inBubble runs f in fake time. synctest is for tests; a benchmark reaches it by running one.
func inBubble(tb testing.TB, f func()) {
	tb.Helper()
	if t, ok := tb.(*testing.T); ok {
		synctest.Test(t, func(*testing.T) { f() })
		return
	}
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0)) // RunTests goes through all of -cpu, and -count times
	var once sync.Once
	test := testing.InternalTest{Name: tb.Name(), F: func(t *testing.T) {
		once.Do(func() { synctest.Test(t, func(*testing.T) { f() }) })
	}}
	always := func(string, string) (bool, error) { return true, nil }
	if !testing.RunTests(always, []testing.InternalTest{test}) {
		tb.Fatal("failed in its bubble")
	}
}
