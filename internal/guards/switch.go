package main

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strconv"
	"strings"
)

// switches are guards of a copy of the checkout that its programs take out as they begin.
type switches struct {
	dir    string
	last   int               // the largest number that was given
	number map[string]int    // of each guard that has a switch, from 1
	source map[string][]byte // the files as they were
	built  map[string]string // package -> its tests
}

const (
	switchPackage  = "internal/guards/guardswitch"
	switchVariable = "TIERCACHE_GUARD_OUT"
	switchSource   = `// Package guardswitch tells which guard is out.
package guardswitch

import (
	"os"
	"strconv"
)

var Out, _ = strconv.Atoi(os.Getenv("` + switchVariable + `"))
`
)

// switchAll gives those of the guards switches that the code compiles with.
func switchAll(dir string, chosen []mark, sites map[string]site) (*switches, error) {
	s := &switches{dir, 0, make(map[string]int), make(map[string][]byte), make(map[string]string)}
	if err := os.MkdirAll(filepath.Join(dir, switchPackage), 0o755); err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(dir, switchPackage, "switch.go"), []byte(switchSource), 0o644); err != nil {
		return nil, err
	}
	c, err := newChecker(dir)
	if err != nil {
		return nil, err
	}
	byFile := make(map[string][]mark)
	for _, m := range chosen {
		at, ok := sites[m.name]
		if ok && !at.lua {
			byFile[at.file] = append(byFile[at.file], m)
		}
	}
	for file, ms := range byFile {
		source, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(file)))
		if err != nil {
			return nil, err
		}
		s.source[file] = source
		text, numbers := s.switched(c, file, source, ms, sites)
		maps.Copy(s.number, numbers)
		if err := os.WriteFile(filepath.Join(dir, filepath.FromSlash(file)), text, 0o644); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// switched returns a file with the switches that it compiles with: all, or each that does so beside those before it.
func (s *switches) switched(c *checker, file string, source []byte, ms []mark, sites map[string]site) ([]byte, map[string]int) {
	numbers, all := make(map[string]int), []edit(nil)
	each := make(map[string][]edit)
	for _, m := range ms {
		s.last++
		out := fmt.Sprintf("guardswitch.Out == %d", s.last)
		edits, err := editsOf(source, sites[m.name], m.op, switched{out, strings.Replace(out, "==", "!=", 1)})
		if err != nil {
			continue
		}
		each[m.name], numbers[m.name] = edits, s.last
		all = append(all, edits...)
	}
	if text := withImport(source, all); c.check(file, text) == nil {
		return text, numbers
	}
	text, together := source, []edit(nil)
	for _, m := range ms {
		more := append(together[:len(together):len(together)], each[m.name]...)
		if with := withImport(source, more); numbers[m.name] > 0 && c.check(file, with) == nil {
			text, together = with, more
		} else {
			delete(numbers, m.name)
		}
	}
	return text, numbers
}

// withImport makes the edits in a source, and has it import the switch.
func withImport(source []byte, edits []edit) []byte {
	if len(edits) == 0 {
		return source
	}
	text := string(apply(source, edits))
	begin := strings.Index(text, "\npackage ") + 1
	if strings.HasPrefix(text, "package ") {
		begin = 0
	}
	end := begin + strings.Index(text[begin:], "\n")
	return []byte(text[:end] + "; import \"" + path.Join(modulePath, switchPackage) + "\"" + text[end:])
}

const modulePath = "github.com/tiercache/tiercache"

// restore puts the files back as they were.
func (s *switches) restore() error {
	for file, source := range s.source {
		if err := os.WriteFile(filepath.Join(s.dir, filepath.FromSlash(file)), source, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// failing runs a guard's tests with the guard of that number out, or none, and returns what they said if any failed.
func (s *switches) failing(test string, out int) string {
	pkg, pattern := splitTest(test)
	binary, known := s.built[pkg]
	if !known {
		binary = filepath.Join(s.dir, strings.ReplaceAll(path.Clean(pkg), "/", "-")+".test")
		cmd := exec.Command("go", "test", "-c", "-trimpath", "-vet=off", "-o", binary, pkg)
		cmd.Dir = s.dir
		if said, err := cmd.CombinedOutput(); err != nil {
			return string(said) + "[build failed]"
		}
		s.built[pkg] = binary
	}
	cmd := exec.Command(binary, "-test.count=1", "-test.failfast", "-test.timeout=120s", "-test.run="+pattern)
	cmd.Dir = filepath.Join(s.dir, filepath.FromSlash(pkg))
	cmd.Env = append(os.Environ(), switchVariable+"="+strconv.Itoa(out))
	said, err := cmd.CombinedOutput()
	if err == nil {
		return ""
	}
	return string(said) + err.Error()
}
