package remote_test

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/valkey-io/valkey-go"

	"github.com/tiercache/tiercache/internal/backend"
	"github.com/tiercache/tiercache/internal/changelog"
	"github.com/tiercache/tiercache/internal/remoteerr"
	"github.com/tiercache/tiercache/internal/valkeytest"
	"github.com/tiercache/tiercache/invalidation"
	"github.com/tiercache/tiercache/remote"
)

const logOfP = "p:{p}:log"

// connectAs connects as a store that says how long its entries live.
func connectAs(t *testing.T, b backend.Backend, maxTTL time.Duration) backend.Conn {
	t.Helper()
	c, err := b.Connect(within(t), backend.Options{Prefix: "p", Timeout: 5 * time.Second, MaxTTL: maxTTL, Events: newInvalidations().events()})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	return c
}

func record(t *testing.T, c changelog.Log, retention time.Duration, scopes ...invalidation.Scope) changelog.Appended {
	t.Helper()
	a, err := c.Append(within(t), changelog.Change{Scopes: scopes, Retention: retention})
	require.NoError(t, err)
	return a
}

func deltaOf(t *testing.T, c changelog.Log, scopes ...invalidation.Scope) changelog.Delta {
	t.Helper()
	d, err := c.Delta(within(t), changelog.DeltaQuery{Limit: 1 << 20, Scopes: scopes})
	require.NoError(t, err)
	return d
}

// The corpus of members, on a server: those that are the log's own do not show, all
// others do as they are, and a score that is no tick is damage.
func TestTheCorpusOfMembersOnAServer(t *testing.T) {
	raw, err := os.ReadFile("../internal/changelog/testdata/members.txt")
	require.NoError(t, err)
	valkeytest.EachVersion(t, func(t *testing.T, s *valkeytest.Server) {
		c := connectAs(t, backendOf(s), time.Hour)
		n := 0
		for line := range strings.Lines(string(raw)) {
			words := strings.SplitN(strings.TrimSpace(line), " ", 3)
			if len(words) < 3 || words[0] == "#" {
				continue
			}
			n++
			member, err := strconv.Unquote(words[2])
			require.NoError(t, err)
			s.Do(t, "DEL", logOfP)
			s.Do(t, "ZADD", logOfP, "-1", "i00000000000000aa", "-1", "k0000000000000000@0", "1795980043903846", "s:latest")
			if words[0] == "own" && (member[0] == 'i' || member[0] == 'k') {
				s.Do(t, "ZREM", logOfP, map[byte]string{'i': "i00000000000000aa", 'k': "k0000000000000000@0"}[member[0]])
			}
			s.Do(t, "ZADD", logOfP, words[1], member)
			d, err := c.Delta(within(t), changelog.DeltaQuery{Limit: 1 << 20})
			require.NoError(t, err, "%q", member)
			score, _ := strconv.ParseFloat(words[1], 64)
			switch {
			case score >= 1<<53:
				require.Zero(t, d.Incarnation, "%q", member)
			case score != float64(int64(score)):
				require.True(t, d.Damaged, "%q", member)
			case words[0] == "own":
				require.False(t, d.Damaged, "%q", member)
				require.Len(t, d.Changes, 1, "%q", member)
			default:
				require.False(t, d.Damaged, "%q", member)
				require.Contains(t, d.Changes, changelog.ScopeTick{Scope: invalidation.Scope(member), Tick: invalidation.Tick(score)})
			}
		}
		require.Greater(t, n, 60)
	})
}

// Guard: the largest of the options in the log.
//
//	A: keeps entries for an hour
//	B: keeps its own for a second, and forgets what changed before that
func TestTheLongestRetentionOfTheStoresThatAreOpenCounts(t *testing.T) {
	for name, b := range map[string]backend.Backend{"embedded": remote.NewEmbedded(0), "valkey": backendOf(valkeytest.Start(t))} {
		t.Run(name, func(t *testing.T) {
			long, short := connectAs(t, b, time.Hour), connectAs(t, b, time.Second)
			old := record(t, long, time.Hour, "s:old")
			deltaOf(t, long)
			deltaOf(t, short)
			recorded := time.Now()
			eventually(t, func() bool { return time.Since(recorded) > 1100*time.Millisecond }, "time passes")
			for i := range 40 {
				record(t, short, time.Second, invalidation.Scope(fmt.Sprint("s:", i)))
			}
			require.Equal(t, []invalidation.Tick{old.Tick}, deltaOf(t, short, "s:old").Known)
		})
	}
}

