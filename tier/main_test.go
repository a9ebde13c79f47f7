package tier_test

import (
	"fmt"
	"os"
	"testing"

	"github.com/tiercache/tiercache/internal/valkeytest"
)

func TestMain(m *testing.M) {
	if arguments := os.Getenv(linkVariable); arguments != "" {
		if err := beLink(arguments); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	valkeytest.Main(m)
}
