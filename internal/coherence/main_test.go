package coherence

import (
	"testing"

	"github.com/tiercache/tiercache/internal/valkeytest"
)

func TestMain(m *testing.M) {
	Serve() // if this process is to be a member
	valkeytest.Main(m)
}
