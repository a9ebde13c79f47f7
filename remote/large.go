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
	"github.com/tiercache/tiercache/internal/resp"
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
	firstRead = backend.LargeLen
	// batchRead is how much of several is read there together, and leastRead of each of them in any case.
	batchRead, leastRead = 32 << 10, 256
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

// partial is an entry of which the beginning was read.
type partial struct {
	key     string
	item    *backend.Item // with what there is; at last, with all
	size    int           // 0: not known yet
	whole   strings.Builder
	changed bool // the entry is another by now
}

// head is what tells versions apart.
func (p *partial) head() string { return p.item.Seen() }

// left is how many bytes are still to be read, of an entry whose size is known.
func (p *partial) left() int { return p.size - max(p.whole.Len(), len(p.item.Raw)) }

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
		for _, p := range parts {
			if err := p.item.Err; err != nil {
				p.item.Err = remoteerr.OfRest{Err: err}
			}
		}
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
		*p.item = backend.Item{Err: remoteerr.ErrReplaced}
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

// readRest reads the rest of entries, a bounded number of bytes at once: together those that are small enough for it, whose
// sizes come with what fits, and by themselves, in ranges, those that are not.
func (c *valkeyConn) readRest(ctx context.Context, parts []*partial) {
	beside, err := c.beside()
	if err != nil {
		for _, p := range parts {
			p.item.Err = err
		}
		return
	}
	c.askRest(ctx, beside, parts, together)
	for len(parts) > 0 {
		pack, room := []*partial(nil), together
		for len(parts) > 0 && len(pack) < batchRead/leastRead {
			p := parts[0]
			if p.size > 0 && p.left() > room {
				break
			}
			if parts = parts[1:]; p.size > 0 {
				pack, room = append(pack, p), room-p.left()
			}
		}
		switch {
		case len(pack) > 0:
			c.askRest(ctx, beside, pack, together)
		case len(parts) > 0:
			c.readRanges(ctx, beside, parts[0])
			parts = parts[1:]
		}
	}
}

// askRest asks for the rest of entries, of at most room bytes together, and for the sizes of those that are too long for that.
// In a cluster each is asked for by itself, and at first for its size alone.
func (c *valkeyConn) askRest(ctx context.Context, beside asker, parts []*partial, room int) {
	b := newBatch()
	if c.sharded() {
		for _, p := range parts {
			c.evalReadOnly(b, scriptRest, p.key)
			b.more(strconv.Itoa(max(p.left(), 0)), p.head(), strconv.Itoa(len(p.item.Raw)))
		}
	} else {
		names := make([]string, len(parts))
		for i, p := range parts {
			names[i] = p.key
		}
		c.evalReadOnly(b, scriptRest, names...)
		b.more(strconv.Itoa(room))
		for _, p := range parts {
			b.more(p.head(), strconv.Itoa(len(p.item.Raw)))
		}
	}
	var rests []resp.Reply
	for _, r := range run(ctx, beside, b) {
		of, err := r.array()
		if err == nil && len(of) != len(parts)/len(b.cmds) {
			err = errAnswer
		}
		if err != nil {
			for _, p := range parts {
				p.item.Err = failure(err)
			}
			return
		}
		rests = append(rests, of...)
	}
	for i, p := range parts {
		p.takeRest(direct(rests[i]), c.maxEntry())
	}
}

// takeRest reads one answer to askRest: the rest, or the size, or that the entry is another by now.
func (p *partial) takeRest(r reply, most int64) {
	size := p.size
	p.size = 0 // it needs no more, unless it is too long
	switch {
	// guard: rest-of-same-version
	case r.err == errNull:
		p.changed = true
	case r.err != nil:
		p.item.Err = failure(r.err)
	case r.Kind == resp.Text:
		p.item.Raw += r.Text
	case r.Kind == resp.Int && r.Int > most:
		// It cannot be decoded, and so is one that cannot be used: what was read of it says which version that was.
	case r.Kind == resp.Int && r.Int > int64(len(p.item.Raw)) && (size == 0 || int64(size) == r.Int):
		p.size = int(r.Int)
	default:
		p.item.Err = errAnswer
	}
}

