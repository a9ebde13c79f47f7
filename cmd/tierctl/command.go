package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"strings"
	"time"

	"github.com/fatih/color"
	"github.com/spf13/cobra"
)

// The exit codes. docs/tierctl.md has them too.
const (
	exitDone        = 0
	exitFailed      = 1
	exitUsage       = 2
	exitFindings    = 3   // doctor has found what needs mending
	exitInterrupted = 130 // as a shell has it: 128 and SIGINT
)

// usageError says that the command was called wrongly.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// errFindings is returned by doctor after it has printed them.
var errFindings = errors.New("doctor has found what needs mending")

// command is one call of tierctl: its streams, and the flags that all subcommands have.
type command struct {
	in        io.Reader
	out, err  io.Writer
	getenv    func(string) string
	asksOnTTY bool // there is a terminal at which a question can be answered
	outIsTTY  bool
	errIsTTY  bool

	connection connectionFlags
	json       bool
	color      string
	begun      bool // the subcommand runs: what fails from now on is no wrong call
}

// run executes tierctl with the arguments and returns its exit code.
func (c *command) run(ctx context.Context, args []string) int {
	root := c.root()
	root.SetArgs(args)
	root.SetIn(c.in)
	root.SetOut(c.out)
	root.SetErr(c.err)
	err := root.ExecuteContext(ctx)
	var usage usageError
	switch {
	case err == nil:
		return exitDone
	case errors.Is(err, errFindings):
		return exitFindings
	case ctx.Err() != nil:
		fmt.Fprintln(c.err, "tierctl: interrupted")
		return exitInterrupted
	case errors.As(err, &usage) || !c.begun:
		fmt.Fprintf(c.err, "tierctl: %s; tierctl help says more\n", c.oneLine(err))
		return exitUsage
	}
	fmt.Fprintf(c.err, "tierctl: %s\n", c.oneLine(err))
	return exitFailed
}

// oneLine is an error's text on one line, without the password.
func (c *command) oneLine(err error) string {
	text := strings.Join(strings.FieldsFunc(err.Error(), func(r rune) bool { return r == '\n' || r == '\r' }), "; ")
	return c.connection.redact(text)
}

func (c *command) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "tierctl",
		Short: "look into a tiercache, and steer it",
		Long: `tierctl looks into the part of a tiercache that processes share, in Valkey, and steers it.

The server is named by --url or --addr, or by the environment: TIERCTL_URL, TIERCTL_USER, TIERCTL_PASSWORD,
TIERCTL_PREFIX. There is no flag for a password, since other users of a machine see the flags of its
processes: use TIERCTL_PASSWORD or --password-file.

Exit codes: 0 done, 1 failed, 2 called wrongly, 3 doctor found what needs mending, 130 interrupted.`,
		Version:       version(),
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          noSubcommand,
		RunE:          func(cmd *cobra.Command, _ []string) error { return noSubcommand(cmd, nil) },
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			if err := c.checkColor(); err != nil {
				return err
			}
			if err := c.connection.resolve(c.getenv, cmd.Flags().Changed); err != nil {
				return err
			}
			c.begun = true
			return nil
		},
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		if cmd != root && cmd.HasSubCommands() { // the flag may be one of theirs
			err = fmt.Errorf("%w: %w", noSubcommand(cmd, nil), err)
		}
		return usageError{err}
	})
	flags := root.PersistentFlags()
	flags.BoolVar(&c.json, "json", false, "print JSON: one object, or one a line where there are many")
	flags.StringVar(&c.color, "color", "auto", "auto, always or never; auto is never when the output is piped or NO_COLOR is set")
	c.connection.register(flags)
	_ = root.RegisterFlagCompletionFunc("color", cobra.FixedCompletions([]string{"auto", "always", "never"}, cobra.ShellCompDirectiveNoFileComp))
	root.AddCommand(c.doctorCommand(), c.explainCommand(), c.invalidateCommand(), c.bypassCommand(), c.watchCommand(), c.statsCommand(), c.topCommand(), c.fleetCommand(), c.purgeCommand(), c.adviseCommand())
	return root
}

// noSubcommand is the error of a call that names none of the subcommands. (Cobra alone would print the help of a command
// that has subcommands, and exit with 0, also where the name of one is misspelt.)
func noSubcommand(cmd *cobra.Command, args []string) error {
	var names []string
	for _, sub := range cmd.Commands() {
		if sub.IsAvailableCommand() && sub.Name() != "help" && sub.Name() != "completion" {
			names = append(names, sub.Name())
		}
	}
	_, path, _ := strings.Cut(cmd.CommandPath(), " ")
	if len(args) > 0 {
		return usagef("no subcommand %q: want %s", args[0], strings.TrimSpace(path+" "+strings.Join(names, ", ")))
	}
	return usagef("want a subcommand: %s", strings.TrimSpace(path+" "+strings.Join(names, ", ")))
}

func version() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "unknown"
}

func (c *command) checkColor() error {
	switch c.color {
	case "auto", "always", "never":
		return nil
	}
	return usagef("--color %q: want auto, always or never", c.color)
}

// paint returns what colours text for out.
func (c *command) paint(attributes ...color.Attribute) func(string) string {
	on := c.color == "always" || c.color == "auto" && c.outIsTTY && c.getenv("NO_COLOR") == "" && c.getenv("TERM") != "dumb"
	p := color.New(attributes...)
	if on {
		p.EnableColor()
	} else {
		p.DisableColor()
	}
	return func(s string) string { return p.Sprint(s) }
}

// printJSON prints v on one line.
func (c *command) printJSON(v any) error {
	e := json.NewEncoder(c.out)
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// milliseconds is a duration in JSON.
type milliseconds time.Duration

func (m milliseconds) MarshalJSON() ([]byte, error) {
	return fmt.Appendf(nil, "%.3f", float64(m)/float64(time.Millisecond)), nil
}
