package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
)

type config struct {
	valkey   string
	serve    string
	replicas int
	reads    int
}

func flags(cfg *config) *flag.FlagSet {
	fs := flag.NewFlagSet("docsearch", flag.ContinueOnError)
	fs.SetOutput(io.Discard) // errors are printed once, by run
	fs.StringVar(&cfg.valkey, "valkey", "", "`url` of a server, such as valkey://127.0.0.1:6379; without it, the remote tier is embedded")
	fs.IntVar(&cfg.replicas, "replicas", 2, "`number` of stores that play the processes of a service, 2 to 8")
	fs.IntVar(&cfg.reads, "reads", 2000, "`number` of reads in the tour's traffic, 1 to 1000000")
	fs.StringVar(&cfg.serve, "serve", "", "answer over HTTP on this `host:port` instead of taking the tour")
	return fs
}

func parseFlags(args []string) (config, error) {
	var cfg config
	fs := flags(&cfg)
	if err := fs.Parse(args); err != nil {
		return config{}, err
	}
	var errs []error
	fs.Visit(func(f *flag.Flag) {
		if f.Value.String() == "" { // $VALKEY_URL was not set, perhaps
			errs = append(errs, fmt.Errorf("-%s: must not be empty", f.Name))
		}
	})
	return cfg, errors.Join(append(errs, cfg.validate(fs.Args()))...)
}

// validate names everything that is wrong at once.
func (c config) validate(rest []string) error {
	var errs []error
	if len(rest) > 0 {
		errs = append(errs, fmt.Errorf("unexpected argument %q", rest[0]))
	}
	if c.replicas < 2 || c.replicas > 8 {
		errs = append(errs, fmt.Errorf("-replicas %d: want 2 to 8", c.replicas))
	}
	if c.reads < 1 || c.reads > 1_000_000 {
		errs = append(errs, fmt.Errorf("-reads %d: want 1 to 1000000", c.reads))
	}
	if c.serve != "" {
		if _, _, err := net.SplitHostPort(c.serve); err != nil {
			errs = append(errs, fmt.Errorf("-serve %q: want host:port, such as 127.0.0.1:8080", c.serve))
		}
	}
	return errors.Join(errs...)
}

func usage(w io.Writer) {
	fmt.Fprint(w, `Docsearch answers questions from the documentation of Go, through a cache of two tiers.

Without a flag it takes a tour of the cache that needs nothing but Go and ends by itself.

`)
	fs := flags(&config{})
	fs.SetOutput(w)
	fs.PrintDefaults()
	fmt.Fprint(w, `
NO_COLOR is respected. Exit codes: 0 done, 1 failed, 2 bad flags.
`)
}
