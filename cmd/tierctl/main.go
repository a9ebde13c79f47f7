package main

import (
	"context"
	"os"
	"os/signal"

	"golang.org/x/term"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	c := &command{
		in: os.Stdin, out: os.Stdout, err: os.Stderr,
		getenv:    os.Getenv,
		asksOnTTY: term.IsTerminal(int(os.Stdin.Fd())) && term.IsTerminal(int(os.Stderr.Fd())),
		outIsTTY:  term.IsTerminal(int(os.Stdout.Fd())),
		errIsTTY:  term.IsTerminal(int(os.Stderr.Fd())),
	}
	status := c.run(ctx, os.Args[1:])
	stop()
	os.Exit(status)
}
