package valkeytest

import (
	"flag"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"time"
)

// watch ends a run that hangs a little before go test's timeout would, and says in a few lines where the module's own
// goroutines are. What go test prints is every goroutine at length, of which a log's end shows the least telling ones.
func watch() (stop func() bool) {
	timeout, ok := flag.Lookup("test.timeout").Value.(flag.Getter).Get().(time.Duration)
	if !ok || timeout <= 0 {
		return func() bool { return true }
	}
	early := max(timeout/20, min(timeout/2, 5*time.Second)) // on a busy machine it takes a while
	return time.AfterFunc(timeout-early, func() {
		stacks := make([]byte, 16<<20)
		where(os.Stderr, string(stacks[:runtime.Stack(stacks, true)]))
		fmt.Fprintf(os.Stderr, "valkeytest: the tests of %s hang: see above for where they are\n", testedPackage())
		os.Exit(2)
	}).Stop
}

const module = "github.com/tiercache/tiercache/"

// where writes a line for each goroutine that is in code of the module: why it waits, and its calls of it, the
// innermost first.
func where(w io.Writer, stacks string) {
	for _, stack := range strings.Split(stacks, "\n\n") {
		head, rest, _ := strings.Cut(stack, "\n")
		var calls []string
		for line := range strings.Lines(rest) {
			call, ours := strings.CutPrefix(line, module)
			if !ours || strings.HasPrefix(call, "internal/valkeytest.watch") {
				continue
			}
			call, _, _ = strings.Cut(call, "(0x") // its arguments
			calls = append(calls, strings.TrimSpace(call))
		}
		if len(calls) > 0 {
			fmt.Fprintf(w, "%s %s\n", head, strings.Join(calls, " < "))
		}
	}
}
