package valkeytest

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Regression: make test went on without a server, had its last tests skip what they could not do, and ended well.
func TestMakeTestFailsWithoutAServer(t *testing.T) {
	NeedProgram(t, "make")
	if _, err := os.Stat("../../Makefile"); err != nil {
		t.Skip(err) // a copy of the Go files alone
	}
	t.Setenv("VALKEY_SERVER", filepath.Join(t.TempDir(), "valkey-server"))
	t.Setenv("MAKEFLAGS", "") // those of a make that runs this test
	make := exec.Command("make", "test", "PKGS=./internal/mono")
	make.Dir = "../.."
	out, err := make.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "get-valkey: VALKEY_SERVER=") {
		t.Fatalf("make test without a server: %v\n%s", err, out)
	}
}
