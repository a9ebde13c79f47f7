package tierdebug

import (
	"testing"

	"github.com/tiercache/tiercache/internal/valkeytest"
)

func TestMain(m *testing.M) { valkeytest.Main(m) }
