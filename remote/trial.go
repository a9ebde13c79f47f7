package remote

import (
	"context"
	"crypto/rand"
	"fmt"
	"strings"

	"github.com/tiercache/tiercache/internal/backend"
	"github.com/tiercache/tiercache/internal/remoteerr"
)

// ability is something that a server can do, and that a user may, or not.
type ability struct {
	right string // as an ACL names it
	use   string // what it is needed for
	// without is what happens without it; empty: the store does not work, and does not open.
	without string
	// words are the command that tries it, on keys of the trial's own.
	words func(t *trial) []string
	// lost notes for the connection that it is withheld.
	lost func(c *valkeyConn)
}

// trial is what the abilities are tried on. All of it is removed when that is done, or expires.
type trial struct{ key, set, channel string }

// abilities are all that a store asks a server for, but for what its greeting asks (HELLO, CLIENT TRACKING) and the
// subscription, which are tried by using them. An ability that scripts use is tried as a command of its own:
// the right to it is the same.
var abilities = []ability{
	{right: "info", use: "a primary is told from a replica", words: func(*trial) []string { return []string{"INFO", "replication"} }},
	{right: "set", use: "entries are stored", words: func(t *trial) []string { return []string{"SET", t.key, "v", "PX", "60000"} }},
	{right: "get", use: "a lease is given up", words: func(t *trial) []string { return []string{"GET", t.key} }},
	{right: "getrange", use: "entries are read", words: func(t *trial) []string { return []string{"GETRANGE", t.key, "0", "0"} }},
	{right: "mget", use: "several entries are read", words: func(t *trial) []string { return []string{"MGET", t.key} }},
	{right: "exists", use: "a value is set", words: func(t *trial) []string { return []string{"EXISTS", t.key} }},
	{right: "strlen", use: "large entries are read", without: "entries above 64 KiB are loaded each time",
		words: func(t *trial) []string { return []string{"STRLEN", t.key} }},
	{right: "append", use: "large values are stored", without: largeAtOnce, lost: (*valkeyConn).withoutAhead,
		words: func(t *trial) []string { return []string{"APPEND", t.key, ""} }},
	{right: "rename", use: "large values are stored", without: largeAtOnce, lost: (*valkeyConn).withoutAhead,
		words: func(t *trial) []string { return []string{"RENAME", t.key, t.key} }},
	{right: "pexpireat", use: "large values are stored", without: largeAtOnce, lost: (*valkeyConn).withoutAhead,
		words: func(t *trial) []string { return []string{"PEXPIREAT", t.key, "32503680000000"} }},
	{right: "pttl", use: "another's lease is waited for", words: func(t *trial) []string { return []string{"PTTL", t.key} }},
	{right: "pexpire", use: "a lease is renewed", without: "loads longer than 3 s may run twice in the fleet, and " + largeAtOnce, lost: (*valkeyConn).withoutAhead,
		words: func(t *trial) []string { return []string{"PEXPIRE", t.key, "60000"} }},
	{right: "getdel", use: "a loaded value is stored", words: func(t *trial) []string { return []string{"GETDEL", t.key} }},
	{right: "unlink", use: "an entry is deleted", words: func(t *trial) []string { return []string{"UNLINK", t.key} }},
	{right: "del", use: "a lease is given up", words: func(t *trial) []string { return []string{"DEL", t.key} }},
	{right: "zadd", use: "a change is recorded", words: func(t *trial) []string { return []string{"ZADD", t.set, "1", "m"} }},
	{right: "zrange", use: "the change log is read", words: func(t *trial) []string { return []string{"ZRANGE", t.set, "0", "0"} }},
	{right: "zrevrange", use: "the change log is read", words: func(t *trial) []string { return []string{"ZREVRANGE", t.set, "0", "0"} }},
	{right: "zrangebyscore", use: "the change log is read", words: func(t *trial) []string { return []string{"ZRANGEBYSCORE", t.set, "0", "1"} }},
	{right: "zscore", use: "the change log is read", words: func(t *trial) []string { return []string{"ZSCORE", t.set, "m"} }},
	{right: "zcount", use: "the change log is read", words: func(t *trial) []string { return []string{"ZCOUNT", t.set, "0", "1"} }},
	{right: "zrem", use: "old changes are forgotten", words: func(t *trial) []string { return []string{"ZREM", t.set, "m"} }},
	{right: "time", use: "a change is recorded", words: func(*trial) []string { return []string{"TIME"} }},
	{right: "publish", use: "a change is told to other processes", words: func(t *trial) []string { return []string{"PUBLISH", t.channel, ""} }},
	{right: "evalsha", use: "changes and entries are stored in one step", words: func(t *trial) []string { return []string{"EVALSHA", strings.Repeat("0", 40), "1", t.key} }},
	{right: "eval", use: "scripts are loaded", words: func(t *trial) []string { return []string{"EVAL", scriptTry.text, "1", t.key} }},
	{right: "evalsha_ro", use: "scripts that read", without: "scripts that read run as those that write: after a lost connection they are not sent again",
		words: func(t *trial) []string { return []string{"EVALSHA_RO", strings.Repeat("0", 40), "1", t.key} }, lost: (*valkeyConn).withoutReadOnlyScripts},
	{right: "eval_ro", use: "scripts that read", without: "scripts that read run as those that write: after a lost connection they are not sent again",
		words: func(t *trial) []string { return []string{"EVAL_RO", "return 1", "1", t.key} }, lost: (*valkeyConn).withoutReadOnlyScripts},
	{right: "client|caching", use: "what is read and not kept is not tracked", without: "the server tracks what is read and not kept too",
		words: func(*trial) []string { return []string{"CLIENT", "CACHING", "NO"} }, lost: func(c *valkeyConn) { c.lacks.caching = true }},
	{right: "config|get", use: "Health", without: "Health does not know the size of the tracking table",
		words: func(*trial) []string { return []string{"CONFIG", "GET", "tracking-table-max-keys"} }},
	{right: "scan", use: "Purge", without: "Purge fails", words: func(*trial) []string { return []string{"SCAN", "0", "COUNT", "1"} }},
}

