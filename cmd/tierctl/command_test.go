package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/internal/valkeytest"
)

func TestMain(m *testing.M) { valkeytest.Main(m) }

// call is one call of tierctl, and what came of it.
type call struct {
	out, err string
	status   int
}

// tierctl calls the command as a script does: nothing is a terminal.
func tierctl(t *testing.T, environment map[string]string, args ...string) call {
	t.Helper()
	return tierctlWith(t, t.Context(), &command{}, environment, args...)
}

func tierctlWith(t *testing.T, ctx context.Context, c *command, environment map[string]string, args ...string) call {
	t.Helper()
	var out, diagnostics bytes.Buffer
	if c.in == nil {
		c.in = strings.NewReader("")
	}
	if c.out == nil {
		c.out = &out
	}
	c.err = &diagnostics
	c.getenv = func(name string) string { return environment[name] }
	status := c.run(ctx, args)
	return call{out.String(), diagnostics.String(), status}
}

func decode[T any](t *testing.T, text string) (v T) {
	t.Helper()
	require.NoError(t, json.Unmarshal([]byte(text), &v), text)
	return v
}

func subcommands(c *cobra.Command) (all []*cobra.Command) {
	for _, sub := range c.Commands() {
		if sub.Name() != "help" && sub.Name() != "completion" {
			all = append(append(all, sub), subcommands(sub)...)
		}
	}
	return all
}

func TestHelpIsPrintedAndIsNoFailure(t *testing.T) {
	for _, args := range [][]string{{"help"}, {"-h"}, {"--help"}} {
		got := tierctl(t, nil, args...)
		assert.Zero(t, got.status, args)
		assert.Contains(t, got.out, "Exit codes", args)
		assert.Empty(t, got.err, args)
	}
	all := subcommands((&command{}).root())
	require.Greater(t, len(all), 9)
	for _, sub := range all {
		path := strings.Fields(sub.CommandPath())[1:]
		for _, args := range [][]string{append(path, "-h"), append([]string{"help"}, path...)} {
			got := tierctl(t, nil, args...)
			assert.Zero(t, got.status, args)
			assert.Contains(t, got.out, "Usage:\n  tierctl "+path[0], args)
			assert.Empty(t, got.err, args)
		}
		assert.NotEmpty(t, sub.Short, sub.CommandPath())
	}
}

func TestAWrongCallIsToldInOneLineAndExitsWith2(t *testing.T) {
	folder := t.TempDir()
	for _, args := range [][]string{
		nil, {"nope"}, {"invalidate"}, {"invalidate", "sorce", "doc-1"}, {"invalidate", "source"}, {"invalidate", "key", "docs"},
		{"invalidate", "all", "docs"}, {"explain"}, {"explain", "a", "b", "c"}, {"explain", "noname"}, {"purge"}, {"doctor", "now"},
		{"doctor", "--bogus"}, {"doctor", "--timeout", "soon"}, {"doctor", "--timeout", "-1s"}, {"doctor", "--color", "red"},
		{"doctor", "--addr", "nowhere"}, {"doctor", "--url", "http://127.0.0.1"}, {"doctor", "--url", "valkey://a", "--addr", "b:1"},
		{"doctor", "--sentinel", "set"}, {"doctor", "--password-file", filepath.Join(folder, "none")}, {"doctor", "--tls-cert", "a"},
		{"doctor", "--tls-ca", filepath.Join(folder, "none")}, {"watch", "--kind", "sources"}, {"watch", "--match", "("},
		{"stats", "--sample", "0"}, {"advise"}, {"invalidate", "all", "--settle", "2h"}, {"invalidate", "key", "docs", "k", "--settle", "1s"},
		// Regression: a name that no store takes was told as "it is not known whether the change was recorded", with 1; and of a
		// prefix that no store can have it was said that it had no change log, with 0.
		{"invalidate", "namespace", "docs", "a::b"}, {"invalidate", "source", strings.Repeat("x", 1<<20+1)}, {"purge", "docs:"},
		{"bypass", "namespace", ":docs", "--off"}, {"bypass", "docs", "--for", "1m"}, {"stats", "--prefix", "a/b"}, {"stats", "--prefix", ""},
	} {
		got := tierctl(t, nil, args...)
		assert.Equal(t, exitUsage, got.status, "%q: %s%s", args, got.out, got.err)
		assert.Equal(t, 1, strings.Count(got.err, "\n"), "%q: %s", args, got.err)
		assert.True(t, strings.HasPrefix(got.err, "tierctl: "), got.err)
		assert.Empty(t, got.out, args)
	}
}

