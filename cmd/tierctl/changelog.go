package main

import (
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/valkey-io/valkey-go"
)

// quiet is for stores whose errors are returned by their calls.
var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

// changeLog is what the log says of itself: docs/format.md, "Change log".
type changeLog struct {
	Incarnation uint64 // 0: there is no log
	Tick, Floor int64
	Scopes      int64 // that it holds
	Newest      int   // format of anything in it
	Least       int   // format that a reader must know
	Modes       []storeMode
	Histories   int
	Declared    []string // namespaces that are set or deleted by key
	DeclaredAll bool
	Foreign     []string // members that no store writes
	Now         time.Time
}

// storeMode is that of stores which were open until a time.
type storeMode struct {
	untracked bool
	life      time.Duration
	until     time.Time
}

// readersFormat is the format of the log that this program reads.
const readersFormat = 1

// readLog reads what the log says of itself. Without a log the Incarnation is 0.
func (s *server) readLog(ctx context.Context) (*changeLog, error) {
	ctx, cancel := s.ask(ctx)
	defer cancel()
	k := s.logKey()
	answers := s.DoMulti(ctx,
		s.B().Zrangebyscore().Key(k).Min("-1").Max("-1").Build(),
		s.B().Zrange().Key(k).Min("0").Max("0").Rev().Withscores().Build(),
		s.B().Zscore().Key(k).Member("f").Build(),
		s.B().Zcount().Key(k).Min("0").Max("+inf").Build(),
		s.B().Eval().Script("return redis.call('TIME')").Numkeys(1).Key(k).Build())
	for _, a := range answers {
		if err := a.Error(); err != nil && !valkey.IsValkeyNil(err) {
			return nil, fmt.Errorf("reading the change log: %w", err)
		}
	}
	log := &changeLog{Newest: 1, Least: 1}
	members, err := answers[0].AsStrSlice()
	if err != nil {
		return nil, err
	}
	latest, err := answers[1].AsZScores()
	if err != nil {
		return nil, err
	}
	if len(latest) > 0 {
		log.Tick = tickOf(latest[0].Score)
	}
	if floor, err := answers[2].AsFloat64(); err == nil {
		log.Floor = tickOf(floor)
	}
	log.Scopes, _ = answers[3].AsInt64()
	if t, err := answers[4].AsIntSlice(); err == nil && len(t) == 2 {
		log.Now = time.Unix(t[0], t[1]*1000)
	}
	for _, m := range members {
		log.member(m)
	}
	slices.SortFunc(log.Modes, func(a, b storeMode) int { return a.until.Compare(b.until) })
	return log, nil
}

func tickOf(score float64) int64 {
	if math.IsNaN(score) || score < 0 || score >= 1<<53 {
		return 0
	}
	return int64(score)
}

// member reads one that is about the log itself.
func (l *changeLog) member(m string) {
	if m == "" {
		l.Foreign = append(l.Foreign, m)
		return
	}
	rest := m[1:]
	switch m[0] {
	case 'i':
		if inc, err := strconv.ParseUint(rest, 16, 64); err == nil && len(rest) == 16 {
			l.Incarnation = inc
			return
		}
	case 'k', 'r':
		if m[0] == 'r' {
			l.Histories++
		}
		return
	case 'm': // m<tick>:<time>: the pace of messages
		tick, until, ok := strings.Cut(rest, ":")
		_, err1 := strconv.ParseUint(tick, 10, 64)
		_, err2 := strconv.ParseUint(until, 10, 64)
		if ok && err1 == nil && err2 == nil {
			return
		}
	case 'z': // z<lag>, z<lag>@<tick>: there are changes that settle
		lag, tick, _ := strings.Cut(rest, "@")
		_, err1 := strconv.ParseUint(lag, 36, 64)
		_, err2 := strconv.ParseUint(cmp.Or(tick, "0"), 10, 64)
		if err1 == nil && err2 == nil {
			return
		}
	case 'l':
		newest, least, ok := strings.Cut(rest, ":")
		a, err1 := strconv.Atoi(newest)
		b, err2 := strconv.Atoi(least)
		if ok && err1 == nil && err2 == nil {
			l.Newest, l.Least = max(l.Newest, a), max(l.Least, b)
			return
		}
	case 'o':
		if mode, ok := parseMode(rest); ok {
			l.Modes = append(l.Modes, mode)
			return
		}
	case 'v':
		if rest == "*" {
			l.DeclaredAll = true
		} else {
			l.Declared = append(l.Declared, strings.TrimPrefix(rest, ":"))
		}
		return
	case '~', '|':
		return // of a later format
	}
	l.Foreign = append(l.Foreign, m)
}

// mostTime is longer than anything that a store lets live.
const mostTime = 100 * 365 * 24 * time.Hour

// parseMode reads "t:<ms>@<µs>" or "u:…".
func parseMode(s string) (storeMode, bool) {
	kind, rest, _ := strings.Cut(s, ":")
	life, until, ok := strings.Cut(rest, "@")
	ms, err1 := strconv.ParseInt(life, 10, 64)
	us, err2 := strconv.ParseInt(until, 10, 64)
	if !ok || err1 != nil || err2 != nil || kind != "t" && kind != "u" || ms < 0 || ms > mostTime.Milliseconds() {
		return storeMode{}, false
	}
	return storeMode{untracked: kind == "u", life: time.Duration(ms) * time.Millisecond, until: time.UnixMicro(us)}, true
}