// scriptTry has the flags of the script that stores entries.
var scriptTry = newScript("#!lua\nreturn 1")

// lacks is what a connection does without.
type lacks struct {
	caching  bool // CLIENT CACHING
	readOnly bool // EVAL_RO and EVALSHA_RO
	resp2    bool // HELLO 3
	ahead    bool // APPEND, PEXPIRE, RENAME and PEXPIREAT
	// untracked is why there is no tracking though it was asked for.
	untracked string
	without   []string // in plain words, with what the server said
}

func (c *valkeyConn) withoutReadOnlyScripts() { c.lacks.readOnly = true }

func (c *valkeyConn) withoutAhead() { c.lacks.ahead = true }

const largeAtOnce = "values above 64 KiB hold up others while they are stored"

// evalReadOnly appends a run of a script that does not write. Where the server has no command for such it is an
// ordinary one.
func (c *valkeyConn) evalReadOnly(b *batch, s script, keys ...string) {
	if c.lacks.readOnly {
		b.eval(s, keys...)
	} else {
		b.evalReadOnly(s, keys...)
	}
}

// evalProof is evalReadOnly of a script whose answer proves that the server is a primary. A primary of a cluster that hands its
// slots over to a replica holds back what may write, and nothing else, until it knows that it has been replaced:
//
//	the old primary: has told the replica all, and does not know yet that it took over
//	A: changes a source at the new primary, which acknowledges it
//	B: Sync, at the old one: what A changed is not there
func (c *valkeyConn) evalProof(b *batch, s script, keys ...string) {
	// guard: I5-replaced-primary-proves-nothing
	if c.sharded() {
		b.eval(s, keys...)
		return
	}
	c.evalReadOnly(b, s, keys...)
}