func TestAServerThatDoesNotAnswerIsToldInOneLineAndExitsWith1(t *testing.T) {
	for _, args := range [][]string{{"doctor"}, {"stats"}, {"watch"}, {"explain", "docs", "k"}, {"invalidate", "source", "s"},
		{"invalidate", "key", "docs", "k"}, {"purge", "docs"}} {
		got := tierctl(t, nil, append(args, "--addr", "127.0.0.1:1")...)
		assert.Equal(t, exitFailed, got.status, args)
		assert.Equal(t, 1, strings.Count(got.err, "\n"), "%q: %s", args, got.err)
		assert.Contains(t, got.err, "127.0.0.1:1", args)
	}
}

// What keeps it from connecting is told with cause and cure, whatever listens at the address.
func TestAConnectionThatFailsIsToldWithCauseAndCure(t *testing.T) {
	plain, guarded := valkeytest.Shared(t), valkeytest.Start(t, valkeytest.TLS())
	secret := valkeytest.Start(t, valkeytest.Config("requirepass", "right"))
	for name, c := range map[string]struct {
		args []string
		want []string
	}{
		"TLS to a plain port":     {[]string{"--tls", "--addr", plain.Addr}, []string{"TLS", "begin the URL with valkey://"}},
		"plain to a TLS port":     {[]string{"--addr", guarded.Addr}, []string{"speaks TLS at this port", "--tls"}},
		"an unknown authority":    {[]string{"--tls", "--addr", guarded.Addr}, []string{"authority that is not trusted", "--tls-ca"}},
		"no password":             {[]string{"--addr", secret.Addr}, []string{"wants a password", "TIERCTL_PASSWORD"}},
		"a server for a sentinel": {[]string{"--addr", plain.Addr, "--sentinel", "m"}, []string{"where a sentinel is expected"}},
		"two servers":             {[]string{"--addr", plain.Addr + "," + secret.Addr}, []string{"several addresses"}},
		"no server":               {[]string{"--addr", "127.0.0.1:1"}, []string{"no server listens"}},
		"a web server":            {[]string{"--addr", says(t, "HTTP/1.1 400 Bad Request\r\n\r\n")}, []string{"no Valkey server"}},
		"a length of terabytes":   {[]string{"--addr", says(t, "$9999999999999\r\n")}, []string{"no Valkey server"}},
		"as many fields":          {[]string{"--addr", says(t, "%1000000000\r\n"+strings.Repeat("$1\r\na\r\n", 1000))}, []string{"127.0.0.1"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := tierctl(t, nil, append([]string{"doctor", "--timeout", "3s"}, c.args...)...)
			assert.Equal(t, exitFailed, got.status, got.out)
			assert.Equal(t, 1, strings.Count(got.err, "\n"), got.err)
			for _, want := range c.want {
				assert.Contains(t, got.err, want)
			}
			assert.NotContains(t, got.err, "WithValkeyClient")
			assert.NotContains(t, got.err, "ClientOption")
		})
	}
}

// says returns the address of what answers each client with text, and goes on listening.
func says(t *testing.T, text string) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var all sync.WaitGroup
	t.Cleanup(func() {
		_ = l.Close()
		all.Wait()
	})
	all.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
				defer c.Close()
				defer context.AfterFunc(t.Context(), func() { _ = c.Close() })()
				_, _ = c.Read(make([]byte, 1000))
				_, _ = io.WriteString(c, text)
				_, _ = io.Copy(io.Discard, c)
			})
		}
	})
	return l.Addr().String()
}

func TestCompletionIsThereForEachShell(t *testing.T) {
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		got := tierctl(t, nil, "completion", shell)
		assert.Zero(t, got.status, shell)
		assert.Contains(t, got.out, "tierctl", shell)
	}
	got := tierctl(t, nil, cobra.ShellCompRequestCmd, "invalidate", "")
	assert.Contains(t, got.out, "namespace\t")
	got = tierctl(t, nil, cobra.ShellCompRequestCmd, "watch", "--kind", "")
	assert.Contains(t, got.out, "everything\n")
}

// A password is in the environment, in a file or in a URL. It is in no output, whatever goes wrong.
func TestThePasswordIsNeverPrinted(t *testing.T) {
	s := valkeytest.Start(t, valkeytest.Config("requirepass", "right-secret"))
	const wrong = "hunter2secret"
	file := filepath.Join(t.TempDir(), "password")
	require.NoError(t, os.WriteFile(file, []byte(wrong+"\n"), 0o600))
	calls := []struct {
		environment map[string]string
		args        []string
	}{
		{nil, []string{"--url", "valkey://:" + wrong + "@" + s.Addr}},
		{nil, []string{"--url", "valkey://u:" + wrong + "@127.0.0.1:1"}},
		{nil, []string{"--url", "valkey://u:" + wrong + "@%zz"}},
		{nil, []string{"--url", "valkey://u:" + wrong + "@127.0.0.1:6379/x/y"}},
		{nil, []string{"--url", "nope://u:" + wrong + "@127.0.0.1"}},
		{map[string]string{"TIERCTL_URL": "valkey://u:" + wrong + "@" + s.Addr}, nil},
		{map[string]string{"TIERCTL_PASSWORD": wrong}, []string{"--addr", s.Addr}},
		{nil, []string{"--addr", s.Addr, "--password-file", file}},
	}
	for _, c := range calls {
		for _, sub := range [][]string{{"doctor"}, {"doctor", "--json"}, {"stats"}, {"explain", "a", "b"}, {"invalidate", "all"}, {"watch", "--for", "1ms"}, {"purge", "a"}} {
			got := tierctl(t, c.environment, append(sub, c.args...)...)
			assert.NotZero(t, got.status, "%q %q", sub, c.args)
			assert.NotContains(t, got.out+got.err, wrong, "%q %q", sub, c.args)
		}
	}
	for _, c := range []map[string]string{{"TIERCTL_URL": s.URL()}, {"TIERCTL_PASSWORD": "right-secret", "TIERCTL_URL": "valkey://" + s.Addr}} {
		got := tierctl(t, c, "stats")
		assert.Zero(t, got.status, got.err)
		assert.NotContains(t, got.out+got.err, "right-secret")
	}
}

