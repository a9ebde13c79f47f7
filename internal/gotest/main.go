// Gotest runs go test, prints what go test prints, and ends with which tests were
// skipped and which failed, so that the tail of a log is enough to know:
//
//	go run ./internal/gotest [-in "DIR…"] [-must-run] [NAME=value…] FLAGS PACKAGES [then …] [and …]
//
// Each part between the words "then" is one run of go test in each of the folders
// of -in, with the given variables in its environment. A part that follows "and" is run
// at the same time as those before it. All parts are run, whatever fails. With -must-run and CI in the environment a test that is skipped fails,
// unless it says that it lacks a program: "SKIPPED: no program …".
package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"time"
)

func main() {
	if !runAll(os.Args[1:], os.Stdout) {
		os.Exit(1)
	}
}

// part is one run of go test.
type part struct {
	dir     string
	env     []string
	args    []string
	mustRun bool
	beside  bool // it runs at the same time as the part before
}

// parse returns the runs that the arguments ask for.
func parse(args []string) (parts []part) {
	for beside := false; len(args) > 0; {
		end := slices.IndexFunc(args, func(a string) bool { return a == "then" || a == "and" })
		if end < 0 {
			end = len(args)
		}
		p, dirs := part{beside: beside}, []string{"."}
		for i := 0; i < end; i++ {
			name, _, assigned := strings.Cut(args[i], "=")
			switch {
			case args[i] == "-in" && i+1 < end:
				i++
				dirs = strings.Fields(args[i])
			case args[i] == "-must-run":
				p.mustRun = os.Getenv("CI") != ""
			case assigned && name != "" && !strings.HasPrefix(name, "-") && len(p.args) == 0:
				p.env = append(p.env, args[i])
			default:
				p.args = append(p.args, args[i])
			}
		}
		for _, p.dir = range dirs {
			parts = append(parts, p)
		}
		beside = end < len(args) && args[end] == "and"
		args = args[min(end+1, len(args)):]
	}
	return parts
}

// String is how a reader of the log would repeat the run.
func (p part) String() string {
	s := strings.Join(append(append(slices.Clone(p.env), "go test"), p.args...), " ")
	if p.dir != "." {
		s = "cd " + p.dir + " && " + s
	}
	return s
}

// runAll runs every part and reports whether nothing failed.
func runAll(args []string, out io.Writer) bool {
	var r results
	begun := time.Now()
	for parts := parse(args); len(parts) > 0; {
		n := 1
		for n < len(parts) && parts[n].beside {
			n++
		}
		r.runTogether(parts[:n], out)
		parts = parts[n:]
	}
	r.summarize(out, time.Since(begun))
	return len(r.failures) == 0
}

// runTogether runs parts at the same time. What they print is told in their order.
func (r *results) runTogether(parts []part, out io.Writer) {
	if len(parts) == 1 {
		r.run(parts[0], out)
		return
	}
	each, printed := make([]results, len(parts)), make([]bytes.Buffer, len(parts))
	var group sync.WaitGroup
	for i, p := range parts {
		group.Go(func() { each[i].run(p, &printed[i]) })
	}
	group.Wait()
	for i := range each {
		_, _ = printed[i].WriteTo(out)
		r.add(&each[i])
	}
}

func (r *results) run(p part, out io.Writer) {
	fmt.Fprintf(out, "== %s\n", p)
	r.begin(p)
	cmd := exec.Command("go", append([]string{"test", "-json"}, p.args...)...)
	cmd.Dir, cmd.Env = p.dir, append(os.Environ(), p.env...)
	var complaints bytes.Buffer
	cmd.Stderr = io.MultiWriter(os.Stderr, &complaints)
	events, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		r.fail(failure{name: "go test", first: err.Error()})
		return
	}
	lines := bufio.NewReader(events)
	for {
		line, err := lines.ReadBytes('\n')
		if len(line) > 0 {
			r.read(line, out)
		}
		if err != nil {
			break
		}
	}
	err = cmd.Wait()
	r.endRunning(out)
	if err != nil && len(r.failures) == r.before {
		r.fail(failure{name: "go test"})
	}
	for i, f := range r.failures[r.before:] {
		if f.first == "" { // what it cannot set up go test tells of on standard error
			first, _, _ := strings.Cut(complaints.String(), "\n")
			r.failures[r.before+i].first = strings.TrimSpace(fmt.Sprint(first, " ", err))
		}
	}
}
