package valkeytest

import (
	"os/exec"
	"testing"
)

// Extra is called first by a test of make test-extra, which needs more than Go and a server: elsewhere it skips the
// test, and so it does where one of the programs is missing.
func Extra(t testing.TB, programs ...string) {
	t.Helper()
	if !isSet("TIERCACHE_EXTRA") {
		t.Skip("SKIPPED: make test-extra runs it")
	}
	for _, name := range programs {
		NeedProgram(t, name)
	}
}

// NeedProgram skips the test where a program is missing. internal/gotest knows such skips by their first words.
func NeedProgram(t testing.TB, name string) {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		t.Skipf("SKIPPED: no program %s: %v", name, err)
	}
}
