package remote

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/valkey-io/valkey-go"

	"github.com/tiercache/tiercache/internal/changelog"
	"github.com/tiercache/tiercache/internal/remoteerr"
	"github.com/tiercache/tiercache/internal/resp"
	"github.com/tiercache/tiercache/invalidation"
)

// Append implements [changelog.Log].
func (c *valkeyConn) Append(ctx context.Context, ch changelog.Change) (changelog.Appended, error) {
	incarnation, body, forget := changelog.NewIncarnation(), valkey.BinaryString(changelog.Body(ch.Scopes, ch.All)), c.toForget(len(ch.Scopes))
	record := func() ([]string, error) {
		b := newBatch()
		b.eval(c.script(scriptAppend), c.log)
		b.more(c.channel, incarnation, ch.Known.String(), strconv.FormatInt(ch.Retention.Microseconds(), 10), flag(ch.All), body, strconv.Itoa(forget))
		for _, s := range ch.Scopes {
			b.more(string(s))
		}
		return runOne(ctx, c.plain, b).texts()
	}
	fields, err := record()
	if remoteerr.Unreachable(err) && ctx.Err() == nil {
		// The connection was lost, perhaps long ago. Should the change have been
		// recorded all the same, then it is recorded twice, which does no harm.
		fields, err = record()
	}
	if err != nil {
		return changelog.Appended{}, logFailure(err)
	}
	if len(fields) != 6 {
		return changelog.Appended{}, errAnswer
	}
	var p parser
	a := changelog.Appended{Incarnation: p.incarnation(fields[0]), Prev: p.tick(fields[1]), Tick: p.tick(fields[2]), Missed: fields[5]}
	if fields[3] != "0" || ch.All {
		c.trimSoon(ch.Retention)
	}
	// guard: withheld-changes-are-told
	if wait := p.number(fields[4]); wait > 0 {
		c.tellLater(withheld{a.Tick, time.Duration(wait) * time.Microsecond})
	}
	return a, p.err
}

// withheld is a change whose message has to wait: see scriptAppend.
type withheld struct {
	tick invalidation.Tick
	wait time.Duration
}

// tellLater has the change told once it is due. If another one waits to be told, the later of both does for both.
func (c *valkeyConn) tellLater(w withheld) {
	for was := c.untold.Load(); was < int64(w.tick) && !c.untold.CompareAndSwap(was, int64(w.tick)); was = c.untold.Load() {
	}
	for {
		select {
		case c.withheld <- w:
			return
		default:
		}
		select {
		case other := <-c.withheld:
			if other.tick > w.tick {
				w = other
			}
		default:
		}
	}
}

// tell does what tellLater asks for, until ctx ends. If it cannot, the next change of any process has all told, or
// processes read the log with their next heartbeat.
func (c *valkeyConn) tell(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case w := <-c.withheld:
			for w.wait > 0 && ctx.Err() == nil {
				select {
				case <-time.After(w.wait):
				case <-ctx.Done():
				}
				w.wait = c.tellNow(ctx, w.tick, false)
			}
		}
	}
}

// tellAll has what waits told before the connection is closed, whether it is due or not: no other process may change
// anything soon, and this one will not. A server that does not answer has a second for it, or the remote timeout.
func (c *valkeyConn) tellAll() {
	// guard: closing-tells-what-waits
	if tick := c.untold.Load(); tick != 0 {
		c.tellNow(context.Background(), invalidation.Tick(tick), true)
	}
}

// tellNow has a change told, if it is due or atOnce. It returns how long it has to wait still.
func (c *valkeyConn) tellNow(ctx context.Context, tick invalidation.Tick, atOnce bool) time.Duration {
	rctx, cancel := context.WithTimeout(ctx, max(c.o.Timeout, time.Second))
	defer cancel()
	b := newBatch()
	b.eval(c.script(scriptTell), c.log)
	b.more(c.channel, tickArg(tick), flag(atOnce))
	wait, err := runOne(rctx, c.plain, b).number()
	if err != nil {
		return 0
	}
	if wait == 0 {
		c.untold.CompareAndSwap(int64(tick), 0)
	}
	return time.Duration(wait) * time.Microsecond
}

