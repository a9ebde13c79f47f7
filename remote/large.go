package remote

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/valkey-io/valkey-go"

	"github.com/tiercache/tiercache/internal/backend"
	"github.com/tiercache/tiercache/internal/bound"
	"github.com/tiercache/tiercache/internal/remoteerr"
)

// A connection answers in order, so a large value on the connection that tracks would hold up small ones, and heartbeats.
// Of each entry only the beginning is read there, which is all there is of most. The rest comes over another connection, in
// ranges, and so does what is to be stored. That connection proves nothing, and needs no order: all that it carries is checked
// against what the connection that tracks has said, or is put in its place by that.
//
// # Reading
//
// The beginning that was read on the connection that tracks decides which version is returned: its head has a number that no
// other write of any process has. Each range is read in one step with the head, and is used only if that is the same:
//
//	A: reads the beginning of k, of version 1; the server tracks k from here on
//	A: reads bytes 65,536 to 327,679 beside it: of version 1, says the head
//	B: stores version 2
//	A: reads the next bytes: of version 2, and so the server returns none
//	A: begins anew, and has what it read of version 1 forgotten
//
// So what is put together is version 1, and it was the present one when the beginning was read, whatever has become of it
// since: as if all of it had been read then. Nor does it matter which server has answered: version 1 is the same on each.
// That B came in between is told on the connection that tracks, as of any other read.
//
// # Writing
//
// What is large is sent ahead, to a key of its own that no other process knows. Then a small command, on the connection that
// tracks and within its window, puts that in its place if the lease is still held: see scriptPlace. Until then nothing has
// changed for anyone, however long it takes:
//
//	A: sends version 1 of k ahead; it has no window yet
//	B: Set(k, 2) is acknowledged
//	A: has sent all; its window begins now, and its Set comes after B's
//
// What was sent ahead, and could not be put in place, ends by itself after aheadLives.
const (
	// firstRead is how much of one entry is read at once on the connection that tracks; and the longest that is stored there.
	firstRead = 64 << 10
	// batchRead is how much of several is read there together, and leastRead of each of them in any case.
	batchRead, leastRead = 128 << 10, 512
	// rangeRead is how much of an entry comes in one range, and together how much is asked for at once.
	rangeRead, together = 256 << 10, 512 << 10
	// attempts bounds how often an entry is read that changes meanwhile.
	attempts = 4
	// aheadLives is how long what was sent ahead lasts, if it is not put in place; each piece renews it.
	aheadLives = 20 * time.Second
	// beyondValue bounds what an entry has besides its value: 10,000 sources, for the most part.
	beyondValue = 8 << 20
	// defaultMaxValue is [backend.Options.MaxValue] where that is 0.
	defaultMaxValue = 64 << 20
)

// lastOfFirstRead is the last byte of a first read.
var lastOfFirstRead = strconv.Itoa(firstRead - 1)

// shareOf is how much of each of several entries is read at once on the connection that tracks.
func shareOf(keys int) int { return min(firstRead, max(leastRead, batchRead/max(keys, 1))) }

// addRead reads the beginning of an entry, untracked or not.
func (c *valkeyConn) addRead(b *batch, key string, most int) {
	b.add("GETRANGE", key, "0", strconv.Itoa(most-1))
}

// errChanges is the error of a read of an entry that is replaced all the time. The server has answered.
const errChanges = remoteerr.Refusal("the entry was replaced each time that it was read")

// partial is an entry of which the beginning was read.
type partial struct {
	key     string
	item    *backend.Item // with what there is; at last, with all
	whole   strings.Builder
	size    int
	asked   int  // bytes
	changed bool // the entry is another by now
}

// head is what tells versions apart.
func (p *partial) head() string { return p.item.Seen() }