// readRanges reads the rest of an entry whose size is known, a part at a time.
func (c *valkeyConn) readRanges(ctx context.Context, beside asker, p *partial) {
	p.whole.Grow(p.size)
	p.whole.WriteString(p.item.Raw)
	for p.left() > 0 {
		b := newBatch()
		for at, most := p.whole.Len(), min(p.size, p.whole.Len()+together); at < most; {
			to := min(at+rangeRead, most)
			c.evalReadOnly(b, scriptRange, p.key)
			b.more(p.head(), strconv.Itoa(at), strconv.Itoa(to-1))
			at = to
		}
		for _, r := range run(ctx, beside, b) {
			text, err := r.text()
			switch {
			// guard: range-of-same-version
			case err == errNull:
				p.changed = true
				return
			case err == nil && (text == "" || len(text) > p.left()):
				err = errAnswer // the head is the same, and the length is not
			}
			if err != nil {
				p.item.Err = failure(err)
				return
			}
			p.whole.WriteString(text)
		}
	}
	p.item.Raw = p.whole.String()
}

// maxEntry bounds the entries that are read.
func (c *valkeyConn) maxEntry() int64 {
	return cmp.Or(c.o.MaxValue, defaultMaxValue) + beyondValue
}

var (
	// scriptBegin: KEYS data...; ARGV last byte. It returns the beginnings of entries, in one answer: what has them read
	// untracked is about one command.
	scriptBegin = newScript(`
local out = {}
for i, key in ipairs(KEYS) do
  local it = redis.pcall('GETRANGE', key, 0, ARGV[1])
  if type(it) == 'table' then
    if string.sub(it.err, 1, 9) ~= 'WRONGTYPE' then return it end
    it = ''
  end
  out[i] = it
end
return out
`)

	// scriptRest: KEYS data...; ARGV most bytes, then for each the head and from which byte on. It returns for each what is
	// left of the version with that head; its length, if more would be returned than there is room for; or nothing, if it is
	// another version.
	scriptRest = newScript(`
local room, out = tonumber(ARGV[1]), {}
for i, key in ipairs(KEYS) do
  local head, from = ARGV[2 * i], tonumber(ARGV[2 * i + 1])
  out[i] = false
  local there = redis.pcall('GETRANGE', key, 0, #head - 1)
  if type(there) == 'table' and string.sub(there.err, 1, 9) ~= 'WRONGTYPE' then return there end
  -- guard: rest-with-head
  if there == head then
    local n = redis.call('STRLEN', key)
    if n - from <= room then
      out[i] = redis.call('GETRANGE', key, from, -1)
      room = room - n + from
    else
      out[i] = n
    end
  end
end
return out
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
	// RENAME causes the one invalidation of the write; that the expiry is set after it causes none, since no process has read the
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
		l.conn.untracked, l.conn.resp2 = true, c.lacks.resp2
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

// sentAhead reports whether w is to be sent ahead, and was not.
func (c *valkeyConn) sentAhead(w *backend.Write) bool {
	return len(w.Envelope) > firstRead && w.Staged == "" && !c.lacks.ahead
}

// Stage implements [backend.Writer].
func (c *valkeyConn) Stage(ctx context.Context, w *backend.Write) error {
	if !c.sentAhead(w) {
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
	if !c.sentAhead(w) {
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
	if !c.needsStage(writes) {
		return nil
	}
	errs := make([]error, len(writes))
	for i := range writes {
		errs[i] = c.Stage(ctx, &writes[i])
	}
	return errs
}

// needsStage reports whether anything of writes is to be sent ahead.
func (c *valkeyConn) needsStage(writes []backend.Write) bool {
	for i := range writes {
		if c.sentAhead(&writes[i]) {
			return true
		}
	}
	return false
}