// try asks the server for each of the abilities once, in one round trip. It returns an error that names all that are withheld
// and cannot be done without, and notes the others. redirects: a replica may have been addressed, which names its primary.
func (c *valkeyConn) try(ctx context.Context, redirects bool) error {
	t := &trial{key: c.tries + rand.Text(), channel: c.channel + ":try"}
	t.set = t.key + "z"
	var asked []ability
	b := newBatch()
	for _, a := range abilities {
		if a.right == "client|caching" && (c.o.NoTracking || c.sharded()) {
			continue
		}
		words := a.words(t)
		if c.sharded() && words[0] == "PUBLISH" {
			a.right, words = "spublish", append([]string{"SPUBLISH"}, words[1:]...)
		}
		if c.sharded() && len(words) == 1 {
			continue // the client sends none without a key together with others; the scripts use it
		}
		asked = append(asked, a)
		b.add(words...)
	}
	replies := c.tracked.ask(ctx, b)
	clean := newBatch() // what could not be removed by the commands above
	clean.add("DEL", t.set)
	c.tracked.ask(ctx, clean)
	lacking := lack{prefix: c.o.Prefix}
	for i, a := range asked {
		err := replies[i].err
		switch {
		case err == nil, err == errNull, isUnknownScript(err), isWrongType(err):
			if a.right == "info" && err == nil && !c.sharded() && !redirects {
				if text, _ := replies[i].text(); strings.Contains(text, "role:slave") {
					_, err := primary("slave", "-")
					return err
				}
			}
			continue
		case remoteerr.Away(err):
			return failure(err)
		case !withholds(err):
			continue // no memory, too few replicas: that may pass, and is told where it matters
		case a.without == "":
			lacking.add(a, err)
			continue
		}
		c.lacks.without = append(c.lacks.without, fmt.Sprintf("%s: %s", a.without, oneLine(err)))
		if a.lost != nil {
			a.lost(c)
		}
	}
	return lacking.err()
}

// withholds reports whether a refusal is of the command, the key or the channel, and not of the moment.
func withholds(err error) bool {
	text, refused := remoteerr.RefusalOf(err)
	if !refused {
		return false
	}
	for _, passing := range []string{"OOM ", "MISCONF ", "NOREPLICAS ", "TRYAGAIN", "MOVED ", "ASK ", "CROSSSLOT", "REDIRECT "} {
		if strings.HasPrefix(text, passing) {
			return false
		}
	}
	return true
}

// lack is what a server withholds that a store cannot do without.
type lack struct {
	prefix         string
	rights, absent []string // that the user lacks; commands that the server does not have
	keys, channels bool     // the user may not use those of the prefix
	lua            bool     // no script runs
	need           string   // what the first is needed for
	first          error
}

func (l *lack) add(a ability, err error) {
	text, _ := remoteerr.RefusalOf(err)
	if l.first == nil {
		l.first, l.need = err, a.use
	}
	noperm := strings.HasPrefix(text, "NOPERM") || strings.Contains(text, "can't run this command")
	switch {
	case noperm && strings.Contains(text, "channel"):
		l.channels = true
	case noperm && (strings.Contains(text, " key") || strings.Contains(text, "keys")):
		l.keys = true
	case noperm:
		l.rights = append(l.rights, "+"+a.right)
	case a.right == "eval" || a.right == "evalsha":
		l.lua = true
	default:
		l.absent = append(l.absent, strings.ToUpper(strings.ReplaceAll(a.right, "|", " ")))
	}
}

func (l *lack) err() error {
	if l.first == nil {
		return nil
	}
	var says []string
	if l.keys || l.channels {
		says = append(says, fmt.Sprintf("the user may not use the keys or the channel of the prefix: grant ~%s:* &%s:*, or choose WithPrefix", l.prefix, l.prefix))
	}
	if len(l.rights) > 0 {
		says = append(says, fmt.Sprintf("the user lacks rights: grant %s (all that are needed are in the README under Valkey)", strings.Join(l.rights, " ")))
	}
	if l.lua {
		says = append(says, "the server runs no Lua scripts, which the change log needs: load its Lua module (since Valkey 9.1 it is one), or take a server or provider with EVAL (docs/providers.md)")
	}
	if len(l.absent) > 0 {
		says = append(says, fmt.Sprintf("the server does not have %s: it is older than Valkey 7.2, or the provider withholds it (docs/providers.md)", strings.Join(l.absent, ", ")))
	}
	return &connectError{strings.Join(says, "; "), fmt.Errorf("%s: %w", l.need, l.first), false}
}

// Mode implements [backend.Moded].
func (c *valkeyConn) Mode() backend.Mode {
	kind := "one server"
	if c.sharded() {
		kind = "cluster"
	}
	if c.lacks.resp2 {
		kind += ", RESP2"
	} else {
		kind += ", RESP3"
	}
	if c.o.NoTracking {
		kind += ", without tracking"
	} else {
		kind += ", tracking"
	}
	m := backend.Mode{NoTracking: c.o.NoTracking, Kind: kind, Without: append([]string(nil), c.lacks.without...)}
	if err := c.unsubscribed.Load(); err != nil {
		m.Without = append(m.Without, "changes of other processes are heard of with the heartbeat, and not at once: "+oneLine(*err))
	}
	return m
}
