package main

import (
	"bufio"
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tiercache/tiercache/invalidation"
	"github.com/tiercache/tiercache/tier"
)

func (c *command) invalidateCommand() *cobra.Command {
	var settle time.Duration
	var yes bool
	cmd := &cobra.Command{
		Use:   "invalidate",
		Short: "have sources, namespaces, keys or everything change, in every process",
		Long: `invalidate records a change, as the stores' own Invalidate calls do: what was made from it is not believed any
more, in any process and either tier. It costs loads and never an old value.

An argument of - is a list on standard input, one name a line.`,
		Args: noSubcommand,
		RunE: func(cmd *cobra.Command, _ []string) error { return noSubcommand(cmd, nil) },
	}
	// record has the names change, in portions that fit into a request.
	record := func(ctx context.Context, what string, names []string, change func(*tier.Store, context.Context, ...string) (tier.AsOf, error)) error {
		if settle < 0 || settle > mostSettle {
			return usagef("--settle %v: must be between 0 and %v", settle, mostSettle)
		}
		store, err := c.openStore(ctx, tier.Settle(settle))
		if err != nil {
			return err
		}
		defer store.Close()
		var asOf tier.AsOf
		for portion := range slices.Chunk(names, 10_000) {
			if asOf, err = change(store, ctx, portion...); err != nil {
				return fmt.Errorf("it is not known whether the change was recorded, and it does no harm to repeat it: %w", err)
			}
		}
		return c.printRecorded(what, len(names), asOf, settle)
	}
	// named has what the arguments name change.
	named := func(cmd *cobra.Command, check func(string) error, change func(*tier.Store, context.Context, ...string) (tier.AsOf, error)) *cobra.Command {
		cmd.RunE = func(cmd *cobra.Command, args []string) error {
			names, err := c.list(args)
			if err != nil {
				return err
			}
			if err := checkAll(names, check); err != nil {
				return err
			}
			return record(cmd.Context(), cmd.Name(), names, change)
		}
		return cmd
	}
	source := named(&cobra.Command{
		Use: "source ID...", Short: "sources that values were made from", Args: arguments(1, unbounded, "the ids of sources"),
		Example: "  tierctl invalidate source doc-42\n  tierctl invalidate source - < ids.txt",
	}, invalidation.CheckSource, (*tier.Store).InvalidateSource)
	namespace := named(&cobra.Command{
		Use: "namespace PATH...", Short: "namespaces and all below them", Args: arguments(1, unbounded, "the paths of namespaces"),
		Example: "  tierctl invalidate namespace docs:technical",
	}, invalidation.CheckNamespace, (*tier.Store).InvalidateNamespace)
	all := &cobra.Command{
		Use: "all", Short: "everything of the prefix; asks first if it is called on a terminal", Args: arguments(0, 0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !yes && c.asksOnTTY {
				question := fmt.Sprintf("Every entry of prefix %q will be loaded again, by whichever process asks for it. Go on? [y/N] ", c.connection.prefix)
				if ok, err := c.confirm(cmd.Context(), question); !ok {
					return err
				}
			}
			return record(cmd.Context(), "everything", []string{""}, func(s *tier.Store, ctx context.Context, _ ...string) (tier.AsOf, error) {
				return s.InvalidateAll(ctx)
			})
		},
	}
	all.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	key := &cobra.Command{
		Use: "key NAMESPACE KEY...", Short: "single keys, as Delete does", Args: arguments(2, unbounded, "a namespace and keys"),
		Long: `key removes entries from the remote tier, and ends every process's local copy and running load of them, as the
stores' own Delete does.`,
		Example: "  tierctl invalidate key docs:technical 'How do I shut down a server?'",
		RunE: func(cmd *cobra.Command, args []string) error {
			keys, err := c.list(args[1:])
			if err != nil {
				return err
			}
			return c.deleteKeys(cmd.Context(), args[0], keys)
		},
	}
	for _, sub := range []*cobra.Command{source, namespace, all} {
		sub.Flags().DurationVar(&settle, "settle", 0, "what is loaded within so long of the change ends then, for sources whose replicas lag; at most 1h")
	}
	cmd.AddCommand(source, namespace, all, key)
	return cmd
}

