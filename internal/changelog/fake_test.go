package changelog_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/internal/changelog"
	"github.com/tiercache/tiercache/invalidation"
)

type (
	Scope = invalidation.Scope
	Tick  = invalidation.Tick
	AsOf  = invalidation.AsOf
	Loss  = changelog.Loss
)

// script is a log that does what the test tells it to. It is also the naive
// model: all changes, in order, and nothing clever.
type script struct {
	mu          sync.Mutex
	incarnation uint64 // 0: there is no log
	tick, floor Tick
	skip        Tick // how many ticks pass without a change before the next one
	before      AsOf // see Delta.After
	changes     []change
	connection  int64
	histories   int64
	messages    []string
	trimmed     map[time.Duration]Tick // see changelog.Lag

	deltaErr, appendErr, renewErr error
	deltas, appends, renews       int
	tells                         bool   // an append is answered with what its caller has missed
	answered                      func() // called before an append is answered
	asked                         func() // called before a delta is answered
}

type change struct {
	tick   Tick
	scopes []Scope
	all    bool
}

var errDown = errors.New("down")

func newScript() *script { return &script{incarnation: 1, tick: 100, floor: 100, connection: 1} }

func (s *script) Append(_ context.Context, c changelog.Change) (changelog.Appended, error) {
	s.mu.Lock()
	s.appends++
	err := s.appendErr
	var a changelog.Appended
	if err == nil {
		if s.incarnation == 0 || s.tick < c.Known.Tick {
			s.renewLocked(c.Known)
		}
		a = s.changeLocked(c.All, c.Scopes...)
		if s.tells && c.Known.Incarnation == a.Incarnation && c.Known.Tick < a.Prev {
			a.Missed = s.severalLocked(c.Known.Tick)
		}
	}
	answered := s.answered
	s.mu.Unlock()
	if answered != nil {
		answered()
	}
	return a, err
}

// change is one by another process.
func (s *script) change(scopes ...Scope) changelog.Appended {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.changeLocked(false, scopes...)
}

func (s *script) changeLocked(all bool, scopes ...Scope) changelog.Appended {
	a := changelog.Appended{Incarnation: s.incarnation, Prev: s.tick, Tick: s.tick + 1 + s.skip}
	s.skip = 0
	s.tick = a.Tick
	s.changes = append(s.changes, change{a.Tick, scopes, all})
	if all {
		s.floor = a.Tick
	}
	s.messages = append(s.messages, fmt.Sprintf("%016x %d %d %s", a.Incarnation, a.Prev, a.Tick, changelog.Body(scopes, all)))
	return a
}

func (s *script) Renew(_ context.Context, lost Loss) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.renews++
	if s.renewErr != nil {
		return s.renewErr
	}
	if s.incarnation == 0 || s.tick < lost.Known.Tick || s.incarnation == lost.Forked {
		s.renewLocked(lost.Known)
	}
	return nil
}

func (s *script) renewLocked(after AsOf) {
	s.incarnation += 1000
	s.tick = max(after.Tick, s.tick) + 10
	s.before = after
	s.floor, s.changes = s.tick, nil
}

// lose has the server forget what came after tick, as a replica does that is
// promoted too early; below 0 it forgets the log.
func (s *script) lose(tick Tick) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if tick < 0 {
		s.incarnation, s.tick, s.floor, s.changes = 0, 0, 0, nil
		return
	}
	s.tick = tick
	for len(s.changes) > 0 && s.changes[len(s.changes)-1].tick > tick {
		s.changes = s.changes[:len(s.changes)-1]
	}
}

