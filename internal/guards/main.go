// Guards takes the protocol's guards out, one at a time, and checks that a test
// notices. It works on a copy of the checkout. Most guards are taken out by a switch in the environment, so that what is
// tested is compiled once; the others by a change of the text, each compiled for itself:
//
//	go run ./internal/guards [-run REGEXP] [-v]
//	go run ./internal/guards -check [-run REGEXP]
//
// It ends with 1 if any guard can be missing unnoticed, or could not be found in
// the code: then marks, or the marker, has to follow it. So it does if the tests
// of a guard fail with the guard in its place: they would catch anything. With -check
// it runs no tests, and only sees whether the code compiles without each guard.
//
// The code names its guards: see mark.
package main

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

func main() {
	run := flag.String("run", "", "only guards whose name matches")
	verbose := flag.Bool("v", false, "print what the tests said")
	check := flag.Bool("check", false, "run no tests, and see that the code compiles without each guard")
	flag.Parse()
	match, err := regexp.Compile(*run)
	if err == nil && !slices.ContainsFunc(marks, func(m mark) bool { return match.MatchString(m.name) }) {
		err = fmt.Errorf("no guard's name matches %q", *run)
	}
	if err == nil && *check {
		err = checkAll(match)
	} else if err == nil {
		err = try(match, *verbose)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "guards:", err)
		os.Exit(1)
	}
}

func try(match *regexp.Regexp, verbose bool) error {
	dir, err := copyTree()
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	sites, err := findMarkers(dir)
	if err != nil {
		return err
	}
	chosen := slices.DeleteFunc(slices.Clone(marks), func(m mark) bool { return !match.MatchString(m.name) })
	switches, err := switchAll(dir, chosen, sites)
	if err != nil {
		return err
	}
	missed, passes := 0, make(map[string]string)
	report := func(m mark, verdict, output string) {
		fmt.Printf("%-58s %s\n", m.name, verdict)
		if verbose {
			fmt.Println(output)
		}
		if !strings.HasPrefix(verdict, "caught") {
			missed++
		}
	}
	anyhow := func(m mark) string {
		said, known := passes[m.test]
		if !known {
			said = switches.failing(m.test, 0)
			passes[m.test] = said
		}
		return said
	}
	for _, m := range chosen {
		if said := anyhow(m); said != "" {
			report(m, "FAILS ANYHOW: "+strings.Join(failed(said), ", "), said)
		} else if n := switches.number[m.name]; n > 0 {
			verdict, output := verdictOf(m, switches.failing(m.test, n))
			report(m, verdict, output)
		}
	}
	if err := switches.restore(); err != nil {
		return err
	}
	for _, m := range chosen {
		if switches.number[m.name] == 0 && passes[m.test] == "" {
			verdict, output := m.remove(dir, sites)
			report(m, verdict, output)
		}
	}
	if missed > 0 {
		return fmt.Errorf("%d guards were not caught", missed)
	}
	return nil
}

// remove tests without the guard, and puts it back.
func (m mark) remove(dir string, sites map[string]site) (verdict, output string) {
	file, source, without, err := m.mutated(dir, sites)
	if err != nil {
		return "NOT FOUND: " + err.Error(), ""
	}
	path := filepath.Join(dir, file)
	if err := os.WriteFile(path, without, 0o644); err != nil {
		return "ERROR: " + err.Error(), ""
	}
	defer os.WriteFile(path, source, 0o644)
	return verdictOf(m, failing(dir, m.test))
}

// verdictOf tells whether the tests of a guard, which is out, failed.
func verdictOf(m mark, said string) (verdict, output string) {
	switch {
	case said == "":
		return "NOT CAUGHT by " + m.test, ""
	case strings.Contains(said, "[build failed]") || strings.Contains(said, "[setup failed]"):
		return "DOES NOT BUILD", said
	}
	return "caught by " + strings.Join(failed(said), ", "), said
}

// failing runs a guard's tests and returns what they said if any failed. With -trimpath,
// what was compiled for one copy of the checkout need not be compiled for the next.
func failing(dir, test string) string {
	pkg, pattern := splitTest(test)
	cmd := exec.Command("go", "test", "-count=1", "-trimpath", "-vet=off", "-failfast", "-timeout=120s", "-run", pattern, pkg)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err == nil {
		return ""
	}
	return string(out) + err.Error()
}

// splitTest returns the package and the pattern of a guard's test.
func splitTest(test string) (pkg, pattern string) {
	if pkg, pattern, ok := strings.Cut(test, " "); ok {
		return pkg, pattern
	}
	return "./tier", test
}

var failedTest = regexp.MustCompile(`(?m)^--- FAIL: (\w+)`)

func failed(output string) (names []string) {
	for _, m := range failedTest.FindAllStringSubmatch(output, -1) {
		names = append(names, m[1])
	}
	if len(names) == 0 {
		names = []string{"a hang or a panic"}
	}
	return names
}

// copyTree copies what git would commit, so that tests of the checkout itself
// are not disturbed.
func copyTree() (string, error) {
	dir, err := os.MkdirTemp("", "guards")
	if err != nil {
		return "", err
	}
	list, err := exec.Command("git", "ls-files", "-co", "--exclude-standard", "*.go", "*.s", "*/testdata/*", "*/assets/*", "*go.mod", "*go.sum", "README.md", "docs/*.md").Output()
	if err != nil {
		return dir, fmt.Errorf("git ls-files (run it in the root of the checkout): %w", err)
	}
	for name := range strings.FieldsSeq(string(list)) {
		if strings.HasPrefix(name, "examples/") || strings.HasPrefix(name, "bench/") {
			continue
		}
		b, err := os.ReadFile(name)
		if err != nil {
			continue // listed, but deleted
		}
		to := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return dir, err
		}
		if err := os.WriteFile(to, b, 0o644); err != nil {
			return dir, err
		}
	}
	return dir, nil
}
