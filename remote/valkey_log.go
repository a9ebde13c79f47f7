package remote

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/valkey-io/valkey-go"

	"github.com/tiercache/tiercache/internal/wire"
	"github.com/tiercache/tiercache/invalidation"
)

// Append implements [invalidation.Log].
func (c *valkeyConn) Append(ctx context.Context, ch invalidation.Change) (invalidation.Appended, error) {
	all := "0"
	if ch.All {
		all = "1"
	}
	incarnation, body, forget := newIncarnation(), valkey.BinaryString(invalidation.Body(ch.Scopes, ch.All)), c.toForget(len(ch.Scopes))
	record := func() ([]string, error) {
		b := newBatch()
		b.eval(c.script(scriptAppend), c.log)
		b.more(c.channel, incarnation, ch.Known.String(), strconv.FormatInt(ch.Retention.Microseconds(), 10), all, body, strconv.Itoa(forget))
		for _, s := range ch.Scopes {
			b.more(string(s))
		}
		return runOne(ctx, c.plain, b).texts()
	}
	fields, err := record()
	if Unreachable(err) && ctx.Err() == nil {
		// The connection was lost, perhaps long ago. Should the change have been
		// recorded all the same, then it is recorded twice, which does no harm.
		fields, err = record()
	}
	if err != nil {
		return invalidation.Appended{}, failure(err)
	}
	if len(fields) != 3 {
		return invalidation.Appended{}, errAnswer
	}
	var p parser
	a := invalidation.Appended{Incarnation: p.incarnation(fields[0]), Prev: p.tick(fields[1]), Tick: p.tick(fields[2])}
	return a, p.err
}

// forgetEvery is how many changes are recorded for each time that old ones are
// looked for, which takes a command more.
const forgetEvery = 15

// toForget is how many old scopes the log drops, at most, while a change of n is
// recorded: 0 most times, and then more than have come in since.
func (c *valkeyConn) toForget(n int) int {
	due := c.scopesSince.Add(int64(n))
	if c.changesSince.Add(1)%forgetEvery != 1 {
		return 0
	}
	c.scopesSince.Add(-due)
	return 128 + 2*int(due)
}

// Renew implements [invalidation.Log].
func (c *valkeyConn) Renew(ctx context.Context, lost invalidation.Loss) error {
	b := newBatch()
	b.eval(scriptRenew, c.log)
	b.more(newIncarnation(), lost.Known.String(), invalidation.FormatIncarnation(lost.Forked))
	return failure(runOne(ctx, c.plain, b).err)
}

// Delta implements [invalidation.Log].
func (c *valkeyConn) Delta(ctx context.Context, q invalidation.DeltaQuery) (invalidation.Delta, error) {
	_, d, err := c.Get(ctx, nil, &q)
	return d, err
}

// admits reports whether the server of that history was known to the store
// before d was read, when there had been that many admissions, or there is no log
// yet that could tell. If not, it is now. That it is known by now says too little:
//
//	heartbeat: reads the log, and has the server admitted
//	Sync:      has read it between the two, and does not know what changed by that
func (c *valkeyConn) admits(ctx context.Context, client asker, history string, d invalidation.Delta, before int64) (bool, error) {
	if place, known := c.admitted.Load(history); known && place.(int64) <= before || d.Incarnation == 0 {
		return true, nil
	}
	_, err := c.admit(ctx, client, history)
	return false, err
}

// admit has the log, on the server of client, know a history. It reports whether
// there is a log.
func (c *valkeyConn) admit(ctx context.Context, client asker, history string) (bool, error) {
	if _, known := c.admitted.Load(history); known {
		return true, nil
	}
	b := newBatch()
	if client != asker(c.plain) { // which tracks nothing
		c.addUntracked(b)
	}
	b.eval(c.script(scriptAdmit), c.log)
	b.more(c.channel, history)
	results := run(ctx, client, b)
	logged, err := results[len(results)-1].number()
	if err != nil {
		return false, failure(err)
	}
	if logged == 1 {
		c.admitted.LoadOrStore(history, c.admissions.Add(1))
	}
	return logged == 1, nil
}

// script is the one to use for a script that publishes: in a cluster to the shard
// that has the log, since elsewhere every message would go to every server.
func (c *valkeyConn) script(s publishing) script {
	if c.sharded() {
		return s.sharded
	}
	return s.single
}

// addDelta appends what reads the log. CLIENT ID is for invalidation.Delta.Connection.
func (c *valkeyConn) addDelta(b *batch, q *invalidation.DeltaQuery) {
	b.add("CLIENT", "ID")
	c.addUntracked(b)
	b.evalReadOnly(scriptDelta, c.log)
	b.more(tickArg(q.Since), invalidation.FormatIncarnation(q.Incarnation), strconv.Itoa(q.Limit))
	for _, s := range q.Scopes {
		b.more(string(s))
	}
}