// latestMode is the mode of the stores that were open last, and the longest life that is known.
func (l *changeLog) latestMode() (m storeMode) {
	for _, o := range l.Modes {
		m.untracked, m.until, m.life = o.untracked, o.until, max(m.life, o.life)
	}
	return m
}

// open returns the modes of stores that are open now, or were less than 75 s ago.
func (l *changeLog) open() []storeMode {
	return slices.DeleteFunc(slices.Clone(l.Modes), func(m storeMode) bool { return !m.until.After(l.Now) })
}

// above returns a namespace and those that it is in, topmost first.
func above(path string) (all []string) {
	for i := range len(path) {
		if path[i] == ':' {
			all = append(all, path[:i])
		}
	}
	return append(all, path)
}

// since reads the changes after a tick, oldest first, at most so many of the latest. cut tells that there were more.
func (s *server) since(ctx context.Context, tick int64, most int64) (changes []change, cut bool, err error) {
	ctx, cancel := s.ask(ctx)
	defer cancel()
	scores, err := s.Do(ctx, s.B().Zrange().Key(s.logKey()).Min("+inf").Max("("+strconv.FormatInt(int64(tick), 10)).
		Byscore().Rev().Limit(0, most+1).Withscores().Build()).AsZScores()
	if err != nil {
		return nil, false, fmt.Errorf("reading the change log: %w", err)
	}
	if cut = int64(len(scores)) > most; cut {
		scores = scores[:most]
	}
	slices.Reverse(scores)
	for _, z := range scores {
		if z.Score >= 0 {
			changes = append(changes, changeOf(z.Member, tickOf(z.Score)))
		}
	}
	return changes, cut, nil
}

// change is one scope's.
type change struct {
	Time time.Time `json:"time"` // of the tick, which is the server's clock as a rule
	Tick int64     `json:"tick"`
	Kind string    `json:"kind"` // source, namespace, key, everything, declared, rollback or later
	Name string    `json:"name,omitempty"`
	// Hashed: the name was longer than 64 bytes, and Name is its hash.
	Hashed bool `json:"hashed,omitempty"`
}

var kinds = map[byte]string{'s': "source", 'n': "namespace", 'k': "key", 'w': "declared", 'b': "rollback", 'z': "settling", '~': "later", '|': "later"}

// wholes are the members without a name.
var wholes = map[string]string{"f": "everything", "~2:bypass": "bypass"}

// kindNames are what --kind takes.
var kindNames = []string{"source", "namespace", "key", "everything", "declared", "rollback", "settling", "bypass", "later", "lost"}

func changeOf(member string, tick int64) change {
	c := change{Time: timeOf(tick), Tick: tick, Kind: "unknown", Name: member}
	if kind := wholes[member]; kind != "" {
		c.Kind, c.Name = kind, ""
		return c
	}
	if member == "" || kinds[member[0]] == "" {
		return c
	}
	c.Kind = kinds[member[0]]
	if at := strings.IndexAny(member, ":#"); at > 0 {
		c.Name, c.Hashed = member[at+1:], member[at] == '#'
	}
	return c
}

// timeOf is when a tick was given, by the clock of the server that gave it.
func timeOf(t int64) time.Time { return time.UnixMicro(int64(t)).UTC() }

// message is one on the stores' channel: docs/format.md, "Messages".
type message struct {
	incarnation uint64
	prev, tick  int64
	changes     []change
	// whole: the message says all of it. If not, the log is to be read.
	whole bool
}

// parseMessage reads a message. ok is false if it says nothing.
func parseMessage(raw string) (m message, ok bool) {
	head := strings.SplitN(raw, " ", 4)
	if len(head) != 4 || head[3] == "" {
		return m, false
	}
	inc, err1 := strconv.ParseUint(head[0], 16, 64)
	prev, err2 := strconv.ParseInt(head[1], 10, 64)
	tick, err3 := strconv.ParseInt(head[2], 10, 64)
	if err1 != nil || err2 != nil || err3 != nil || tick <= prev || prev < 0 || tick >= 1<<53 {
		return m, false
	}
	m = message{incarnation: inc, prev: int64(prev), tick: int64(tick)}
	flags, body := head[3][0], head[3][1:]
	m.whole = flags&^1 == 0
	if flags&1 != 0 {
		m.changes = append(m.changes, changeOf("f", m.tick))
	}
	for body != "" && body[0] != 0 {
		n, w := binary.Uvarint([]byte(body[:min(len(body), binary.MaxVarintLen64)]))
		if w <= 0 || n > uint64(len(body)-w) {
			return m, false
		}
		m.changes = append(m.changes, changeOf(body[w:w+int(n)], m.tick))
		body = body[w+int(n):]
	}
	if body != "" { // parts of a later format
		m.whole = false
	}
	return m, true
}
