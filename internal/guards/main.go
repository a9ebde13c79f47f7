// Guards takes the protocol's guards out, one at a time, and checks that a test
// notices. It works on a copy of the checkout:
//
//	go run ./internal/guards [-run REGEXP] [-v]
//	go run ./internal/guards -check [-run REGEXP]
//
// It ends with 1 if any guard can be missing unnoticed, or could not be found in
// the source: then the list here has to follow the code. So it does if the tests
// of a guard fail with the guard in its place: they would catch anything. With -check
// it runs no tests, and only sees whether the code compiles without each guard.
//
// The code names its guards: see mark.
package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

func main() {
	run := flag.String("run", "", "only guards whose name matches")
	verbose := flag.Bool("v", false, "print what the tests said")
	check := flag.Bool("check", false, "run no tests, and see that the code compiles without each guard")
	flag.Parse()
	match, err := regexp.Compile(*run)
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

// trial is a guard to be taken out, of whichever kind.
type trial struct {
	name, test string
	mutated    func(root string) (file string, source, without []byte, err error)
}

// trials returns all guards of the code below root.
func trials(root string) ([]trial, error) {
	sites, err := findMarkers(root)
	if err != nil {
		return nil, err
	}
	var all []trial
	for _, m := range marks {
		all = append(all, trial{m.name, m.test, func(root string) (string, []byte, []byte, error) { return m.mutated(root, sites) }})
	}
	for _, g := range guards {
		all = append(all, trial{g.name, g.test, g.mutated})
	}
	return all, nil
}

func try(match *regexp.Regexp, verbose bool) error {
	dir, err := copyTree()
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	all, err := trials(dir)
	if err != nil {
		return err
	}
	missed, passes := 0, make(map[string]string)
	for _, g := range all {
		if !match.MatchString(g.name) {
			continue
		}
		said, known := passes[g.test]
		if !known {
			said = failing(dir, g.test)
			passes[g.test] = said
		}
		verdict, output := "FAILS ANYHOW: "+strings.Join(failed(said), ", "), said
		if said == "" {
			verdict, output = g.remove(dir)
		}
		fmt.Printf("%-58s %s\n", g.name, verdict)
		if verbose {
			fmt.Println(output)
		}
		if !strings.HasPrefix(verdict, "caught") {
			missed++
		}
	}
	if missed > 0 {
		return fmt.Errorf("%d guards were not caught", missed)
	}
	return nil
}

// guard is a piece of code without which an invariant breaks, found by its text. Where
// the code can have a marker, a mark is better: it does not depend on names.
type guard struct {
	name     string
	file     string
	old, new string // the first occurrence of old is replaced
	test     string // a -run pattern of ./tier, or "package pattern"
}

func (g guard) mutated(root string) (file string, source, without []byte, err error) {
	source, err = os.ReadFile(filepath.Join(root, g.file))
	if err == nil && !bytes.Contains(source, []byte(g.old)) {
		err = fmt.Errorf("%s has not the text of %q any more", g.file, g.name)
	}
	return g.file, source, bytes.Replace(source, []byte(g.old), []byte(g.new), 1), err
}

// remove tests without the guard, and puts it back.
func (g trial) remove(dir string) (verdict, output string) {
	file, source, without, err := g.mutated(dir)
	if err != nil {
		return "NOT FOUND: " + err.Error(), ""
	}
	path := filepath.Join(dir, file)
	if err := os.WriteFile(path, without, 0o644); err != nil {
		return "ERROR: " + err.Error(), ""
	}
	defer os.WriteFile(path, source, 0o644)
	switch output = failing(dir, g.test); {
	case output == "":
		return "NOT CAUGHT by " + g.test, ""
	case strings.Contains(output, "[build failed]") || strings.Contains(output, "[setup failed]"):
		return "DOES NOT BUILD", output
	}
	return "caught by " + strings.Join(failed(output), ", "), output
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
	list, err := exec.Command("git", "ls-files", "-co", "--exclude-standard", "*.go", "*.s", "*/testdata/*", "go.mod", "go.sum", "README.md").Output()
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
