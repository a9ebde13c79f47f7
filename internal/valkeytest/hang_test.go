package valkeytest

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// The tests run in a child process then, and hang.
const hangVar = "TIERCACHE_VALKEYTEST_HANG"

func TestARunThatHangsSaysWhere(t *testing.T) {
	if os.Getenv(hangVar) != "" {
		select {}
	}
	t.Parallel()
	cmd := exec.Command(os.Args[0], "-test.run=^TestARunThatHangsSaysWhere$", "-test.timeout=10s")
	cmd.Env = append(os.Environ(), hangVar+"=1")
	out, err := cmd.CombinedOutput()
	if said := string(out); err == nil || strings.Count(said, "\n") > 5 || !strings.Contains(said, "]: internal/valkeytest.TestARunThatHangsSaysWhere\n") {
		t.Errorf("%v, and it says %s", err, said)
	}
}