// addUntracked appends what to send before a command that reads the log: each change
// of it would be told twice if it were tracked.
func (c *valkeyConn) addUntracked(b *batch) {
	if !c.o.NoTracking {
		b.add(untrackNext...)
	}
}

// deltaOf reads the answers to addDelta and returns the others.
func (c *valkeyConn) deltaOf(results []reply) (d invalidation.Delta, history string, rest []reply, err error) {
	n := 1
	if !c.o.NoTracking {
		n = 2
	}
	d, history, err = parseDelta(results[0], results[n])
	d.Connection += c.dials.Load() << 40
	return d, history, results[n+1:], err
}

// parseDelta reads the answers to CLIENT ID and scriptDelta. A replica answers as
// well, and proves nothing, since it does not hear of changes when they are
// acknowledged.
func parseDelta(id, answer reply) (d invalidation.Delta, history string, err error) {
	if d.Connection, err = id.number(); err != nil {
		return d, "", failure(err)
	}
	fields, err := answer.array()
	if err != nil {
		return d, "", failure(err)
	}
	if len(fields) != 11 && len(fields) != 5 {
		return d, "", errAnswer
	}
	var p parser
	history, err = primary(p.text(fields[0]), p.text(fields[1]))
	if err != nil {
		return d, "", err
	}
	d.ServerTime = time.Unix(p.number(p.text(fields[2])), p.number(p.text(fields[3]))*1000)
	if len(fields) == 5 {
		return d, history, p.err // no log
	}
	d.Incarnation = p.incarnation(p.text(fields[4]))
	d.Tick, d.Floor = p.tick(p.text(fields[5])), p.tick(p.text(fields[6]))
	over, err := direct(fields[7]).number()
	if err != nil {
		return d, history, err
	}
	d.Overflow = over != 0
	changes, known := p.texts(fields[8]), p.texts(fields[9])
	for i := 0; i+1 < len(changes); i += 2 {
		if changes[i] != floorMember && changes[i][:1] != "i" {
			d.Changes = append(d.Changes, invalidation.ScopeTick{Scope: invalidation.Scope(changes[i]), Tick: p.tick(changes[i+1])})
		}
	}
	for _, k := range known {
		d.Known = append(d.Known, p.tick(k))
	}
	d.After = asOf(p.text(fields[10]))
	return d, history, p.err
}

// asOf reads what AsOf.String wrote; anything else is the zero AsOf.
func asOf(s string) invalidation.AsOf {
	inc, tick, _ := strings.Cut(s, "@")
	var p parser
	a := invalidation.AsOf{Incarnation: p.incarnation(inc), Tick: p.tick(tick)}
	if p.err != nil {
		return invalidation.AsOf{}
	}
	return a
}

// primary returns the history of a server that says it is a primary.
func primary(role, history string) (string, error) {
	switch {
	case role == "" || history == "":
		return "", errors.New("the server does not tell whether it is a primary: the user needs the right +info")
	case role != "master" && role != "primary":
		return "", fmt.Errorf("the server is a %.20q, and only a primary knows what has changed", role)
	}
	return history, nil
}

const floorMember = "f"

var errAnswer = fmt.Errorf("unexpected answer of the server")

func tickArg(t invalidation.Tick) string { return strconv.FormatInt(int64(t), 10) }

// parser keeps the first error of a series of conversions.
type parser struct{ err error }

func (p *parser) fail(err error) {
	if p.err == nil {
		p.err = err
	}
}

func (p *parser) text(r wire.Reply) string {
	s, err := direct(r).text()
	if err != nil {
		p.fail(err)
	}
	return s
}

func (p *parser) texts(r wire.Reply) []string {
	s, err := direct(r).texts()
	if err != nil {
		p.fail(err)
	}
	for _, t := range s {
		if t == "" {
			p.fail(errAnswer)
			return nil
		}
	}
	return s
}

func (p *parser) number(s string) int64 {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		p.fail(err)
	}
	return n
}

// tick accepts what a sorted set makes of a score: a whole number, or one in
// exponent notation once somebody has put it there by hand.
func (p *parser) tick(s string) invalidation.Tick {
	f, err := strconv.ParseFloat(s, 64)
	if err != nil || f < -1 || f >= 1<<53 {
		p.fail(fmt.Errorf("bad tick %.30q in the change log", s))
		return 0
	}
	return invalidation.Tick(f)
}

func (p *parser) incarnation(s string) uint64 {
	inc, err := invalidation.ParseIncarnation(s)
	if err != nil {
		p.fail(err)
	}
	return inc
}
