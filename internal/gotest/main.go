// Gotest runs go test, prints what go test prints, and ends with which tests were
// skipped and which failed, so that the tail of a log is enough to know:
//
//	go run ./internal/gotest [-in "DIR…"] [-must-run] [NAME=value…] FLAGS PACKAGES [then …] [next …] [and …]
//
// Each part is one run of go test in each of the folders of -in, one folder after the other, with the given variables
// in its environment. What follows "then" begins when all before it has ended, what follows "next" when the part before
// it has, and what follows "and" is run at the same time as what was begun since the last "then". All parts are run,
// whatever fails. A package in which the race detector crashes is run once more. With -must-run and CI in the
// environment a test that is skipped fails, unless it says that it lacks a program: "SKIPPED: no program …".
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
	isAgain bool // see detectorCrashed
}

// parse returns the runs that the arguments ask for: groups that follow each other, of lanes that are run at the same
// time, of parts that follow each other.
func parse(args []string) (groups [][][]part) {
	for word := "then"; len(args) > 0; {
		end := slices.IndexFunc(args, func(a string) bool { return a == "then" || a == "next" || a == "and" })
		if end < 0 {
			end = len(args)
		}
		var p part
		dirs := []string{"."}
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
		if word == "then" {
			groups = append(groups, nil)
		}
		lanes := &groups[len(groups)-1]
		if word != "next" {
			*lanes = append(*lanes, nil)
		}
		lane := &(*lanes)[len(*lanes)-1]
		for _, p.dir = range dirs {
			*lane = append(*lane, p)
		}
		if end < len(args) {
			word = args[end]
		}
		args = args[min(end+1, len(args)):]
	}
	return groups
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
	r := results{ran: make(map[skip]bool)}
	begun := time.Now()
	for _, lanes := range parse(args) {
		r.runTogether(lanes, out)
	}
	r.summarize(out, time.Since(begun))
	return len(r.failures) == 0
}

// runTogether runs lanes at the same time. What they print is told in their order.
func (r *results) runTogether(lanes [][]part, out io.Writer) {
	each, printed := make([]results, len(lanes)), make([]bytes.Buffer, len(lanes))
	var group sync.WaitGroup
	for i, lane := range lanes {
		to := out // of one alone while it runs
		if len(lanes) > 1 {
			to = &printed[i]
		}
		group.Go(func() {
			for _, p := range lane {
				each[i].run(p, to)
			}
		})
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
	crashed := r.crashed
	if err != nil && len(r.failures) == r.before && len(crashed) == 0 {
		r.fail(failure{name: "go test"})
	}
	for i, f := range r.failures[r.before:] {
		if f.first == "" { // what it cannot set up go test tells of on standard error
			first, _, _ := strings.Cut(complaints.String(), "\n")
			r.failures[r.before+i].first = strings.TrimSpace(fmt.Sprint(first, " ", err))
		}
	}
	if len(crashed) > 0 {
		fmt.Fprintln(out, "== once more, since the race detector crashed there:")
		r.run(p.again(crashed), out)
	}
}

// again is the run of some packages of a part, without another one after it.
func (p part) again(packages []string) part {
	p.args = slices.DeleteFunc(slices.Clone(p.args), func(a string) bool { return !strings.HasPrefix(a, "-") })
	p.args = append(p.args, packages...)
	p.isAgain = true
	return p
}
