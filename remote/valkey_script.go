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

func (c call) build(b valkey.Builder) valkey.Completed {
	n := int64(len(c.keys))
	if c.readOnly {
		return b.EvalshaRo().Sha1(c.script.sha).Numkeys(n).Key(c.keys...).Arg(c.args...).Build()
	}
	return b.Evalsha().Sha1(c.script.sha).Numkeys(n).Key(c.keys...).Arg(c.args...).Build()
}

// run sends the commands that build makes, in one pipeline. If the server does
// not know a script (it was restarted, or its cache flushed), the scripts are
// loaded and everything is sent once more; the commands are such that this
// does no harm.
func run(ctx context.Context, client valkey.Client, scripts []script, build func(b valkey.Builder) []valkey.Completed) []valkey.ValkeyResult {
	results := client.DoMulti(ctx, build(client.B())...)
	if !unknownScript(results) {
		return results
	}
	for _, s := range scripts {
		if err := client.Do(ctx, client.B().ScriptLoad().Script(s.text).Build()).Error(); err != nil {
			break // the next error says it better
		}
	}
	return client.DoMulti(ctx, build(client.B())...)
}

func unknownScript(results []valkey.ValkeyResult) bool {
	for i := range results {
		if err := results[i].Error(); err != nil && strings.HasPrefix(err.Error(), "NOSCRIPT") {
			return true
		}
	}
	return false
}

// eval runs one script.
func eval(ctx context.Context, client valkey.Client, c call) valkey.ValkeyResult {
	return run(ctx, client, []script{c.script}, func(b valkey.Builder) []valkey.Completed {
		return []valkey.Completed{c.build(b)}
	})[0]
}
