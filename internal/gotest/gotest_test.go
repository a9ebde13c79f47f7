package main

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// module writes a module of the given files, and returns its folder.
func module(t *testing.T, files map[string]string) string {
	dir := t.TempDir()
	files["go.mod"] = "module github.com/tiercache/tiercache/m\n\ngo 1.25\n"
	for name, text := range files {
		require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o700))
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	return dir
}

// runOn runs the program on a module of the given files.
func runOn(t *testing.T, files map[string]string, args ...string) (passed bool, output string) {
	var out strings.Builder
	passed = runAll(append([]string{"-in", module(t, files), "GOWORK=off"}, args...), &out)
	return passed, out.String()
}

// failed returns the last lines of the output, which name what failed.
func failed(output string) []string {
	_, last, _ := strings.Cut(output, "\n== what failed")
	return strings.Split(strings.TrimSpace(last), "\n")[1:]
}

func TestTheLastLinesNameEachTestThatFailed(t *testing.T) {
	passed, out := runOn(t, map[string]string{
		"plain/x_test.go": `package plain
			import "testing"
			func TestGood(t *testing.T) { t.Log("quiet") }
			func TestBad(t *testing.T) { t.Log("a log"); t.Error("one is not two") }
			func TestOuter(t *testing.T) {
				t.Run("good", func(t *testing.T) {})
				t.Run("inner", func(t *testing.T) { t.Fatal("deep") })
			}`,
		"dies/x_test.go": `package dies
			import "testing"
			func TestWaits(t *testing.T) { t.Parallel() }
			func TestDies(t *testing.T) { panic("boom") }`,
		"exits/x_test.go": `package exits
			import ("fmt"; "os"; "testing")
			func TestMain(m *testing.M) { m.Run(); fmt.Println("valkeytest: goroutines left behind"); os.Exit(1) }
			func TestFine(t *testing.T) {}`,
		"broken/x_test.go": "package broken\nvar x int = \"\"\n",
		"other/x_test.go":  "package other\nimport \"testing\"\nfunc TestSlow(t *testing.T) { select {} }\n",
		"fine/x_test.go":   "package fine\nimport \"testing\"\nfunc TestFine(t *testing.T) {}\n",
	}, "-timeout=5s", "./...")
	require.False(t, passed)
	require.NotContains(t, out, "quiet", "what a test says that passes")
	require.NotContains(t, out, "=== RUN")
	require.Contains(t, out, "--- FAIL: TestBad")
	require.Contains(t, out, "ok  \tgithub.com/tiercache/tiercache/m/fine\t")
	lines := failed(out)
	for _, want := range []string{
		"FAIL m/plain TestBad: x_test.go:4: a log … x_test.go:4: one is not two",
		"FAIL m/plain TestOuter/inner: x_test.go:7: deep",
		"FAIL m/dies TestDies: panic: boom [recovered, repanicked]",
		"FAIL m/exits: valkeytest: goroutines left behind",
		`FAIL m/broken: broken/x_test.go:2:13: cannot use "" (untyped string constant) as int value in variable declaration`,
		"FAIL m/other TestSlow: panic: test timed out after 5s",
	} {
		require.Contains(t, lines, want)
	}
	require.NotContains(t, strings.Join(lines, "\n"), "TestOuter:", "its subtest says why")
	require.NotContains(t, strings.Join(lines, "\n"), "TestFine")
}

func TestAPartThatFailsDoesNotHideTheNext(t *testing.T) {
	test := func(body string) string {
		return "package m\nimport (\"os\"; \"testing\")\nvar _ = os.Getenv\nfunc TestX(t *testing.T) { " + body + " }\n"
	}
	passed, out := runOn(t, map[string]string{"x_test.go": test(`if os.Getenv("WHICH") != "good" { t.Fatal("in " + os.Getenv("WHICH")) }`)},
		"WHICH=first", "-count=1", ".", "then", "-in", t.TempDir(), "GOWORK=off", "./...")
	require.False(t, passed)
	require.Len(t, failed(out), 2, out)
	require.Equal(t, "FAIL m TestX: x_test.go:4: in first", failed(out)[0])
	require.Contains(t, failed(out)[1], "FAIL ./...: pattern ./...: ", "what go test itself complains of")
}

