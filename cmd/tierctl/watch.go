package main

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/fatih/color"
	"github.com/spf13/cobra"
	"github.com/valkey-io/valkey-go"

	"github.com/tiercache/tiercache/invalidation"
)

// watcher prints changes as they are recorded.
type watcher struct {
	c           *command
	s           *server
	since, last time.Duration
	count       int
	kinds       []string
	sources     []string
	namespaces  []string
	match       string

	matching *regexp.Regexp
	exact    map[invalidation.Scope]bool
	printed  int
	// The position up to which everything was told.
	incarnation uint64
	tick        int64
}

func (c *command) watchCommand() *cobra.Command {
	w := &watcher{c: c}
	cmd := &cobra.Command{
		Use:   "watch",
		Short: "print changes as they are recorded, one a line",
		Long: `watch prints each source, namespace and key that changes, and when everything does. After a lost connection it reads
from the log what it has missed; of a scope that changed twice meanwhile it then tells the latest change.

With client tracking (the default) Set and Delete of single keys are not in the log, but a line of the kind
"declared" says once of a namespace that it has such writes.

The filters are alternatives: a change is printed if it passes one. --kind holds besides.`,
		Example: "  tierctl watch --since 10m\n  tierctl watch --source doc-42 --namespace docs\n  tierctl watch --json --kind everything,lost --count 1",
		Args:    arguments(0, 0, "no arguments"),
		RunE:    func(cmd *cobra.Command, _ []string) error { return w.run(cmd.Context()) },
	}
	f := cmd.Flags()
	f.DurationVar(&w.since, "since", 0, "begin with the changes of this time that the log still has")
	f.DurationVar(&w.last, "for", 0, "end after this time; 0: never")
	f.IntVar(&w.count, "count", 0, "end after so many lines; 0: never")
	f.StringSliceVar(&w.kinds, "kind", nil, "print these kinds alone: "+strings.Join(kindNames, ", "))
	f.StringArrayVar(&w.sources, "source", nil, "print changes of this source")
	f.StringArrayVar(&w.namespaces, "namespace", nil, "print changes of this namespace, those above it and those below it")
	f.StringVar(&w.match, "match", "", "print changes whose name matches this regular expression")
	_ = cmd.RegisterFlagCompletionFunc("kind", cobra.FixedCompletions(kindNames, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

func (w *watcher) prepare() (err error) {
	for _, k := range w.kinds {
		if !slices.Contains(kindNames, k) {
			return usagef("--kind %q: want %s", k, strings.Join(kindNames, ", "))
		}
	}
	if w.match != "" {
		if w.matching, err = regexp.Compile(w.match); err != nil {
			return usageError{fmt.Errorf("--match: %w", err)}
		}
	}
	w.exact = make(map[invalidation.Scope]bool)
	for _, id := range w.sources {
		w.exact[invalidation.Source(id)] = true
	}
	for _, path := range w.namespaces {
		for _, s := range invalidation.Namespaces(path) {
			w.exact[s] = true
		}
	}
	return nil
}

func (w *watcher) run(ctx context.Context) error {
	if err := w.prepare(); err != nil {
		return err
	}
	s, err := w.c.connect(ctx)
	if err != nil {
		return err
	}
	defer s.Close()
	w.s = s
	log, err := s.readLog(ctx)
	if err != nil {
		return err
	}
	w.incarnation, w.tick = log.Incarnation, log.Tick
	if w.since > 0 && log.Incarnation != 0 {
		w.tick = int64(max(log.Now.Add(-w.since).UnixMicro(), 0))
	}
	wctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if w.last > 0 { // a deadline of the context could end a request before the context
		defer time.AfterFunc(w.last, cancel).Stop()
	}
	err = w.follow(wctx)
	if ctx.Err() == nil && wctx.Err() != nil || errors.Is(err, errEnough) {
		return nil
	}
	return err
}

var errEnough = errors.New("enough was printed")

// follow receives messages until ctx ends. A message that does not follow on what was told before it, and each
// subscription, has the log read.
func (w *watcher) follow(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	messages := make(chan string, 1024)
	ended := make(chan error, 1)
	go func() { // ends with ctx
		defer close(ended)
		for ctx.Err() == nil {
			err := w.subscribe(ctx, messages)
			if ctx.Err() != nil {
				return
			}
			if denied(err) {
				ended <- err
				return
			}
			fmt.Fprintf(w.c.err, "tierctl: subscribing again: %s\n", w.c.oneLine(err))
			select {
			case <-ctx.Done():
			case <-time.After(time.Second):
			}
		}
	}()
	defer func() {
		cancel()
		for range ended { // until it has ended
		}
	}()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err, ok := <-ended:
			if ok {
				return fmt.Errorf("subscribing: %w", err)
			}
			return ctx.Err()
		case text := <-messages:
			if err := w.apply(ctx, text); err != nil {
				return err
			}
		}
	}
}

// subscribe sends messages until the subscription ends, and an empty one when it begins: what came before may have been
// missed.
func (w *watcher) subscribe(ctx context.Context, messages chan<- string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	send := func(text string) {
		select {
		case messages <- text:
		case <-ctx.Done():
		}
	}
	// The empty message comes before those of the subscription: had it the log read after they were told, what they said could have been
	// forgotten by the log, and would be told less of.
	hooked := valkey.WithOnSubscriptionHook(ctx, func(valkey.PubSubSubscription) { // it must not block
		select {
		case messages <- "":
		default: // there are a thousand before it
			go send("") // ends with the subscription
		}
	})
	subscribe := w.s.B().Subscribe().Channel(w.s.channel()).Build()
	if w.s.isCluster() {
		subscribe = w.s.B().Ssubscribe().Channel(w.s.channel()).Build()
	}
	return w.s.Receive(hooked, subscribe, func(m valkey.PubSubMessage) { send(m.Message) })
}

// apply tells the changes of a message.
func (w *watcher) apply(ctx context.Context, text string) error {
	m, ok := parseMessage(text)
	switch {
	case ok && m.incarnation == w.incarnation && m.tick <= w.tick:
		return nil // it was told when the log was read
	case ok && m.whole && m.incarnation == w.incarnation && m.prev <= w.tick:
		w.tick = m.tick
		return w.print(m.changes)
	}
	log, err := w.s.readLog(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		fmt.Fprintf(w.c.err, "tierctl: %s\n", w.c.oneLine(err))
		return nil // the next message, or subscription, has it read again
	}
	if log.Incarnation == 0 {
		return nil
	}
	var changes []change
	if w.incarnation != 0 && log.Incarnation != w.incarnation {
		changes = append(changes, change{Time: log.Now.UTC(), Tick: log.Tick, Kind: "lost"})
	}
	w.incarnation = log.Incarnation
	const most = 100_000
	missed, cut, err := w.s.since(ctx, w.tick, most)
	if err != nil {
		return err
	}
	if cut {
		fmt.Fprintf(w.c.err, "tierctl: more than %d changes were missed; the latest of them follow\n", most)
	}
	changes = append(changes, missed...)
	if len(missed) > 0 {
		w.tick = max(w.tick, missed[len(missed)-1].Tick)
	}
	return w.print(changes)
}

func (w *watcher) passes(c change) bool {
	if len(w.kinds) > 0 && !slices.Contains(w.kinds, c.Kind) {
		return false
	}
	if len(w.sources) == 0 && len(w.namespaces) == 0 && w.matching == nil {
		return true
	}
	if c.Kind == "everything" || c.Kind == "lost" || w.matching != nil && w.matching.MatchString(c.Name) {
		return true
	}
	mark := ":"
	if c.Hashed {
		mark = "#"
	}
	if c.Kind == "namespace" {
		for _, path := range w.namespaces {
			if strings.HasPrefix(c.Name, path+":") {
				return true
			}
		}
	}
	return w.exact[invalidation.Scope(c.Kind[:1]+mark+c.Name)]
}

func (w *watcher) print(changes []change) error {
	bold := w.c.paint(color.Bold)
	for _, c := range changes {
		if !w.passes(c) {
			continue
		}
		if w.c.json {
			if err := w.c.printJSON(c); err != nil {
				return err
			}
		} else if _, err := fmt.Fprintln(w.c.out, strings.TrimRight(c.Time.Format("15:04:05.000000")+"  "+bold(fmt.Sprintf("%-10s", c.Kind))+" "+c.shown(), " ")); err != nil {
			return err
		}
		if w.printed++; w.count > 0 && w.printed >= w.count {
			return errEnough
		}
	}
	return nil
}

// shown is the name as people read it, on one line.
func (c change) shown() string {
	switch {
	case c.Kind == "lost":
		return "the change log was lost and begun anew: everything is loaded again"
	case c.Hashed:
		return "#" + c.Name
	}
	return printable(c.Name)
}

// printable quotes a name that holds what a terminal would act on.
func printable(s string) string {
	for _, r := range s {
		if r < ' ' || r == 0x7f || r == '�' || r >= 0x80 && r < 0xa0 {
			return fmt.Sprintf("%q", s)
		}
	}
	return s
}