// complete reads the rest of those items whose beginning is of most bytes. An entry that is another by now it reads again, with
// begin, which returns beginnings. What cannot be completed has an Err.
func (c *valkeyConn) complete(ctx context.Context, keys []string, items []backend.Item, most int, begin func(keys []string) ([]backend.Item, error)) {
	var parts []*partial
	for i := range items {
		if it := &items[i]; len(it.Raw) == most && it.Err == nil {
			parts = append(parts, &partial{key: keys[i], item: it})
		}
	}
	for range attempts {
		if len(parts) == 0 {
			return
		}
		c.readRest(ctx, parts)
		var again []*partial
		var names []string
		for _, p := range parts {
			if p.changed {
				again, names = append(again, p), append(names, p.key)
			}
		}
		if parts = again[:0]; len(again) == 0 {
			return
		}
		fresh, err := begin(names)
		for i, p := range again {
			if err != nil {
				*p.item = backend.Item{Err: err}
				continue
			}
			if *p.item = fresh[i]; len(p.item.Raw) == most && p.item.Err == nil {
				parts = append(parts, &partial{key: p.key, item: p.item})
			}
		}
	}
	for _, p := range parts {
		*p.item = backend.Item{Err: errChanges}
	}
}

// completeOne is complete for one entry, and returns it.
func (c *valkeyConn) completeOne(ctx context.Context, key string, it backend.Item, begin func(keys []string) ([]backend.Item, error)) (backend.Item, error) {
	if len(it.Raw) < firstRead {
		return it, nil
	}
	items := []backend.Item{it}
	c.complete(ctx, []string{key}, items, firstRead, begin)
	return items[0], items[0].Err
}

// readRest reads the rest of entries, a bounded number of bytes at once.
func (c *valkeyConn) readRest(ctx context.Context, parts []*partial) {
	defer func() {
		for _, p := range parts {
			if p.size > 0 && p.item.Err == nil && !p.changed && p.whole.Len() == p.size {
				p.item.Raw = p.whole.String()
			}
		}
	}()
	beside, err := c.beside()
	if err != nil {
		for _, p := range parts {
			p.item.Err = err
		}
		return
	}
	b := newBatch()
	for _, p := range parts {
		b.evalReadOnly(scriptSize, p.key)
		b.more(p.head())
	}
	if len(parts) == 1 { // most are not much longer than what was read
		parts[0].size = len(parts[0].item.Raw) + together
		parts[0].addRanges(b, together)
	}
	replies := run(ctx, beside, b)
	for i, p := range parts {
		p.begin(replies[i], c.maxEntry())
	}
	if len(parts) == 1 {
		parts[0].take(replies[1:])
	}
	for {
		b, asked := newBatch(), parts[:0:0]
		counts := make([]int, 0, 4)
		for _, p := range parts {
			room := together
			for _, a := range asked {
				room -= a.asked - a.whole.Len()
			}
			if p.done() || room <= 0 {
				continue
			}
			from := len(b.cmds)
			p.addRanges(b, room)
			asked, counts = append(asked, p), append(counts, len(b.cmds)-from)
		}
		if len(asked) == 0 {
			return
		}
		replies := run(ctx, beside, b)
		for i, p := range asked {
			p.take(replies[:counts[i]])
			replies = replies[counts[i]:]
		}
	}
}

// done reports whether there is nothing more to be read.
func (p *partial) done() bool {
	return p.changed || p.item.Err != nil || p.whole.Len() >= p.size
}

// addRanges asks for at most room bytes more.
func (p *partial) addRanges(b *batch, room int) {
	if p.asked == 0 {
		p.asked = len(p.item.Raw)
	}
	for room > 0 && p.asked < p.size {
		n := min(rangeRead, room, p.size-p.asked)
		b.evalReadOnly(scriptRange, p.key)
		b.more(p.head(), strconv.Itoa(p.asked), strconv.Itoa(p.asked+n-1))
		p.asked += n
		room -= n
	}
}

// begin reads how long the entry is.
func (p *partial) begin(r reply, most int64) {
	size, err := r.number()
	switch {
	case err == errNull:
		p.changed = true
	case err != nil:
		p.item.Err = failure(err)
	case size > most:
		// It cannot be decoded, and so is one that cannot be used: what was read of it says which version that was.
		p.size = 0
	default:
		p.size, p.asked = int(size), max(min(p.asked, int(size)), len(p.item.Raw))
		p.whole.Grow(p.size)
		p.whole.WriteString(p.item.Raw)
	}
}