// What a server that goes back makes change, it does once for each process: what another
// has told may be of another server that went back, or of an earlier time.
//
//	server: is set back to what it was; A finds that, and has the namespaces change
//	server: a key is set, and it is set back once more
//	B:      finds that, and hears for the first time what A has told
func TestEachProcessTellsOfARollback(t *testing.T) {
	s := valkeytest.Start(t)
	var conns []backend.Conn
	for range 3 {
		conns = append(conns, connect(t, backendOf(s), "p", newInvalidations()))
	}
	record(t, conns[0], time.Hour, invalidation.Written("docs"))
	changed := func(c changelog.Log) invalidation.Tick { return deltaOf(t, c, "n:docs").Known[0] }
	for _, c := range conns {
		require.Zero(t, changed(c))
	}
	for range 3 {
		s.Do(t, "FLUSHDB") // the log with it
		s.Do(t, "ZADD", logOfP, "-1", "i00000000000000aa", "-1", "k0@0", "-1", "v:docs", fmt.Sprint(time.Now().UnixMicro()), "f")
		var latest invalidation.Tick
		for _, c := range conns {
			now := changed(c)
			require.Greater(t, now, latest, "it has not told")
			latest = now
			require.Equal(t, latest, changed(c), "it has")
		}
		id, err := s.Do(t, "EVAL", "return string.match(redis.call('INFO', 'replication'), 'master_replid:(%x+)')", "0").ToString()
		require.NoError(t, err)
		require.Equal(t, []invalidation.Tick{latest}, deltaOf(t, conns[0], invalidation.Scope("b:"+id)).Known, "it says which server")
	}
}

// A connection that reads no log does not tell other stores that it is there.
func TestOptionsStandInTheLog(t *testing.T) {
	s := valkeytest.Start(t)
	c := connectAs(t, backendOf(s), 90*time.Minute)
	record(t, c, time.Hour, "s:x")
	deltaOf(t, c)
	m := s.Do(t, "ZRANGE", logOfP, "-1", "-1", "BYSCORE")
	all, err := m.AsStrSlice()
	require.NoError(t, err)
	require.Contains(t, strings.Join(all, " "), " ot:5400000@")
	require.Contains(t, all, "l1:1")
	other, err := remote.Valkey(valkey.ClientOption{InitAddress: []string{s.Addr}}).
		Connect(within(t), backend.Options{Prefix: "p", Timeout: 5 * time.Second, NoTracking: true, Events: newInvalidations().events()})
	require.NoError(t, err)
	defer other.Close()
	_, err = other.Delta(within(t), changelog.DeltaQuery{Limit: 1})
	require.ErrorContains(t, err, "WithoutTracking")
	require.True(t, remoteerr.Away(err), "nothing that it says can be judged")
}

// membersOf returns what stands in the log about itself.
func membersOf(t *testing.T, s *valkeytest.Server, kind string) (out []string) {
	all, err := s.Do(t, "ZRANGE", logOfP, "-1", "-1", "BYSCORE").AsStrSlice()
	require.NoError(t, err)
	for _, m := range all {
		if strings.HasPrefix(m, kind) {
			out = append(out, m)
		}
	}
	return out
}

// The pace of messages is kept where they go to many: a change in a small fleet takes no longer for it. What was kept ends with
// the first message to few.
func TestAFleetOfFewKeepsNoPace(t *testing.T) {
	s := valkeytest.Start(t)
	first := connectAs(t, backendOf(s), time.Hour)
	record(t, first, time.Hour, "s:x")
	require.Empty(t, membersOf(t, s, "m"))
	var others [changelog.FewReceivers]backend.Conn
	for i := range others {
		others[i] = connectAs(t, backendOf(s), time.Hour)
	}
	eventually(t, func() bool { record(t, first, time.Hour, "s:x"); return len(membersOf(t, s, "m")) == 1 }, "one more listens")
	for _, c := range others {
		require.NoError(t, c.Close())
	}
	eventually(t, func() bool { record(t, first, time.Hour, "s:x"); return len(membersOf(t, s, "m")) == 0 }, "few listen")
}