// Its first run ends as one does in which the race detector crashes.
func TestAPackageIsRunOnceMoreWhereTheRaceDetectorCrashed(t *testing.T) {
	for what, x := range map[string]struct {
		said   string
		passes int // the run that passes
		ok     bool
	}{
		"check failed":         {"ThreadSanitizer: CHECK failed: tsan_rtl.cpp:346 \"((exiting)) != (0)\" (0x0, 0x0) (tid=1)", 2, true},
		"fault":                {"SIGSEGV: segmentation violation\nPC=0x41c729 m=8\n\ngoroutine 7 [running, synctest bubble 3]:\nruntime.(*timer).maybeRunChan(0xc0)", 2, true},
		"both runs":            {"ThreadSanitizer: CHECK failed: tsan_rtl.cpp:346", 3, false},
		"fault elsewhere":      {"SIGSEGV: segmentation violation\nPC=0x41c729 m=8\n\ngoroutine 7 [running]:\nmain.main()", 2, false},
		"beside a data race":   {"WARNING: DATA RACE\nThreadSanitizer: CHECK failed: tsan_rtl.cpp:346", 2, false},
		"beside another panic": {"panic: boom\nThreadSanitizer: CHECK failed: tsan_rtl.cpp:346", 2, false},
	} {
		t.Run(what, func(t *testing.T) {
			count := t.TempDir()
			passed, out := runOn(t, map[string]string{
				"crashes/x_test.go": `package crashes
					import ("fmt"; "os"; "path/filepath"; "testing")
					func TestX(t *testing.T) {
						dir := os.Getenv("COUNT")
						runs, _ := filepath.Glob(dir + "/*")
						if err := os.WriteFile(filepath.Join(dir, fmt.Sprint(len(runs))), nil, 0o600); err != nil { t.Fatal(err) }
						if len(runs)+1 < ` + strconv.Itoa(x.passes) + ` { fmt.Println(os.Getenv("SAID")); os.Exit(66) }
					}`,
				"fine/x_test.go": "package fine\nimport \"testing\"\nfunc TestFine(t *testing.T) {}\n",
			}, "COUNT="+count, "SAID="+x.said, "-count=1", "./...")
			require.Equal(t, x.ok, passed, out)
			if x.ok {
				require.Contains(t, out, "GOWORK=off COUNT="+count+" SAID="+x.said+" go test -count=1 github.com/tiercache/tiercache/m/crashes\n")
				require.Regexp(t, `ok  \t2 tests of 2 packages passed, 0 skipped, in \S+\n$`, out)
			} else {
				require.Contains(t, failed(out)[0], "FAIL m/crashes TestX: ")
			}
		})
	}
}

func TestPartsThatFollowEachOtherRunBesideOthers(t *testing.T) {
	var got [][]string
	for _, lanes := range parse(strings.Fields("./a ./b then -in x/y -race ./... next -in z . and A=b ./c then -in v.w .")) {
		var group []string
		for _, lane := range lanes {
			var parts []string
			for _, p := range lane {
				parts = append(parts, p.String())
			}
			group = append(group, strings.Join(parts, "; "))
		}
		got = append(got, group)
	}
	require.Equal(t, [][]string{
		{"go test ./a ./b"},
		{"cd x/y && go test -race ./...; cd z && go test .", "A=b go test ./c"},
		{"cd v.w && go test ."},
	}, got)
}

// Each of two parts that run at the same time waits for the other.
func TestPartsRunAtTheSameTime(t *testing.T) {
	dir := module(t, map[string]string{"x_test.go": `package m
		import ("os"; "testing"; "path/filepath")
		func TestX(t *testing.T) {
			if err := os.WriteFile(filepath.Join(os.Getenv("BOTH"), os.Getenv("ME")), nil, 0o600); err != nil { t.Fatal(err) }
			for {
				if _, err := os.Stat(filepath.Join(os.Getenv("BOTH"), os.Getenv("OTHER"))); err == nil { break }
			}
			if os.Getenv("ME") == "b" { t.Fatal("in b") }
		}
		func TestY(t *testing.T) { if os.Getenv("ME") == "a" { t.Skip("in a") } }`})
	both := "BOTH=" + t.TempDir()
	var out strings.Builder
	require.False(t, runAll([]string{"-in", dir, "GOWORK=off", both, "ME=a", "OTHER=b", "-timeout=1m", ".", "and", "-in", dir, "GOWORK=off", both, "ME=b", "OTHER=a", "-timeout=1m", "."}, &out))
	require.Equal(t, []string{"FAIL m TestX: x_test.go:8: in b"}, failed(out.String()))
	require.NotContains(t, out.String(), "SKIP in a", "it ran in b")
	require.Contains(t, out.String(), "of 3 that ran")
}

