package remote

import (
	"context"
	"slices"
	"strings"
)

// run sends commands, in one pipeline. If a server does not know a script (it was
// restarted, or its cache flushed), what it did not perform for that reason is sent once
// more with the scripts' text, from which they are known again. The replies are the batch's.
//
// What was performed is not sent again, or it might undo what came in between:
//
//	A: Set(k, 1) and Set(l, 1) together; the scripts are flushed between the two
//	server: performs the first, and does not know the second
//	B: Set(k, 2)
//	A: sends both again
//
// What changes nothing is: its answer belongs to the connection and the moment of the rest.
func run(ctx context.Context, client asker, b *batch) []reply {
	replies := client.ask(ctx, b)
	if !unknownScript(replies) {
		return replies
	}
	b.inlineScripts()
	again, at := b.again(replies)
	// guard: G4-script-not-repeated
	if again == nil {
		return client.ask(ctx, b)
	}
	for i, r := range client.ask(ctx, again) {
		replies[at[i]] = r
	}
	return replies
}

func unknownScript(replies []reply) bool {
	return slices.ContainsFunc(replies, func(r reply) bool { return isUnknownScript(r.err) })
}

func isUnknownScript(err error) bool {
	return err != nil && strings.HasPrefix(err.Error(), "NOSCRIPT")
}

// runOne sends one command and returns its reply.
func runOne(ctx context.Context, client asker, b *batch) reply {
	return run(ctx, client, b)[0]
}
