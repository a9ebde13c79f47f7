package remote

import (
	"context"
	"strings"

	"github.com/valkey-io/valkey-go"
)

// call is one run of a script.
type call struct {
	script   script
	keys     []string
	args     []string
	readOnly bool
}

// build makes a command of it: by the script's hash, or with its whole text.
func (c call) build(b valkey.Builder, whole bool) valkey.Completed {
	n := int64(len(c.keys))
	switch {
	case c.readOnly && whole:
		return b.EvalRo().Script(c.script.text).Numkeys(n).Key(c.keys...).Arg(c.args...).Build()
	case c.readOnly:
		return b.EvalshaRo().Sha1(c.script.sha).Numkeys(n).Key(c.keys...).Arg(c.args...).Build()
	case whole:
		return b.Eval().Script(c.script.text).Numkeys(n).Key(c.keys...).Arg(c.args...).Build()
	}
	return b.Evalsha().Sha1(c.script.sha).Numkeys(n).Key(c.keys...).Arg(c.args...).Build()
}

// run sends the commands that build makes, in one pipeline. If a server does not
// know a script (it was restarted, or its cache flushed), everything is sent once
// more with the scripts' text, from which they are known again; the commands are
// such that this does no harm.
func run(ctx context.Context, client asker, build func(b valkey.Builder, whole bool) []valkey.Completed) []reply {
	results := client.ask(ctx, build(client.B(), false)...)
	if !unknownScript(results) {
		return results
	}
	return client.ask(ctx, build(client.B(), true)...)
}

func unknownScript(results []reply) bool {
	for i := range results {
		if err := results[i].err; err != nil && strings.HasPrefix(err.Error(), "NOSCRIPT") {
			return true
		}
	}
	return false
}

// eval runs one script.
func eval(ctx context.Context, client asker, c call) reply {
	return run(ctx, client, func(b valkey.Builder, whole bool) []valkey.Completed {
		return []valkey.Completed{c.build(b, whole)}
	})[0]
}