// Guard: the trim script leaves the members v. What it trims, the server may save before
// the process that has declared hears of it.
//
//	A:      declares docs, and sets k
//	B:      has the log trim what A recorded
//	server: saves; A sets k again; the server is restarted from the file
//	B:      reads the log
func TestADeclarationIsNeverTrimmed(t *testing.T) {
	s := valkeytest.Start(t)
	c := connectAs(t, backendOf(s), time.Second)
	record(t, c, time.Second, invalidation.Written("docs"))
	recorded := time.Now()
	eventually(t, func() bool { return time.Since(recorded) > 1100*time.Millisecond }, "time passes")
	for i := range 40 {
		record(t, c, time.Second, invalidation.Scope(fmt.Sprint("s:", i)))
	}
	require.Equal(t, []invalidation.Tick{0}, deltaOf(t, c, "w:docs").Known, "what was recorded is trimmed")
	require.Equal(t, []string{"v:docs"}, membersOf(t, s, "v"))
	s.Do(t, "SAVE")
	s.Kill()
	s.Restart()
	eventually(t, func() bool {
		d, err := c.Delta(within(t), changelog.DeltaQuery{Limit: 1 << 20, Scopes: []invalidation.Scope{"n:docs"}})
		return err == nil && d.Known[0] > 0
	}, "the namespace changes")
}

// Declarations are bounded: beyond 1,000 one means all, and everything changes when a server
// comes that may have lost what was written.
func TestManyDeclarationsMeanAll(t *testing.T) {
	s := valkeytest.Start(t)
	c := connectAs(t, backendOf(s), time.Hour)
	deltaOf(t, c)
	many := func(from, n int) (scopes []invalidation.Scope) {
		for i := range n {
			scopes = append(scopes, invalidation.Written(fmt.Sprint("docs", from+i)))
		}
		return scopes
	}
	record(t, c, time.Hour, many(0, 1000)...)
	require.Len(t, membersOf(t, s, "v"), 1000)
	latest := record(t, c, time.Hour, many(1000, 1)...)
	require.Equal(t, []string{"v*"}, membersOf(t, s, "v"))
	record(t, c, time.Hour, many(0, 3)...)
	require.Equal(t, []string{"v*"}, membersOf(t, s, "v"))
	s.Do(t, "SAVE")
	s.Kill()
	s.Restart()
	eventually(t, func() bool {
		d, err := c.Delta(within(t), changelog.DeltaQuery{Limit: 1 << 20})
		return err == nil && d.Floor > latest.Tick
	}, "everything changes")
	require.False(t, deltaOf(t, c).Damaged)
}

// Guard: change looks whose clock a Window is of. Another connection may be to another
// server, which was promoted, and whose clock is behind.
func TestAWriteIsSentToTheServerWhoseClockBoundsIt(t *testing.T) {
	s := valkeytest.Start(t)
	c := connectAs(t, backendOf(s), time.Hour)
	record(t, c, time.Hour, "s:x")
	write := func(w backend.Window) (deleted, written error) {
		_, deleted = c.Delete(within(t), []backend.Deletion{{Key: "p:d:a:{k}", Window: w}})
		_, written = c.Write(within(t), []backend.Write{{Key: "p:d:a:{k}", Envelope: []byte("v"), Expires: time.Now().Add(time.Hour), Window: w}})
		return deleted, written
	}
	window := func() backend.Window {
		d := deltaOf(t, c)
		return backend.Window{NotBefore: d.ServerTime.Add(-time.Minute), Before: d.ServerTime.Add(time.Minute), Connection: d.Connection}
	}
	first := window()
	deleted, written := write(first)
	require.NoError(t, deleted)
	require.NoError(t, written)
	s.Do(t, "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
	eventually(t, func() bool {
		d, err := c.Delta(within(t), changelog.DeltaQuery{Limit: 1})
		return err == nil && d.Connection != first.Connection
	}, "it is connected again")
	s.Do(t, "DEL", "p:d:a:{k}")
	deleted, written = write(first)
	require.True(t, remoteerr.NotSent(deleted), "%v", deleted)
	require.True(t, remoteerr.NotSent(written), "%v", written)
	n, err := s.Do(t, "EXISTS", "p:d:a:{k}").AsInt64()
	require.NoError(t, err)
	require.Zero(t, n)
	deleted, written = write(window())
	require.NoError(t, deleted)
	require.NoError(t, written)
}
