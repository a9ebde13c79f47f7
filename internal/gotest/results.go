package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"
)

// event is a line of go test -json: see go doc cmd/test2json, and go help buildjson
// for those of a build, which have an ImportPath instead of a Package.
type event struct {
	Action, Package, Test, Output, ImportPath, FailedBuild string
}

// failure is a test that failed, or a package that did without one that failed.
type failure struct {
	part  part
	pkg   string
	name  string   // of the test; "" is the package
	first string   // the line that says why
	lines []string // the output around it
}

type skip struct{ pkg, name, reason string }

type results struct {
	part     part
	verbose  bool
	before   int // failures of earlier parts
	running  map[string]*pkgRun
	builds   map[string][]string // what the compiler said
	passed   int
	ran      map[skip]bool // tests that passed in some part
	packages int
	skips    []skip
	failures []failure
	crashed  []string // packages of this part that are to be run once more: see detectorCrashed
}

// pkgRun is a package whose tests are being run.
type pkgRun struct {
	lines  []line          // in the order of the output, without those of tests that passed
	open   map[string]bool // tests that have begun and not ended
	failed []string
}

type line struct{ test, text string }

// lacksProgram begins the reason of a test that is skipped for want of a program.
const lacksProgram = "no program "

func (r *results) begin(p part) {
	r.part, r.before, r.crashed = p, len(r.failures), nil
	r.verbose = slices.Contains(p.args, "-v")
	if r.ran == nil {
		r.ran = make(map[skip]bool)
	}
	r.running, r.builds = make(map[string]*pkgRun), make(map[string][]string)
}

// add adds what another part gave.
func (r *results) add(o *results) {
	r.passed, r.packages = r.passed+o.passed, r.packages+o.packages
	maps.Copy(r.ran, o.ran)
	for _, s := range o.skips {
		if !slices.Contains(r.skips, s) {
			r.skips = append(r.skips, s)
		}
	}
	r.failures = append(r.failures, o.failures...)
}

func (r *results) fail(f failure) {
	f.part = r.part
	r.failures = append(r.failures, f)
}

// read takes in a line of go test -json and prints what go test would.
func (r *results) read(text []byte, out io.Writer) {
	var e event
	if json.Unmarshal(text, &e) != nil || e.Action == "" {
		out.Write(text) // not of go test
		return
	}
	if e.ImportPath != "" {
		if e.Output != "" {
			r.builds[e.ImportPath] = append(r.builds[e.ImportPath], e.Output)
			io.WriteString(out, e.Output)
		}
		return
	}
	p := r.running[e.Package]
	if p == nil {
		p = &pkgRun{open: make(map[string]bool)}
		r.running[e.Package] = p
	}
	switch {
	case e.Action == "output":
		if r.verbose {
			io.WriteString(out, e.Output)
		}
		if !frame.MatchString(e.Output) {
			p.lines = append(p.lines, line{e.Test, e.Output})
		}
	case e.Test == "":
		if e.Action == "pass" || e.Action == "fail" || e.Action == "skip" {
			r.endPackage(e, p, out)
			delete(r.running, e.Package)
		}
	case e.Action == "run":
		p.open[e.Test] = true
	case e.Action == "pass":
		r.passed++
		r.ran[skip{pkg: e.Package, name: e.Test}] = true
		p.endTest(e.Test)
	case e.Action == "skip":
		why := reason(p.of(e.Test))
		if s := (skip{e.Package, e.Test, why}); !slices.Contains(r.skips, s) {
			r.skips = append(r.skips, s)
		}
		if r.part.mustRun && !strings.HasPrefix(why, lacksProgram) {
			r.fail(failure{pkg: e.Package, name: e.Test, first: "it is skipped, and lacks no program: " + why})
		}
		p.endTest(e.Test)
	case e.Action == "fail":
		delete(p.open, e.Test)
		p.failed = append(p.failed, e.Test)
	}
}

// frame matches the lines with which -v marks what follows.
var frame = regexp.MustCompile(`^=== (RUN|PAUSE|CONT|NAME) `)

// of returns the output of a test, without that of its subtests; "" is the package.
func (p *pkgRun) of(test string) (lines []string) {
	for _, l := range p.lines {
		if l.test == test {
			lines = append(lines, l.text)
		}
	}
	return lines
}

// endTest forgets the output of a test that did not fail.
func (p *pkgRun) endTest(test string) {
	delete(p.open, test)
	p.lines = slices.DeleteFunc(p.lines, func(l line) bool { return l.test == test })
}

