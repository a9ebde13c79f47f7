package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"

	"github.com/tiercache/tiercache/invalidation"
	"github.com/tiercache/tiercache/remote"
	"github.com/tiercache/tiercache/tier"
)

func (c *command) purgeCommand() *cobra.Command {
	var resume string
	cmd := &cobra.Command{
		Use:   "purge NAMESPACE",
		Short: "invalidate a namespace and free its memory in the server",
		Long: `purge invalidates a namespace and all below it, and then removes its entries from the server, which an invalidation
leaves to their TTL. It looks at all keys of the server, in steps of 1000, and serves others in between.

When it is interrupted, or the server goes away, it prints how to resume it. What was resumed does not invalidate
again.`,
		Example: "  tierctl purge docs:technical\n  tierctl purge docs:technical --resume 0:12345",
		Args:    arguments(1, 1, "a namespace"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkAll(args, invalidation.CheckNamespace); err != nil {
				return err
			}
			return c.purge(cmd.Context(), args[0], resume)
		},
	}
	cmd.Flags().StringVar(&resume, "resume", "", "go on where an interrupted purge of the same namespace says")
	return cmd
}

// purged is the outcome in JSON.
type purged struct {
	Namespace string `json:"namespace"`
	Scanned   int64  `json:"scanned"`
	Removed   int64  `json:"removed"`
	Resume    string `json:"resume,omitempty"` // set if it is not complete
	Error     string `json:"error,omitempty"`
}

func (c *command) purge(ctx context.Context, namespace, resume string) error {
	store, err := c.openStore(ctx)
	if err != nil {
		return err
	}
	defer store.Close()
	progress, finish := c.purgeProgress(ctx)
	var options []tier.PurgeOption
	if resume != "" {
		options = append(options, tier.ResumeAt(resume))
	}
	done, err := store.Purge(ctx, namespace, progress, options...)
	finish()
	if errors.Is(err, remote.ErrResume) {
		return usageError{err}
	}
	if c.json {
		p := purged{namespace, done.Scanned, done.Removed, done.Resume, ""}
		if err != nil {
			p.Error = c.oneLine(err)
		}
		if jsonErr := c.printJSON(p); jsonErr != nil {
			return jsonErr
		}
		return err
	}
	if err != nil {
		if done.Resume != "" {
			fmt.Fprintf(c.err, "%d keys removed of %d looked at; to go on:\n  tierctl purge %s --resume '%s'\n", done.Removed, done.Scanned, shellQuote(namespace), done.Resume)
		}
		return err
	}
	_, err = fmt.Fprintf(c.out, "%s removed of %d looked at\n", plural(int(done.Removed), "key"), done.Scanned)
	return err
}

// shellQuote quotes an argument for a shell, if it needs that.
func shellQuote(s string) string {
	if strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789:-_./") == "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// purgeProgress returns what shows the progress: a bar on a terminal, else a line every ten seconds.
func (c *command) purgeProgress(ctx context.Context) (show func(tier.PurgeProgress), finish func()) {
	if !c.errIsTTY || c.json {
		next := time.Now().Add(10 * time.Second)
		return func(p tier.PurgeProgress) {
			if now := time.Now(); now.After(next) && p.Resume != "" {
				next = now.Add(10 * time.Second)
				fmt.Fprintf(c.err, "%d keys removed of %d looked at, resume with %s\n", p.Removed, p.Scanned, p.Resume)
			}
		}, func() {}
	}
	bar := progressbar.NewOptions64(c.keysOfServer(ctx),
		progressbar.OptionSetWriter(c.err), progressbar.OptionSetDescription("looking at keys"), progressbar.OptionShowCount(),
		progressbar.OptionShowIts(), progressbar.OptionSetItsString("keys"), progressbar.OptionSetPredictTime(true),
		progressbar.OptionThrottle(100*time.Millisecond), progressbar.OptionClearOnFinish())
	return func(p tier.PurgeProgress) {
		bar.Describe(fmt.Sprintf("%d removed, looking at keys", p.Removed))
		_ = bar.Set64(min(p.Scanned, max(bar.GetMax64()-1, 0))) // steps are of 1000 keys, or less
	}, func() { _ = bar.Finish() }
}

// keysOfServer is how many keys a purge will look at; -1 if that is not known.
func (c *command) keysOfServer(ctx context.Context) int64 {
	s, err := c.connect(ctx)
	if err != nil {
		return -1
	}
	defer s.Close()
	nodes, err := s.primaries(ctx)
	if err != nil {
		return -1
	}
	var all int64
	for _, n := range nodes {
		keys, ok := n.keys(s.option.SelectDB)
		if !ok {
			return -1
		}
		all += keys
	}
	return all
}

// keys is how many keys of a database the node has, as its INFO says.
func (n *node) keys(db int) (int64, bool) {
	if n.infoErr != nil {
		return 0, false
	}
	for field := range strings.SplitSeq(n.info["db"+strconv.Itoa(db)], ",") {
		if v, ok := strings.CutPrefix(field, "keys="); ok {
			keys, err := strconv.ParseInt(v, 10, 64)
			return keys, err == nil
		}
	}
	return 0, true
}
