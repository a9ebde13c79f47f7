package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
)

func main() {
	err := run(os.Args[1:], os.Stdout, os.Stderr)
	var usage usageError
	switch {
	case errors.Is(err, flag.ErrHelp):
	case errors.As(err, &usage):
		fmt.Fprintln(os.Stderr, "tierctl:", err)
		os.Exit(2)
	case err != nil:
		fmt.Fprintln(os.Stderr, "tierctl:", err)
		os.Exit(1)
	}
}

// usageError says that the command was called wrongly.
type usageError struct{ error }

func run(args []string, out, diagnostics io.Writer) error {
	if len(args) == 0 || args[0] != "advise" {
		return usageError{errors.New("want: tierctl advise -trace FILE; tierctl advise -help lists more")}
	}
	return advise(args[1:], out, diagnostics)
}