func (r *results) endPackage(e event, p *pkgRun, out io.Writer) {
	if len(p.open)+len(p.failed) > 0 || e.Action != "skip" {
		r.packages++
	}
	for _, l := range p.lines {
		last := l.test == "" && (strings.HasPrefix(l.text, "ok ") || strings.HasPrefix(l.text, "? ") || strings.HasPrefix(l.text, "\t"))
		if !r.verbose && (e.Action == "fail" || last) {
			io.WriteString(out, l.text)
		}
	}
	if e.Action != "fail" {
		return
	}
	if !r.part.isAgain && p.detectorCrashed() {
		r.packages--
		r.crashed = append(r.crashed, e.Package)
		return
	}
	told := len(r.failures)
	if e.FailedBuild != "" {
		lines := r.builds[e.FailedBuild]
		first := firstError(lines)
		if first == "" && len(lines) > 1 {
			first = strings.TrimSpace(lines[1]) // below the package
		}
		r.fail(failure{pkg: e.Package, first: first, lines: excerpt(lines)})
		return
	}
	// What has not ended is what the package died of, or in.
	for _, test := range append(slices.Clone(p.failed), slices.Sorted(maps.Keys(p.open))...) {
		lines := p.of(test)
		first := firstError(lines)
		if first == "" && hasSubtest(test, p) {
			continue // the subtest says why
		}
		if p.open[test] && first == "" {
			first = "it had not ended when its package did"
		}
		r.fail(failure{pkg: e.Package, name: test, first: first, lines: excerpt(lines)})
	}
	// Whatever the package itself said, such as that goroutines were left behind.
	if lines := p.of(""); len(r.failures) == told || firstError(lines) != "" {
		first := firstError(lines)
		if first == "" && len(lines) > 0 {
			first = strings.TrimSpace(lines[0])
		}
		r.fail(failure{pkg: e.Package, first: first, lines: excerpt(lines)})
	}
}

// detectorCrashed reports whether the package ended since the race detector crashed where it crashes in any program, and
// nothing else was wrong (https://github.com/golang/go/issues/78156): in a bubble of testing/synctest two threads may run
// timers at once, of channels that nothing waits for, and both use the detector's one state for the timers of the bubble.
func (p *pkgRun) detectorCrashed() bool {
	has := func(part string) bool {
		return slices.ContainsFunc(p.lines, func(l line) bool { return strings.Contains(l.text, part) })
	}
	began := func(with string) bool {
		return slices.ContainsFunc(p.lines, func(l line) bool { return strings.HasPrefix(l.text, with) })
	}
	if len(p.failed) > 0 || has("WARNING: DATA RACE") || has("panic: ") || has("fatal error: ") {
		return false
	}
	return began("ThreadSanitizer: CHECK failed") || began("SIGSEGV: segmentation violation") && has("synctest bubble") && has("runtime.(*timer")
}

// endRunning takes the packages that are still running to have failed: go test itself was ended.
func (r *results) endRunning(out io.Writer) {
	for _, pkg := range slices.Sorted(maps.Keys(r.running)) {
		r.endPackage(event{Action: "fail", Package: pkg}, r.running[pkg], out)
	}
}

func hasSubtest(test string, p *pkgRun) bool {
	sub := func(other string) bool { return strings.HasPrefix(other, test+"/") }
	return slices.ContainsFunc(p.failed, sub) || slices.ContainsFunc(slices.Collect(maps.Keys(p.open)), sub)
}

var (
	fatal = regexp.MustCompile(`^\s*(panic: |fatal error: |WARNING: DATA RACE|valkeytest: )`)
	// A line of a test's own, of the compiler's or of vet's: where, and what.
	complaint = regexp.MustCompile(`^\s*(?:vet: )?(\S+\.go):\d+(?::\d+)?: ?(.*)`)
)

// errorAt returns the index of the first line that says why a test failed; -1 if none does.
// A line of the test's own files counts before one of other files, such as a server's log.
func errorAt(lines []string) int {
	at := -1
	for i, l := range lines {
		if fatal.MatchString(l) {
			return i
		}
		m := complaint.FindStringSubmatch(l)
		switch {
		case m == nil:
		case strings.HasSuffix(m[1], "_test.go"):
			if at < 0 || !own(lines[at]) || asserts(lines, i) && !asserts(lines, at) {
				at = i
			}
		case at < 0:
			at = i
		}
	}
	return at
}

// own tells whether a line is of a test's own file.
func own(l string) bool {
	m := complaint.FindStringSubmatch(l)
	return m != nil && strings.HasSuffix(m[1], "_test.go")
}

// asserts tells whether a line begins what testify says, of which the next is where it was.
func asserts(lines []string, at int) bool {
	return at+1 < len(lines) && strings.Contains(lines[at+1], "Error Trace:")
}

