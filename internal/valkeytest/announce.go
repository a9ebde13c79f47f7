package valkeytest

import "os"

// announce writes a line that the person who runs the tests should see. Standard error is not enough: go test with
// several packages keeps quiet about those that pass, whatever they print. So the line also goes to where the go
// command itself writes, if that can be reached.
func announce(line string) {
	line += "\n"
	os.Stderr.WriteString(line)
	if f := beyondGoTest(); f != nil {
		defer f.Close()
		f.WriteString(line)
	}
}
