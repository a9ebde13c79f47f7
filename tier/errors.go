package tier

import (
	"errors"
	"fmt"

	"github.com/tiercache/tiercache/tier/internal/core"
)

var (
	// ErrNotFound is what a loader returns for "there is no such value". It is
	// remembered for the negative TTL, and Get returns it.
	ErrNotFound = core.ErrNotFound

	// ErrClosed is returned by calls after Close.
	ErrClosed = core.ErrClosed

	// ErrUnavailable says that the remote tier could not be reached and nothing
	// else could answer. Its text names the server, what was tried and for how long. It matches
	// context.DeadlineExceeded only if the caller's context has ended. A read that has a loader does not return it: the
	// loader answers. After a failed Set or Delete it is not known whether the
	// remote tier was changed, unless the text says that it came too late; it will
	// not be changed any more. A failed invalidation holds in this process, and is
	// sent again in the background.
	ErrUnavailable = core.ErrUnavailable

	// ErrRecursiveLoad is returned by a Get inside a loader for a key that this
	// very loader (or one that called it) is loading, or whose loader waits for that one:
	// waiting for it would never end. Its text names the keys. It is recognised by the
	// context that the loader was given. Of loaders in different processes it is found out within two
	// lease periods (6 s), of all but those that wait for several keys at once.
	ErrRecursiveLoad = core.ErrRecursiveLoad

	// ErrOverloaded is returned by reads without a value where as many loads run and wait as
	// WithMaxLoads allows, or where too many loaders do not return (WithDetachedLoads).
	ErrOverloaded = core.ErrOverloaded

	// ErrNilLoader is returned by calls that were given no loader.
	ErrNilLoader = errors.New("tier: loader is nil")
)

// LoadPanic is the error of every caller of a load whose loader panicked, or
// whose loader or codec ended its goroutine with runtime.Goexit. (If that was the
// goroutine of a caller, it ends.) It is also their error if a panic of the library's
// own code ended the load: see Stats.Panics. It is not cached.
type LoadPanic struct {
	// Value is what was passed to panic; nil for Goexit, and for the library's own.
	Value any
	// Stack is the loader's, empty where Value is nil.
	Stack []byte
}

func (p *LoadPanic) Error() string {
	if p.Value == nil && len(p.Stack) == 0 {
		return "tier: loader or codec called runtime.Goexit, or a panic of the library ended the load (it is logged)"
	}
	return fmt.Sprintf("tier: loader panicked: %v", p.Value)
}

// Unwrap returns the panic's value if it was an error.
func (p *LoadPanic) Unwrap() error {
	err, _ := p.Value.(error)
	return err
}

func newLoadPanic(value any, stack []byte) error { return &LoadPanic{Value: value, Stack: stack} }
