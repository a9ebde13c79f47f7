// Memberproc is a member of a fleet and nothing else, for tests that build it from
// another version of the library.
package main

import (
	"fmt"
	"os"

	"github.com/tiercache/tiercache/internal/coherence"
)

func main() {
	coherence.Serve() // and exit
	fmt.Fprintln(os.Stderr, "memberproc: to be started by a test of internal/coherence")
	os.Exit(2)
}
