package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tiercache/tiercache/bench"
)

func traceFile(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "trace")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestAdviceForALoop: an LRU needs room for all of it, the others gain from any.
func TestAdviceForALoop(t *testing.T) {
	loop := strings.Repeat(strings.Join(strings.Split("abcdefghijklmnopqrstuvwxyz", ""), ",100\n")+",100\nbad,line\n", 200)
	var out, diagnostics bytes.Buffer
	if err := run([]string{"advise", "-trace", traceFile(t, loop), "-hit", "40", "-verify"}, &out, &diagnostics); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"5200 requests for 26 keys", "270 bytes", "hits 40.0 %", "With all keys"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is missing in\n%s", want, out.String())
		}
	}
	if !strings.Contains(diagnostics.String(), "line 27: size") || !strings.Contains(diagnostics.String(), "and 180 more") {
		t.Error(diagnostics.String())
	}
	out.Reset()
	if err := run([]string{"advise", "-trace", traceFile(t, loop), "-hit", "40", "-json"}, &out, &diagnostics); err != nil {
		t.Fatal(err)
	}
	var a bench.Advice
	if err := json.Unmarshal(out.Bytes(), &a); err != nil {
		t.Fatal(err)
	}
	if lru, adaptive := a.Wanted[0].Size.Entries, a.Wanted[3].Size.Entries; lru != 26 || adaptive > 20 {
		t.Errorf("LRU needs %d entries, adaptive %d", lru, adaptive)
	}
}

func TestBadCallsAreToldFromBadTraces(t *testing.T) {
	good := traceFile(t, "a\nb\na\n")
	for _, args := range [][]string{nil, {"other"}, {"advise"}, {"advise", "-trace", good, "more"},
		{"advise", "-trace", good, "-hit", "101"}, {"advise", "-unknown"}} {
		var usage usageError
		if err := run(args, new(bytes.Buffer), new(bytes.Buffer)); !errors.As(err, &usage) {
			t.Errorf("%q: %v", args, err)
		}
	}
	for _, path := range []string{filepath.Join(t.TempDir(), "none"), traceFile(t, ""), traceFile(t, "\n\n")} {
		var usage usageError
		err := run([]string{"advise", "-trace", path}, new(bytes.Buffer), new(bytes.Buffer))
		if err == nil || errors.As(err, &usage) {
			t.Errorf("%s: %v", path, err)
		}
	}
}