// No error is known that has the password in it. Should one have it, it is taken out.
func TestAPasswordIsTakenOutOfErrors(t *testing.T) {
	c := &command{connection: connectionFlags{password: "hunter2"}}
	assert.Equal(t, "dial valkey://u:***@h: no; second line", c.oneLine(errors.New("dial valkey://u:hunter2@h: no\nsecond line\n")))
}

func TestFlagsComeBeforeTheEnvironment(t *testing.T) {
	environment := map[string]string{"TIERCTL_URL": "valkey://e:p@env:1", "TIERCTL_USER": "eve", "TIERCTL_PREFIX": "envprefix"}
	resolve := func(args ...string) *connectionFlags {
		f := &connectionFlags{}
		flags := pflag.NewFlagSet("", pflag.ContinueOnError)
		f.register(flags)
		require.NoError(t, flags.Parse(args))
		require.NoError(t, f.resolve(func(name string) string { return environment[name] }, flags.Changed))
		return f
	}
	f := resolve()
	assert.Equal(t, []string{"env:1"}, f.option.InitAddress)
	assert.Equal(t, "eve", f.option.Username)
	assert.Equal(t, "p", f.option.Password)
	assert.Equal(t, "envprefix", f.prefix)
	f = resolve("--url", "valkeys://flag:2/3", "--user", "fay", "--prefix", "flagprefix")
	assert.Equal(t, []string{"flag:2"}, f.option.InitAddress)
	assert.Equal(t, 3, f.option.SelectDB)
	assert.Equal(t, "fay", f.option.Username)
	assert.Empty(t, f.option.Password)
	assert.Equal(t, "flag", f.option.TLSConfig.ServerName)
	assert.Equal(t, "flagprefix", f.prefix)
	f = resolve("--addr", "a:1,b:2", "--sentinel", "set")
	assert.Equal(t, []string{"a:1", "b:2"}, f.option.InitAddress)
	assert.Equal(t, "set", f.option.Sentinel.MasterSet)
	environment = nil
	assert.Equal(t, []string{"127.0.0.1:6379"}, resolve().option.InitAddress)
}

func TestThePageHasEachSubcommandFlagAndExitCode(t *testing.T) {
	b, err := os.ReadFile("../../docs/tierctl.md")
	require.NoError(t, err)
	page := string(b)
	root := (&command{}).root()
	root.PersistentFlags().VisitAll(func(f *pflag.Flag) {
		assert.True(t, strings.Contains(page, "`--"+f.Name), "docs/tierctl.md has no --%s", f.Name)
	})
	for _, sub := range subcommands(root) {
		assert.True(t, strings.Contains(page, sub.CommandPath()), "docs/tierctl.md has no %s", sub.CommandPath())
		sub.LocalNonPersistentFlags().VisitAll(func(f *pflag.Flag) {
			if f.Name != "help" {
				assert.True(t, strings.Contains(page, "`--"+f.Name), "docs/tierctl.md has no --%s of %s", f.Name, sub.CommandPath())
			}
		})
	}
	for _, row := range []string{"| 0 |", "| 1 |", "| 2 |", "| 3 |", "| 130 |"} {
		assert.True(t, strings.Contains(page, row), row)
	}
}

// Each page that doctor links to has the heading.
func TestTheLinksOfDoctorLeadSomewhere(t *testing.T) {
	for _, link := range pages {
		file, heading, _ := strings.Cut(link, "#")
		b, err := os.ReadFile(filepath.Join("../..", file))
		require.NoError(t, err, link)
		found := false
		for line := range strings.SplitSeq(string(b), "\n") {
			if rest, ok := strings.CutPrefix(line, "#"); ok {
				name := strings.ToLower(strings.TrimSpace(strings.TrimLeft(rest, "#")))
				found = found || strings.ReplaceAll(name, " ", "-") == heading
			}
		}
		assert.True(t, found, "%s has no heading %s", file, heading)
	}
}