// take puts the answers to addRanges behind what there is.
func (p *partial) take(replies []reply) {
	for _, r := range replies {
		if p.done() {
			return // it is shorter than was thought
		}
		text, err := r.text()
		switch {
		// guard: range-of-same-version
		case err == errNull:
			p.changed = true
		case err != nil:
			p.item.Err = failure(err)
		case len(text) == 0 || p.whole.Len()+len(text) > p.size:
			p.item.Err = errAnswer // the head is the same, and the length is not
		default:
			p.whole.WriteString(text)
		}
	}
	p.asked = p.whole.Len()
}

// maxEntry bounds the entries that are read.
func (c *valkeyConn) maxEntry() int64 {
	return cmp.Or(c.o.MaxValue, defaultMaxValue) + beyondValue
}

var (
	// scriptSize: KEYS data; ARGV head. It returns the length of an entry, if that is the version with the head.
	scriptSize = newScript(`
if redis.call('GETRANGE', KEYS[1], 0, #ARGV[1] - 1) ~= ARGV[1] then return false end
return redis.call('STRLEN', KEYS[1])
`)

	// scriptRange: KEYS data; ARGV head, first byte, last byte. It returns these bytes of an entry, if that is the version with
	// the head.
	scriptRange = newScript(`
-- guard: range-with-head
if redis.call('GETRANGE', KEYS[1], 0, #ARGV[1] - 1) ~= ARGV[1] then return false end
return redis.call('GETRANGE', KEYS[1], ARGV[2], ARGV[3])
`)

	// scriptPlace is scriptWrite of what was sent ahead: KEYS data, lease, what was sent ahead; ARGV as of scriptWrite, without
	// a value; then its length. APPEND tells the length, and unlike a command that reads does not track the key. What has been
	// evicted meanwhile is too short then.
	//
	// RENAME causes the one invalidation of the write; that the expiry is set after it causes none, since nobody has read the
	// key in between.
	scriptPlace = newScript(strings.Replace(scriptWriteText, writeCommand, `
-- guard: sent-ahead-is-whole
if redis.call('APPEND', KEYS[3], '') ~= tonumber(ARGV[8]) then
  redis.call('DEL', KEYS[3])
  return redis.error_reply('ERR `+lostAhead+`')
end
redis.call('RENAME', KEYS[3], KEYS[1])
redis.call('PEXPIREAT', KEYS[1], ARGV[3])`, 1))
)

const lostAhead = "the value that was sent ahead is not there any more"

// largeConn is the connection for what is large, which is made when it is needed first.
type largeConn struct {
	mu     sync.Mutex // guards what follows
	conn   *serverConn
	closed bool
}

// beside returns what to ask over the connection for what is large.
func (c *valkeyConn) beside() (asker, error) {
	if c.sharded() {
		// Of the client's connections it is not known whether anything moves.
		return slowly{c.plain, c.o.Timeout}, nil
	}
	l := &c.large
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, backend.ErrClosed
	}
	if l.conn == nil {
		o := c.tracked.(*serverConn).option
		l.conn = newServerConn(c, o)
		l.conn.untracked = true
		l.conn.spawn(l.conn.run)
	}
	return l.conn, nil
}

// close ends the connection for what is large, and waits for what it owns. None is made after it.
func (l *largeConn) close() {
	l.mu.Lock()
	l.closed = true
	h := l.conn
	l.mu.Unlock()
	if h != nil {
		h.Close()
	}
}

// Stage implements [backend.Writer].
func (c *valkeyConn) Stage(ctx context.Context, w *backend.Write) error {
	if len(w.Envelope) <= firstRead || w.Staged != "" {
		return nil
	}
	beside, err := c.beside()
	if err != nil {
		return err
	}
	return c.stage(ctx, beside, w)
}

