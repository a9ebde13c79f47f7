// Docsearch answers questions from the documentation of the Go toolchain that runs it, and caches the
// answers in two tiers. It is the main example of tiercache: all five strategies on one store.
//
//	go run ./examples/docsearch                                  the tour, with nothing but Go installed
//	go run ./examples/docsearch -valkey valkey://127.0.0.1:6379  the tour on a server
//	go run ./examples/docsearch -serve 127.0.0.1:8080            the same over HTTP
//
// The strategies, and where each is:
//
//	LRU                    service.go: the bounds of both tiers; the server's policy is printed
//	TTL                    replica.go: by kind of content, by entry, for "not found"; lifetimes.go shows them
//	invalidation           replica.go: an answer names its documents; edit.go changes one, delay.go measures
//	namespaces, version    tour.go
//	all of it combined     replica.go, and handler.go over HTTP: origin and age in response headers
//
// The service itself, goroot.go, index.go, corpus.go and answer.go, knows nothing of caches.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// Exit codes.
const (
	exitOK      = 0
	exitFailure = 1
	exitUsage   = 2
)

// run is main without the process: whatever goes wrong becomes one line on stderr and a code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	cfg, err := parseFlags(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		usage(stdout)
		return exitOK
	case err != nil:
		complain(stderr, fmt.Errorf("%w (-h for help)", err))
		return exitUsage
	}
	if err := start(ctx, cfg, stdout); err != nil {
		complain(stderr, err)
		return exitFailure
	}
	return exitOK
}

func complain(w io.Writer, err error) {
	fmt.Fprintf(w, "docsearch: %s\n", strings.ReplaceAll(err.Error(), "\n", "; "))
}

// start does what can fail quickly first: the port, the server, and only then the documents.
func start(ctx context.Context, cfg config, stdout io.Writer) (err error) {
	var listener net.Listener
	if cfg.serve != "" {
		if listener, err = net.Listen("tcp", cfg.serve); err != nil {
			return err
		}
		defer listener.Close()
	}
	service := &Service{started: time.Now()}
	defer func() { err = errors.Join(err, service.Close()) }()
	if err := service.Open(ctx, cfg); err != nil {
		return err
	}
	out := newTerminal(stdout)
	if listener != nil {
		return serve(ctx, service, listener, out)
	}
	return takeTour(ctx, service, cfg.reads, out)
}