// firstError returns the line that says why a test failed; of testify's many lines,
// what was wrong.
func firstError(lines []string) string {
	at := errorAt(lines)
	if at < 0 {
		return ""
	}
	said := strings.TrimSpace(lines[at])
	if strings.HasSuffix(said, "DATA RACE") && at+2 < len(lines) {
		return said + ": " + strings.Join(strings.Fields(lines[at+1]+" "+lines[at+2]), " ")
	}
	if fatal.MatchString(lines[at]) {
		return said
	}
	if !asserts(lines, at) {
		// Nothing tells a test's logs from its errors: the last line may be the error.
		for _, l := range slices.Backward(lines[at+1:]) {
			if own(l) {
				return said + " … " + strings.TrimSpace(l)
			}
		}
		return said
	}
	inError := false
	for i, l := range lines[at:] {
		if i > 0 && complaint.MatchString(l) {
			break // the next one, or a log
		}
		label, text, labelled := strings.Cut(strings.TrimSpace(l), ":")
		switch {
		case labelled && label == "Error" || labelled && label == "Messages":
			inError = true
			said += " " + text
		case labelled && (label == "Error Trace" || label == "Test"):
			inError = false
		case strings.HasPrefix(strings.TrimSpace(l), "--- "):
			inError = false
		case inError && len(said) < maxWidth:
			said += " " + l
		}
	}
	return strings.Join(strings.Fields(said), " ")
}

const around = 15

// excerpt returns the lines around the one that says why.
func excerpt(lines []string) []string {
	from := max(0, errorAt(lines)-2)
	return lines[from:min(from+around, len(lines))]
}

// reason is what a skipped test said last.
func reason(lines []string) string {
	for _, l := range slices.Backward(lines) {
		if m := complaint.FindStringSubmatch(l); m != nil {
			return strings.TrimPrefix(strings.TrimSpace(m[2]), "SKIPPED: ")
		}
	}
	return "no reason was given"
}

const modulePath = "github.com/tiercache/tiercache/"

const (
	maxShown = 6   // failures of which the output is repeated
	maxNamed = 8   // skipped tests that are named; more are counted by package
	maxWidth = 400 // of a line that names a failure
)

// summarize prints what was skipped and, last, what failed.
func (r *results) summarize(out io.Writer, took time.Duration) {
	r.skips = slices.DeleteFunc(r.skips, func(s skip) bool { return r.ran[skip{pkg: s.pkg, name: s.name}] })
	r.tellSkips(out)
	if len(r.failures) == 0 {
		fmt.Fprintf(out, "ok  \t%d tests of %d packages passed, %d skipped, in %v\n", r.passed, r.packages, len(r.skips), took.Round(time.Second))
		return
	}
	for i, f := range r.failures[:min(maxShown, len(r.failures))] {
		fmt.Fprintf(out, "\n== failure %d of %d: %s, in: %s\n", i+1, len(r.failures), f.title(), f.part)
		for _, l := range f.lines {
			fmt.Fprintf(out, "%s\n", cut(strings.TrimRight(l, "\n")))
		}
	}
	fmt.Fprintf(out, "\n== what failed (%d, of %d that ran, in %v)\n", len(r.failures), r.passed+len(r.failures), took.Round(time.Second))
	for _, f := range r.failures {
		fmt.Fprintf(out, "FAIL %s\n", cut(f.title()+": "+f.first))
	}
}

func (f failure) title() string {
	return strings.TrimSpace(strings.TrimPrefix(f.pkg, modulePath) + " " + f.name)
}

func cut(text string) string {
	if len(text) > maxWidth {
		return strings.ToValidUTF8(text[:maxWidth], "") + "…"
	}
	return text
}

// tellSkips prints the tests that were skipped in all parts by the reasons that they gave.
func (r *results) tellSkips(out io.Writer) {
	by := make(map[string][]skip)
	for _, s := range r.skips {
		by[s.reason] = append(by[s.reason], s)
	}
	for i, why := range slices.Sorted(maps.Keys(by)) {
		if i == 0 {
			fmt.Fprintf(out, "\n== what was skipped\n")
		}
		fmt.Fprintf(out, "SKIP %s\n     %s\n", cut(why), list(by[why]))
	}
}

// list names the tests, or says how many of which package they are.
func list(skips []skip) string {
	var names []string
	count := make(map[string]int)
	for _, s := range skips {
		pkg := strings.TrimPrefix(s.pkg, modulePath)
		count[pkg]++
		names = append(names, pkg+" "+s.name)
	}
	if len(names) <= maxNamed {
		return strings.Join(names, ", ")
	}
	var counts []string
	for _, pkg := range slices.Sorted(maps.Keys(count)) {
		counts = append(counts, fmt.Sprintf("%s (%d)", pkg, count[pkg]))
	}
	return strings.Join(counts, ", ")
}
