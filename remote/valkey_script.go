package remote

import (
	"context"
	"strings"
)

// run sends commands, in one pipeline. If a server does not know a script (it was
// restarted, or its cache flushed), everything is sent once more with the scripts'
// text, from which they are known again; the commands are such that this does no
// harm.
func run(ctx context.Context, client asker, b *batch) []reply {
	replies := client.ask(ctx, b)
	if !unknownScript(replies) {
		return replies
	}
	b.spellOut()
	return client.ask(ctx, b)
}

func unknownScript(replies []reply) bool {
	for i := range replies {
		if err := replies[i].err; err != nil && strings.HasPrefix(err.Error(), "NOSCRIPT") {
			return true
		}
	}
	return false
}

// runOne sends one command and returns its reply.
func runOne(ctx context.Context, client asker, b *batch) reply {
	return run(ctx, client, b)[0]
}
