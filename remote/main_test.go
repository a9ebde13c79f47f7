package remote_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/tiercache/tiercache/internal/valkeytest"
)

func TestMain(m *testing.M) {
	// A client that could not connect leaves a goroutine that sleeps for a second and ends: not ours to wait for.
	valkeytest.Main(m, goleak.IgnoreAnyFunction("github.com/valkey-io/valkey-go.(*call).DelayDo.func1"))
}