// mostSettle is the longest time for which a change can settle.
const mostSettle = time.Hour

// checkAll checks names before anything is changed: of a call with a bad one it is known that nothing was.
func checkAll(names []string, check func(string) error) error {
	for _, name := range names {
		if err := check(name); err != nil {
			return usageError{err}
		}
	}
	return nil
}

// deleteKeys deletes them in portions, each within one request.
func (c *command) deleteKeys(ctx context.Context, namespace string, keys []string) error {
	store, err := c.openStore(ctx)
	if err != nil {
		return err
	}
	defer store.Close()
	view, err := tier.New[[]byte](store, namespace)
	if err != nil {
		return usageError{err}
	}
	done := 0
	for portion := range slices.Chunk(keys, 1000) {
		if err := view.Delete(ctx, portion...); err != nil {
			return fmt.Errorf("after %d keys: %w", done, err)
		}
		done += len(portion)
	}
	return c.printRecorded("key", len(keys), store.AsOf(), 0)
}

func (c *command) printRecorded(what string, n int, asOf tier.AsOf, settle time.Duration) error {
	if c.json {
		return c.printJSON(struct {
			Changed string       `json:"changed"`
			Count   int          `json:"count"`
			AsOf    string       `json:"asOf"`
			Time    time.Time    `json:"time"`
			Settles milliseconds `json:"settlesInMs,omitempty"`
		}{what, n, asOf.String(), timeOf(int64(asOf.Tick)), milliseconds(settle)})
	}
	changed := plural(n, what) + " changed"
	switch what {
	case "key":
		changed = plural(n, what) + " deleted"
	case "everything":
		changed = "everything changed"
	}
	settles := ""
	if settle > 0 {
		settles = fmt.Sprintf("; what is loaded until %v from now ends then", settle)
	}
	_, err := fmt.Fprintf(c.out, "%s as of %s (%s)%s\n", changed, asOf, timeOf(int64(asOf.Tick)).Format(timeFormat), settles)
	return err
}

const timeFormat = "2006-01-02 15:04:05.000 UTC"

// list replaces an argument of - by the lines of standard input.
func (c *command) list(args []string) (out []string, err error) {
	for _, a := range args {
		if a != "-" {
			out = append(out, a)
			continue
		}
		lines := bufio.NewScanner(c.in)
		lines.Buffer(nil, 2<<20)
		for lines.Scan() {
			if line := strings.TrimSuffix(lines.Text(), "\r"); line != "" {
				out = append(out, line)
			}
		}
		if err := lines.Err(); err != nil {
			return nil, fmt.Errorf("standard input: %w", err)
		}
	}
	if len(out) == 0 {
		return nil, usagef("standard input names nothing")
	}
	return out, nil
}

// confirm asks at the terminal.
func (c *command) confirm(ctx context.Context, question string) (bool, error) {
	fmt.Fprint(c.err, question)
	answered := make(chan string, 1)
	go func() { // ends with the line, or with the process
		line, _ := bufio.NewReader(c.in).ReadString('\n')
		answered <- strings.ToLower(strings.TrimSpace(line))
	}()
	select {
	case a := <-answered:
		if a == "y" || a == "yes" {
			return true, nil
		}
		return false, fmt.Errorf("nothing was changed")
	case <-ctx.Done():
		fmt.Fprintln(c.err)
		return false, ctx.Err()
	}
}

// subcommand is what follows tierctl in a call.
func subcommand(cmd *cobra.Command) string { return strings.TrimPrefix(cmd.CommandPath(), "tierctl ") }

// unbounded is of subcommands that take any number of arguments.
const unbounded = math.MaxInt

// arguments refuses a call of a subcommand with fewer or more arguments.
func arguments(least, most int, want string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) < least || len(args) > most {
			return usagef("%s wants %s", subcommand(cmd), want)
		}
		return nil
	}
}