// stageSlowly is Stage for what no caller waits for.
func (c *valkeyConn) stageSlowly(w *backend.Write) error {
	if len(w.Envelope) <= firstRead || w.Staged != "" {
		return nil
	}
	beside, err := c.beside()
	if err != nil {
		return err
	}
	return c.stage(context.Background(), slowly{beside, c.o.Timeout}, w)
}

func (c *valkeyConn) stage(ctx context.Context, beside asker, w *backend.Write) error {
	name := w.Key + aheadSuffix + rand.Text()
	if err := c.sendAhead(ctx, beside, name, w); err != nil {
		c.dropAhead(name)
		return fmt.Errorf("sending %d bytes ahead: %w", len(w.Envelope), err)
	}
	w.Staged = name
	return nil
}

// slowly asks with a second for each request.
type slowly struct {
	asker
	least time.Duration
}

func (s slowly) ask(ctx context.Context, b *batch) []reply {
	_, caller := bound.Silence(ctx)
	ctx, cancel := context.WithTimeout(caller, max(time.Second, s.least))
	defer cancel()
	return s.asker.ask(ctx, b)
}

// aheadSuffix is between the key of an entry and a random number, in the name of what is sent ahead.
const aheadSuffix = "+"

// sendAhead sends an envelope. One part follows another, and the length tells whether all are there: what has been evicted
// meanwhile is begun anew by the next part. (To have the server take the memory for all of it at once would keep it from
// others for long.)
//
// What is on its way is answered when all of it has arrived, so there is less of it where that takes long. For what no caller
// waits for, there is a second for each part.
func (c *valkeyConn) sendAhead(ctx context.Context, beside asker, name string, w *backend.Write) error {
	piece, renewed := firstRead, time.Now()
	for at := 0; at < len(w.Envelope); {
		to := min(at+piece, len(w.Envelope))
		b := newBatch()
		b.add("APPEND", name, valkey.BinaryString(w.Envelope[at:to]))
		b.add("PEXPIRE", name, millis(aheadLives))
		// guard: lease-lasts-while-sent-ahead
		if ttl := cmp.Or(max(w.LeaseTTL, 0), defaultLeaseTTL); w.Token != "" && time.Since(renewed) > ttl/3 {
			renewed = time.Now()
			b.eval(scriptExtend, w.Key+backend.LeaseSuffix)
			b.more(w.Token, millis(ttl))
		}
		begun := time.Now()
		for _, r := range run(ctx, beside, b) {
			if r.err != nil {
				return failure(r.err)
			}
		}
		at = to
		if took := time.Since(begun); took < 10*time.Millisecond {
			piece = min(2*piece, together)
		} else if took > 30*time.Millisecond {
			piece = max(piece/2, firstRead/4)
		}
	}
	return nil
}

// dropAhead removes what was sent ahead and is not in its place: at once, since it is large. It cannot be put there any more.
func (c *valkeyConn) dropAhead(names ...string) {
	beside, err := c.beside()
	if err != nil {
		return
	}
	c.tracked.spawn(func() {
		ctx, cancel := context.WithTimeout(context.Background(), max(time.Second, c.o.Timeout))
		defer cancel()
		b := newBatch()
		for _, name := range names {
			b.add("UNLINK", name)
		}
		beside.ask(ctx, b) // else it ends by itself
	})
}

// stageAll sends ahead what is large of writes, and returns an error for each.
func (c *valkeyConn) stageAll(ctx context.Context, writes []backend.Write) []error {
	if !needsStage(writes) {
		return nil
	}
	errs := make([]error, len(writes))
	for i := range writes {
		errs[i] = c.Stage(ctx, &writes[i])
	}
	return errs
}

// needsStage reports whether anything of writes is to be sent ahead.
func needsStage(writes []backend.Write) bool {
	for i := range writes {
		if len(writes[i].Envelope) > firstRead && writes[i].Staged == "" {
			return true
		}
	}
	return false
}