// forgetEvery is how many changes are recorded for each time that old ones are
// looked for, which takes some commands more.
const forgetEvery = 15

// maxForgotten is how many scopes leave the log in one step of the server, which
// serves no other client meanwhile: one and a half milliseconds' worth. It is twice as many
// as come in with the same step, if that is more.
const maxForgotten = 1000

// toForget is how many old scopes the log drops, at most, while a change of n is
// recorded: 0 most times, and then more than have come in since, or the log would grow
// beyond its bound while changes come fast. What that leaves behind is left to trimSoon.
func (c *valkeyConn) toForget(n int) int {
	due := c.scopesSince.Add(int64(n))
	if c.changesSince.Add(1)%forgetEvery != 1 && due < maxForgotten/2 {
		return 0
	}
	c.scopesSince.Add(-due)
	return min(128+2*int(due), max(maxForgotten, 2*n))
}

// trimSoon has old scopes taken out of the log until none is left, a piece at a time.
func (c *valkeyConn) trimSoon(retention time.Duration) {
	select {
	case c.trims <- retention:
	default: // it is being done, or will be
	}
}

// trim does what trimSoon asks for, until ctx ends. Between two pieces it leaves the
// server alone for four times as long as one took.
func (c *valkeyConn) trim(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case retention := <-c.trims:
			for more := int64(1); more > 0 && ctx.Err() == nil; {
				begun := time.Now()
				rctx, cancel := context.WithTimeout(ctx, max(c.o.Timeout, time.Second))
				b := newBatch()
				b.eval(scriptTrim, c.log)
				b.more(strconv.Itoa(maxForgotten), strconv.FormatInt(retention.Microseconds(), 10))
				more, _ = runOne(rctx, c.plain, b).number() // after an error the next change that looks asks again
				cancel()
				select {
				case <-time.After(4 * time.Since(begun)):
				case <-ctx.Done():
				}
			}
		}
	}
}

// Renew implements [changelog.Log].
func (c *valkeyConn) Renew(ctx context.Context, lost changelog.Loss) error {
	b := newBatch()
	b.eval(scriptRenew, c.log)
	b.more(changelog.NewIncarnation(), lost.Known.String(), changelog.FormatIncarnation(lost.Forked))
	return logFailure(runOne(ctx, c.plain, b).err)
}

// Delta implements [changelog.Log].
func (c *valkeyConn) Delta(ctx context.Context, q changelog.DeltaQuery) (changelog.Delta, error) {
	_, d, err := c.Get(ctx, nil, &q)
	return d, err
}

// script is the one to use for a script that publishes: in a cluster to the shard
// that has the log, since elsewhere every message would go to every server.
func (c *valkeyConn) script(s publishing) script {
	if c.sharded() {
		return s.sharded
	}
	return s.single
}

// addDelta appends what reads the log: one command, since a heartbeat is nothing else. Only in a
// cluster, whose connections are the client's, the server is asked for changelog.Delta.Connection.
// With counts the server tells how many commands it has counted.
//
// The script has the server track the log's key, so a change of it is told by an invalidation besides
// the message. There is at most one between two reads of the log, however many changes come. To
// have it not tracked would take a command with each read.
func (c *valkeyConn) addDelta(b *batch, q *changelog.DeltaQuery, counts bool) {
	if c.sharded() {
		b.add("CLIENT", "ID")
	}
	c.evalProof(b, scriptDelta, c.log)
	b.more(tickArg(q.Since), changelog.FormatIncarnation(q.Incarnation), strconv.Itoa(q.Limit), flag(counts))
	for _, s := range q.Scopes {
		b.more(string(s))
	}
}

