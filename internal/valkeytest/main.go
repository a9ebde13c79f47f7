package valkeytest

import (
	"crypto/rand"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

var pkg struct {
	sync.Mutex
	inMain  bool // Main is running the tests
	skipped int  // tests skipped for want of a server

	shared    *Server // started by the first call of Shared, ended by Main
	sharedErr error   // why it could not be started; not tried again

	cluster *Cluster // started by the first call of SharedCluster
	ends    []func() // what to do at the end of Main, the last first
}

// Shared returns the server that all tests of this package share; the first call starts it and [Main] ends it. Do not
// flush, reconfigure or end it, and keep to keys under a [Prefix]. Without a server program the test is skipped, or fails.
func Shared(t testing.TB) *Server {
	t.Helper()
	binary := need(t)
	pkg.Lock()
	defer pkg.Unlock()
	if !pkg.inMain {
		t.Fatal("valkeytest: Shared needs: func TestMain(m *testing.M) { valkeytest.Main(m) }")
	}
	if pkg.shared == nil && pkg.sharedErr == nil {
		s := &Server{binary: binary}
		if pkg.sharedErr = s.create(); pkg.sharedErr == nil {
			pkg.shared = s
		}
	}
	if pkg.sharedErr != nil {
		t.Fatal(pkg.sharedErr)
	}
	select {
	case <-pkg.shared.proc.done:
		t.Fatalf("valkeytest: the shared server has ended:\n%s", pkg.shared.logTail())
	default:
	}
	return pkg.shared
}

// SharedCluster is Shared of a cluster of three primaries without replicas.
func SharedCluster(t testing.TB) *Cluster {
	t.Helper()
	need(t)
	pkg.Lock()
	defer pkg.Unlock()
	if !pkg.inMain {
		t.Fatal("valkeytest: SharedCluster needs: func TestMain(m *testing.M) { valkeytest.Main(m) }")
	}
	if pkg.cluster == nil {
		pkg.cluster = startCluster(lasting{t}, 3, false)
	}
	return pkg.cluster
}

// lasting is a test whose cleanups happen at the end of its package.
type lasting struct{ testing.TB }

func (l lasting) Cleanup(f func()) { pkg.ends = append(pkg.ends, f) }
func (l lasting) Failed() bool     { return false } // it may have ended

// Prefix returns a new random key prefix of letters and digits, which keeps a test's keys apart from all others on a
// shared server.
func Prefix(t testing.TB) string {
	return "t" + strings.ToLower(rand.Text()[:15])
}

// Main runs the tests of a package and exits: it ends the shared server, says what was skipped, and fails a package
// whose tests passed but left goroutines behind. Tests that hang it ends shortly before go test would, and says in a few
// lines where they are. An option that ignores some goroutine needs a reason beside it.
func Main(m *testing.M, ignore ...goleak.Option) {
	pkg.Lock()
	pkg.inMain = true
	pkg.Unlock()

	flag.Parse() // for watch: m.Run would do it later
	stop := watch()
	code := m.Run()
	stop()

	pkg.Lock()
	defer pkg.Unlock()
	if pkg.shared != nil {
		pkg.shared.destroy()
	}
	for _, end := range slices.Backward(pkg.ends) {
		end()
	}
	// The client of a cluster closes connections of servers that have left it five seconds later, when its own end may
	// be long past: not ours to wait for.
	ignore = append(ignore, goleak.IgnoreAnyFunction("github.com/valkey-io/valkey-go.(*clusterClient)._refresh.func2"),
		goleak.IgnoreAnyFunction("github.com/valkey-io/valkey-go.(*clusterClient).redirectOrNew.func1"),
		// It waits for up to a second before it looks for moved slots, or tries a server again that could not be reached.
		goleak.IgnoreAnyFunction("github.com/valkey-io/valkey-go.(*call).DelayDo.func1"))
	if code == 0 {
		err := goleak.Find(ignore...)
		for deadline := time.Now().Add(time.Minute); err != nil && time.Now().Before(deadline); {
			err = goleak.Find(ignore...) // which itself waits for less than a busy machine takes to end one
		}
		if err != nil {
			fmt.Fprintf(os.Stderr, "valkeytest: goroutines left behind by the tests of this package:\n%v\n", err)
			code = 1
		}
	}
	if pkg.skipped > 0 {
		announce(fmt.Sprintf("SKIPPED %d tests of %s: %v", pkg.skipped, testedPackage(), errNoServer))
	}
	os.Exit(code)
}

// noteSkip counts a skipped test for Main's summary; without Main the first one is announced at once.
func noteSkip() {
	pkg.Lock()
	defer pkg.Unlock()
	pkg.skipped++
	if !pkg.inMain && pkg.skipped == 1 {
		announce(fmt.Sprintf("SKIPPED tests of %s: %v", testedPackage(), errNoServer))
	}
}

// testedPackage is the last element of the tested package's path.
func testedPackage() string {
	return strings.TrimSuffix(filepath.Base(os.Args[0]), ".test")
}