func TestWhatWasSkippedIsToldWithItsReason(t *testing.T) {
	files := map[string]string{"x_test.go": `package m
		import "testing"
		func TestServer(t *testing.T) { t.Skip("SKIPPED: no program valkey-server") }
		func TestSub(t *testing.T) { t.Run("one", func(t *testing.T) { t.Skip("on Tuesdays") }) }`}
	passed, out := runOn(t, files, "./...")
	require.True(t, passed, out)
	require.Contains(t, out, "SKIP no program valkey-server\n     m TestServer\n")
	require.Contains(t, out, "SKIP on Tuesdays\n     m TestSub/one\n")
	last := strings.Split(strings.TrimSpace(out), "\n")
	require.Regexp(t, `^ok  \t1 tests of 1 packages passed, 2 skipped, in `, last[len(last)-1])

	t.Setenv("CI", "true")
	passed, out = runOn(t, files, "-must-run", "./...")
	require.False(t, passed)
	require.Equal(t, []string{"FAIL m TestSub/one: it is skipped, and lacks no program: on Tuesdays"}, failed(out))
	t.Setenv("CI", "")
	passed, out = runOn(t, files, "-must-run", "./...")
	require.True(t, passed, out)
}

func TestWhatAnotherPartRanWasNotSkipped(t *testing.T) {
	dir := module(t, map[string]string{"x_test.go": `package m
		import ("testing"; "os")
		func TestX(t *testing.T) { if os.Getenv("SPEED") != "full" { t.Skip("at full speed") } }
		func TestY(t *testing.T) { t.Skip("always") }`})
	var out strings.Builder
	require.True(t, runAll([]string{"-in", dir, "GOWORK=off", ".", "then", "-in", dir, "GOWORK=off", "SPEED=full", "."}, &out))
	require.NotContains(t, out.String(), "SKIP at full speed")
	require.Contains(t, out.String(), "SKIP always\n     m TestY\n")
	require.Contains(t, out.String(), "1 tests of 2 packages passed, 1 skipped")
}

func TestOfTestifysLinesThoseAreToldThatSayWhatIsWrong(t *testing.T) {
	require.Equal(t, "x_test.go:12: Not equal: expected: 1 actual : 2 the second", firstError([]string{
		"=== RUN TestX\n", "    x_test.go:9: a log\n", "    x_test.go:12: \n", "        \tError Trace:\t/m/x_test.go:12\n", "        \t            \t/m/y.go:3\n",
		"        \tError:      \tNot equal: \n", "        \t            \texpected: 1\n", "        \t            \tactual  : 2\n",
		"        \tTest:       \tTestX\n", "        \tMessages:   \tthe second\n", "    server.go:93: log of the server:\n", "        ready\n", "--- FAIL: TestX (0.00s)\n", "    x_test.go:14: a later one\n",
	}))
	require.Equal(t, "x_test.go:12: a log … x_test.go:14: too late", firstError([]string{
		"    x_test.go:12: a log\n", "    x_test.go:14: too late\n", "    server.go:93: log of the server:\n", "        ready\n", "    x.go:9: more\n",
	}))
	require.Equal(t, "WARNING: DATA RACE: Write at 0x00c by goroutine 9: m.f()", firstError([]string{
		"==================\n", "WARNING: DATA RACE\n", "Write at 0x00c by goroutine 9:\n", "  m.f()\n", "      /m/x.go:3 +0x44\n",
		"    testing.go:1712: race detected during execution of test\n",
	}))
}

func TestTestsThatRanWhenGoTestWasEndedAreNamed(t *testing.T) {
	var r results
	var out strings.Builder
	r.begin(part{dir: ".", args: []string{"./..."}})
	for _, line := range []string{`{"Action":"start","Package":"m"}`, `{"Action":"run","Package":"m","Test":"TestX"}`} {
		r.read([]byte(line+"\n"), &out)
	}
	r.endRunning(&out)
	require.Len(t, r.failures, 1)
	require.Equal(t, "m TestX", r.failures[0].title())
	require.Equal(t, "it had not ended when its package did", r.failures[0].first)
}
