package tiertest

import (
	"testing"

	"github.com/tiercache/tiercache/tier/internal/compare"
)

// FindModified fails the test when a value is modified after a view has been given it, by a loader or Set, or has given it out.
// It compares how the value is encoded each time it is given out, and so finds a modification at the next hit. It concerns
// views that are made between the call and the end of the test, of all tests that run at the time; their hits are slow. Values whose
// codec does not give the same bytes twice are not compared.
func FindModified(t testing.TB) {
	t.Helper()
	t.Cleanup(compare.Begin(func(namespace, key string) {
		t.Helper()
		t.Errorf("namespace %q, key %q: the value was modified after it was shared: treat what a cache returns, or was given, as read-only, or copy it first", namespace, key)
	}))
}
