// Package valkeytest gives tests a real Valkey server of their own.
//
// [Start] runs a server for one test, on a free loopback port and in a folder of its own; it may be killed, restarted,
// paused and reconfigured at will. [Shared] is one server per test binary for tests that only need keys: they keep
// apart by [Prefix] and leave the server as they found it (no FLUSHALL, no CONFIG SET). A package that uses Shared
// hands its TestMain to [Main], which also fails the package when goroutines are left behind, and says where its tests
// hang:
//
//	func TestMain(m *testing.M) { valkeytest.Main(m) }
//
//	func TestRoundTrip(t *testing.T) {
//		s := valkeytest.Shared(t)
//		store := open(t, s.URL(), valkeytest.Prefix(t))
//		…
//	}
//
// Servers are combined by [ReplicaOf], [StartSentinels] and [StartCluster], and secured by [TLS] and by users
// (Config("user", …), Config("requirepass", …)).
//
// # Which server
//
// The binary is the first of
//
//   - the file named by the environment variable VALKEY_SERVER (when it is set and cannot be run, that is a failure:
//     nothing else is tried),
//   - valkey-server on PATH,
//   - the copy that scripts/get-valkey keeps in ${XDG_CACHE_HOME:-$HOME/.cache}/tiercache/valkey.
//
// Where there is none, a test that needs one is skipped, and one line on standard error says how many were skipped and
// what to do. With TIERCACHE_REQUIRE_SERVER=1 in the environment (make test and the CI set it) it fails instead. With
// TIERCACHE_NO_SERVER=1 (make quick) it is skipped in any case.
//
// TIERCACHE_VALKEY_SERVERS lists several binaries, separated like PATH: [EachVersion] runs a test on each of them.
//
// A test result that go test has cached does not know of a server installed since: use make test, or -count=1.
//
// # What ends when
//
// A server ends with the test that started it, the shared one with Main. If the test binary cannot get that far (a
// panic, a timeout, a kill) the server is killed with it: by the kernel on Linux, by a small watchdog on other Unixes.
package valkeytest
