// Guards takes the protocol's guards out, one at a time, and checks that a test
// notices. It works on a copy of the checkout:
//
//	go run ./internal/guards [-run REGEXP] [-v]
//
// It ends with 1 if any guard can be missing unnoticed, or could not be found in
// the source: then the list here has to follow the code. So it does if the tests
// of a guard fail with the guard in its place: they would catch anything.
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
	flag.Parse()
	if err := try(*run, *verbose); err != nil {
		fmt.Fprintln(os.Stderr, "guards:", err)
		os.Exit(1)
	}
}

func try(pattern string, verbose bool) error {
	match, err := regexp.Compile(pattern)
	if err != nil {
		return err
	}
	dir, err := copyTree()
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	missed, passes := 0, make(map[string]string)
	for _, g := range guards {
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

// guard is a piece of code without which an invariant breaks.
type guard struct {
	name     string
	file     string
	old, new string // the first occurrence of old is replaced
	test     string // a -run pattern of ./tier, or "package pattern"
}

// remove tests without the guard, and puts it back.
func (g guard) remove(dir string) (verdict, output string) {
	path := filepath.Join(dir, g.file)
	source, err := os.ReadFile(path)
	if err != nil {
		return "ERROR: " + err.Error(), ""
	}
	if !bytes.Contains(source, []byte(g.old)) {
		return "NOT FOUND in " + g.file, ""
	}
	without := bytes.Replace(source, []byte(g.old), []byte(g.new), 1)
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

// failing runs a guard's tests and returns what they said if any failed.
func failing(dir, test string) string {
	pkg, pattern, ok := strings.Cut(test, " ")
	if !ok {
		pkg, pattern = "./tier", test
	}
	cmd := exec.Command("go", "test", "-count=1", "-vet=off", "-failfast", "-timeout=120s", "-run", pattern, pkg)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err == nil {
		return ""
	}
	return string(out) + err.Error()
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
	list, err := exec.Command("git", "ls-files", "-co", "--exclude-standard", "*.go", "*.s", "go.mod", "go.sum", "README.md", "*/testdata/*.txt").Output()
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