func (s *script) Delta(_ context.Context, q changelog.DeltaQuery) (changelog.Delta, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.asked != nil {
		s.asked()
	}
	s.deltas++
	if s.deltaErr != nil {
		return changelog.Delta{}, s.deltaErr
	}
	d := changelog.Delta{Connection: s.connection, ServerTime: time.Now()}
	if s.incarnation == 0 {
		return d, nil
	}
	d.Incarnation, d.Tick, d.Floor, d.Histories = s.incarnation, s.tick, s.floor, s.histories
	if q.Incarnation != s.incarnation {
		d.After = s.before
	}
	latest := make(map[Scope]Tick)
	for _, c := range s.changes {
		for _, scope := range c.scopes {
			latest[scope] = c.tick
		}
	}
	for _, c := range s.changes {
		for _, scope := range c.scopes {
			if c.tick > q.Since && latest[scope] == c.tick {
				d.Changes = append(d.Changes, changelog.ScopeTick{Scope: scope, Tick: c.tick})
			}
		}
	}
	if len(d.Changes) > q.Limit {
		d.Changes, d.Overflow = nil, true
	}
	settles := d.Overflow || q.Incarnation != s.incarnation
	for _, scope := range q.Scopes {
		d.Known = append(d.Known, latest[scope])
		settles = settles || scope[0] == 'z'
	}
	if settles {
		lags := maps.Clone(s.trimmed)
		for scope := range latest {
			if lag, ok := changelog.LagOf(scope); ok && lags[lag] == 0 {
				if lags == nil {
					lags = make(map[time.Duration]Tick)
				}
				lags[lag] = 0
			}
		}
		for lag, tick := range lags {
			d.Lags = append(d.Lags, changelog.Lag{Lag: lag, Trimmed: tick})
		}
	}
	return d, nil
}

func (s *script) set(f func(s *script)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f(s)
}

func (s *script) counts() (deltas, appends, renews int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.deltas, s.appends, s.renews
}

// message returns the latest published message, not older than the i-th latest.
func (s *script) message(t *testing.T, i int) changelog.Message {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	m, err := changelog.ParseMessage(s.messages[len(s.messages)-1-i])
	require.NoError(t, err)
	return m
}

// several returns a message of all that changed after prev.
func (s *script) several(t *testing.T, prev Tick) changelog.Message {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	m, err := changelog.ParseMessage(s.severalLocked(prev))
	require.NoError(t, err)
	return m
}

func (s *script) severalLocked(prev Tick) string {
	latest := make(map[Scope]Tick)
	for _, c := range s.changes {
		for _, scope := range c.scopes {
			latest[scope] = c.tick
		}
	}
	var changes []changelog.ScopeTick
	floor := Tick(0)
	for _, c := range s.changes {
		for _, scope := range c.scopes {
			if c.tick > prev && latest[scope] == c.tick {
				changes = append(changes, changelog.ScopeTick{Scope: scope, Tick: c.tick})
			}
		}
		if c.all && c.tick > prev {
			floor = c.tick
		}
	}
	return fmt.Sprintf("%016x %d %d %s", s.incarnation, prev, s.tick, changelog.BodyOfSeveral(changes, floor, s.tick))
}

// scene is a tail in a bubble, with its log. Its heartbeat is an hour unless
// the test says otherwise, so that nothing happens but what the test does.
type scene struct {
	*testing.T
	*changelog.Tail
	log *script
}

func bubble(t *testing.T, play func(t *testing.T, s *scene), configure ...func(*changelog.Config)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := &scene{T: t, log: newScript()}
		s.Tail = follow(t, s.log, configure...)
		synctest.Wait()
		play(t, s)
	})
}

func follow(t *testing.T, log changelog.Log, configure ...func(*changelog.Config)) *changelog.Tail {
	t.Helper()
	cfg := changelog.Config{Heartbeat: time.Hour, Timeout: time.Second, Retention: time.Hour, Logger: slog.New(slog.DiscardHandler)}
	for _, f := range configure {
		f(&cfg)
	}
	tail, err := changelog.Start(t.Context(), log, cfg)
	require.NoError(t, err)
	t.Cleanup(tail.Close)
	return tail
}

func maxKnown(n int) func(*changelog.Config) {
	return func(c *changelog.Config) { c.MaxKnown = n }
}

func heartbeat(d time.Duration) func(*changelog.Config) {
	return func(c *changelog.Config) { c.Heartbeat = d }
}

// judge asks for a value as of tick of the present log that depends on scopes.
func (s *scene) judge(tick Tick, scopes ...Scope) changelog.Verdict {
	s.Helper()
	return s.judgeAsOf(AsOf{Incarnation: s.View().Incarnation, Tick: tick}, scopes...)
}

func (s *scene) judgeAsOf(a AsOf, scopes ...Scope) changelog.Verdict {
	s.Helper()
	marks := s.Pin(scopes)
	defer s.Release(marks)
	v := s.Judge(a, marks)
	return v
}