// deltaOf reads the answers to addDelta and returns the others. b is what was asked.
func (c *valkeyConn) deltaOf(results []reply, b *batch) (d changelog.Delta, s origin, rest []reply, err error) {
	// guard: I2-delta-names-connection
	connection := b.connection
	if c.sharded() {
		id, err := results[0].number()
		if err != nil {
			return d, s, nil, logFailure(err)
		}
		connection, results = id+c.dials.Load()<<dialsFrom, results[1:]
	}
	d, s, err = parseDelta(results[0])
	d.Connection, d.Busy = connection, b.busy
	return d, s, results[1:], err
}

// dialsFrom is the bit of a Delta.Connection from which on it counts dials; below, it is
// the server's number for the connection.
const dialsFrom = 40

// parseDelta reads the answer to scriptDelta. A replica answers as
// well, and proves nothing, since it does not hear of changes when they are
// acknowledged. What the log holds is not the server's word, but that of any client that may
// write to it: what of it cannot be read makes the log a damaged one.
func parseDelta(answer reply) (d changelog.Delta, s origin, err error) {
	fields, err := answer.array()
	if err != nil {
		return d, s, logFailure(err)
	}
	if len(fields) != 14 && len(fields) != 7 {
		return d, s, errAnswer
	}
	var p, log parser
	s.history, err = primary(p.text(fields[0]), p.text(fields[1]))
	if err != nil {
		return d, s, err
	}
	d.ServerTime = time.Unix(p.number(p.text(fields[2])), p.number(p.text(fields[3]))*1000)
	s.counters = p.counters(p.text(fields[4]), p.text(fields[5]))
	if len(fields) == 7 {
		return d, s, p.err // no log
	}
	d.Incarnation = p.incarnation(p.text(fields[6]))
	d.Tick, d.Floor = p.tick(p.text(fields[7])), log.tick(p.text(fields[8]))
	over, err := direct(fields[9]).number()
	if err != nil {
		return d, s, err
	}
	d.Overflow = over != 0
	changes, known := p.texts(fields[10]), p.texts(fields[11])
	for i := 0; i+1 < len(changes); i += 2 {
		if changes[i] != floorMember {
			d.Changes = append(d.Changes, changelog.ScopeTick{Scope: invalidation.Scope(changes[i]), Tick: log.tick(changes[i+1])})
		}
	}
	for _, k := range known {
		d.Known = append(d.Known, log.tick(k))
	}
	d.Damaged = log.err != nil
	d.After = asOf(p.text(fields[12]))
	for _, m := range p.texts(fields[13]) {
		if l, ok := changelog.ParseLag(m); ok {
			d.Lags = append(d.Lags, l)
		}
	}
	return d, s, p.err
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
	// guard: I2-replica-proves-nothing
	case role != "master" && role != "primary":
		return "", fmt.Errorf("the server is a %.20q, and only a primary knows what has changed", role)
	}
	return history, nil
}

const floorMember = "f"

var errAnswer = fmt.Errorf("unexpected answer of the server")

func flag(b bool) string {
	if b {
		return "1"
	}
	return "0"
}

func tickArg(t invalidation.Tick) string { return strconv.FormatInt(int64(t), 10) }

// parser keeps the first error of a series of conversions.
type parser struct{ err error }

func (p *parser) fail(err error) {
	if p.err == nil {
		p.err = err
	}
}

func (p *parser) text(r resp.Reply) string {
	s, err := direct(r).text()
	if err != nil {
		p.fail(err)
	}
	return s
}

func (p *parser) texts(r resp.Reply) []string {
	s, err := direct(r).texts()
	if err != nil {
		p.fail(err)
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

// tick accepts what a sorted set makes of a score: a whole number, perhaps in
// exponent notation once it was put there by hand.
func (p *parser) tick(s string) invalidation.Tick {
	f, err := strconv.ParseFloat(s, 64)
	if err != nil || f < -1 || f >= 1<<53 || f != math.Trunc(f) {
		p.fail(fmt.Errorf("bad tick %.30q in the change log", s))
		return 0
	}
	return invalidation.Tick(f)
}

func (p *parser) incarnation(s string) uint64 {
	inc, err := changelog.ParseIncarnation(s)
	if err != nil {
		p.fail(err)
	}
	return inc
}
