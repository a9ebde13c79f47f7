package core

import (
	"errors"
	"runtime"
	"strings"
)

var errCloseInside = errors.New("tier: close: it was called by a loader, an observer, a tracer, a codec, what sizes values or what is told of evicted ones, for which it waits: call it in another goroutine")

// insides are the functions that call what users give, in goroutines that Close waits for.
var insides = []string{"tier/internal/core.(*loadRun).runLoader", "tier/internal/core.(*Store).observe", "tier/internal/values", "tier/internal/evict.(*Queue).tell", "tier/internal/traced.(*Told)"}

// calledFromInside reports whether this goroutine is running what a user has given. (A goroutine has no name by which that
// could be kept. Close is called once, so it may take the time to look.)
func calledFromInside() bool {
	for pcs, skip := make([]uintptr, 64), 2; ; skip += len(pcs) {
		n := runtime.Callers(skip, pcs)
		if n == 0 {
			return false
		}
		for frames := runtime.CallersFrames(pcs[:n]); ; {
			frame, more := frames.Next()
			for _, name := range insides {
				if rest, ok := strings.CutPrefix(frame.Function, module); ok && (rest == name || strings.HasPrefix(rest, name+".")) {
					return true
				}
			}
			if !more {
				break
			}
		}
	}
}

const module = "github.com/tiercache/tiercache/"
