package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/tiercache/tiercache/invalidation"
	"github.com/tiercache/tiercache/tier"
)

func (c *command) bypassCommand() *cobra.Command {
	var lasts time.Duration
	var off bool
	cmd := &cobra.Command{
		Use:   "bypass",
		Short: "have every process load a namespace's values, and use no tier, for a time",
		Long: `bypass turns the cache off for a namespace, and those below it, in every process of the prefix: reads go to the
loaders, and what those return is kept nowhere. It ends by itself. What is stored stays, and is served again
afterwards: have the namespace change as well (tierctl invalidate namespace) if that is wrong. See that the source
can bear all reads before.`,
		Args: noSubcommand,
		RunE: func(cmd *cobra.Command, _ []string) error { return noSubcommand(cmd, nil) },
	}
	namespace := &cobra.Command{
		Use: "namespace PATH", Short: "a namespace and all below it", Args: arguments(1, 1, "the path of a namespace"),
		Example: "  tierctl bypass namespace docs:technical --for 10m\n  tierctl bypass namespace docs:technical --off",
		RunE: func(cmd *cobra.Command, args []string) error {
			given := cmd.Flags().Changed("for")
			switch {
			case off == given:
				return usagef("bypass namespace wants either --for, such as --for 10m, or --off")
			case given && (lasts < time.Second || lasts > mostBypass):
				return usagef("--for %v: must be between 1s and %v", lasts, mostBypass)
			case off:
				lasts = 0
			}
			if err := checkAll(args, invalidation.CheckNamespace); err != nil {
				return err
			}
			ctx := cmd.Context()
			store, err := c.openStore(ctx)
			if err != nil {
				return err
			}
			defer store.Close()
			if err := store.Bypass(ctx, args[0], lasts); err != nil {
				return err
			}
			return c.printBypass(args[0], lasts, store)
		},
	}
	namespace.Flags().DurationVar(&lasts, "for", 0, "how long, at most 24h")
	namespace.Flags().BoolVar(&off, "off", false, "end a bypass")
	cmd.AddCommand(namespace)
	return cmd
}

// mostBypass is the longest time that a bypass can last.
const mostBypass = 24 * time.Hour

func (c *command) printBypass(path string, lasts time.Duration, store *tier.Store) error {
	asOf := store.AsOf()
	at := timeOf(int64(asOf.Tick)).Add(lasts)
	if c.json {
		return c.printJSON(struct {
			Namespace string    `json:"namespace"`
			Bypassed  bool      `json:"bypassed"`
			Until     time.Time `json:"until"`
			AsOf      string    `json:"asOf"`
		}{path, lasts > 0, at, asOf.String()})
	}
	if lasts == 0 {
		_, err := fmt.Fprintf(c.out, "namespace %s is cached again, as of %s\n", printable(path), asOf)
		return err
	}
	_, err := fmt.Fprintf(c.out, "namespace %s is loaded by every process until about %s, recorded as of %s\n", printable(path), at.Format(timeFormat), asOf)
	return err
}
