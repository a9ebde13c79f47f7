package tier_test

import (
	"context"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/valkey-io/valkey-go"

	"github.com/tiercache/tiercache/internal/interpose"
	"github.com/tiercache/tiercache/internal/valkeytest"
	"github.com/tiercache/tiercache/remote"
	"github.com/tiercache/tiercache/tier"
)

// serverFleet is a fleet on a server of the test's own, of which the test may do anything.
func serverFleet(t *testing.T, s *valkeytest.Server, options ...tier.Option) *fleet {
	return &fleet{t: t, server: s, prefix: "p", tracked: true, options: append([]tier.Option{tier.WithValkey(s.URL())}, options...)}
}

const logOfP = "p:{p}:log"

// incarnationOf is the log's first member.
func incarnationOf(t *testing.T, s *valkeytest.Server) string {
	members, err := s.Do(t, "ZRANGE", logOfP, "0", "0").AsStrSlice()
	require.NoError(t, err)
	require.NotEmpty(t, members)
	return members[0]
}

// calls is how often the server has performed a command since it was started.
func calls(t *testing.T, s *valkeytest.Server, command string) int {
	info, err := s.Do(t, "INFO", "commandstats").ToString()
	require.NoError(t, err)
	_, rest, _ := strings.Cut(info, "cmdstat_"+command+":calls=")
	count, _, _ := strings.Cut(rest, ",")
	n, _ := strconv.Atoi(count) // none is nothing
	return n
}

// A refused command is not a lost log.
//
//	administrator: revokes a right that the log's scripts need
//	store:         reads the log, is refused, takes the log for lost, and renews it:
//	               eight times for each read, and each of them makes every entry a miss
func TestI6ARightThatIsRevokedLosesNoLog(t *testing.T) {
	t.Parallel()
	for _, right := range []string{"zrange", "zrevrange", "zrangebyscore", "zscore", "zcount", "info", "time", "evalsha_ro"} {
		t.Run(right, func(t *testing.T) {
			t.Parallel()
			// Without messages, which would tell of a change without the log being read.
			srv := valkeytest.Start(t, valkeytest.Config("user", "u on >secret ~* &* +@all -subscribe"))
			f := serverFleet(t, srv)
			f.options = nil
			s := f.process(tier.WithValkey(strings.Replace(srv.URL(), "valkey://", "valkey://u:secret@", 1)), tier.WithMaxStaleness(time.Second))
			c := view[string](t, s, "docs")
			find(t, c, "k", is("v"))
			before := incarnationOf(t, srv)
			srv.Do(t, "ACL", "SETUSER", "u", "-"+right)
			_, err := s.InvalidateSource(t.Context(), "doc")
			if right != "zcount" && right != "zrangebyscore" && right != "evalsha_ro" && right != "info" && right != "zscore" { // those that only reads of the log need
				require.ErrorContains(t, err, right)
			}
			other := f.process(tier.WithValkey(srv.URL()))
			eventually(t, "the log is not read", func() bool {
				_, err := other.InvalidateSource(t.Context(), "another") // or some rights are not needed
				return err == nil && s.Health(t.Context()).FailedHeartbeats > 1
			})
			eventually(t, "no copy is served", func() bool { return !s.Health(t.Context()).ServesLocal })
			count := calls(t, srv, "get")
			for i := range 2000 {
				v, err := c.Get(t.Context(), fmt.Sprint("k", i%10), is("v"))
				require.NoError(t, err)
				require.Equal(t, "v", v)
			}
			require.Less(t, calls(t, srv, "get")-count, 100, "of 2000 reads, while the log cannot be read")
			require.ErrorContains(t, s.Sync(t.Context()), right)
			require.ErrorContains(t, s.Health(t.Context()).RemoteErr, right)
			require.Equal(t, before, incarnationOf(t, srv), "the log was renewed")
			srv.Do(t, "ACL", "SETUSER", "u", "+"+right)
			eventually(t, "it goes on", func() bool { return s.Sync(t.Context()) == nil && s.Health(t.Context()).Healthy })
			require.Equal(t, before, incarnationOf(t, srv), "the log was renewed")
		})
	}
}

// One member that no store has written stops no store for good: it is skipped, or the log
// counts as damaged and begins anew.
func TestAForeignMemberOfTheLogStopsNoProcess(t *testing.T) {
	for name, member := range map[string][]string{
		"an empty one":                      {"5", ""},
		"an empty one, the latest":          {"%now", ""},
		"an unknown kind":                   {"5", "hello"},
		"an unknown kind, the latest":       {"%now", "x:hello"},
		"an incarnation that is a scope":    {"5", "i0123456789abcdef"},
		"a second incarnation":              {"-1", "i0000000000000000"},
		"an incarnation that is none":       {"-1", "i"},
		"before the incarnation":            {"-1", "a"},
		"an empty one before all":           {"-1", ""},
		"a score below all":                 {"-7", "s:x"},
		"a score that is no tick":           {"5.5", "s:x"},
		"a score that is no tick, the last": {"%now.5", "s:x"},
		"a score between 0 and 1":           {"0.5", "s:x"},
		"a score beyond all ticks":          {"9e18", "s:x"},
		"a score near the last tick":        {"9007199254740991", "s:x"},
		"no end":                            {"+inf", "s:x"},
		"a floor that is no tick":           {"5.5", "f"},
		"a floor below all":                 {"-1", "f"},
		"a huge one":                        {"5", "s:" + strings.Repeat("x", 1<<20)},
		"a huge one, the latest":            {"%now", "s:" + strings.Repeat("x", 1<<20)},
		"a huge one of no kind":             {"5", strings.Repeat("?", 1<<20)},
	} {
		t.Run(name, func(t *testing.T) {
			srv := valkeytest.Start(t)
			f := serverFleet(t, srv)
			s := f.process()
			_, err := s.InvalidateSource(t.Context(), "before")
			require.NoError(t, err)
			for range 2 { // it may be done again
				score := strings.Replace(member[0], "%now", fmt.Sprint(time.Now().Add(time.Minute).UnixMicro()), 1)
				srv.Do(t, "ZADD", logOfP, score, member[1])
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				other, err := tier.Open(ctx, append(f.options, tier.WithPrefix("p"), tier.WithRemoteTimeout(10*time.Second))...)
				require.NoError(t, err)
				defer other.Close()
				for _, s := range []*tier.Store{s, other} {
					require.NoError(t, s.Sync(ctx))
					_, err = s.InvalidateSource(ctx, "doc")
					require.NoError(t, err)
					require.NoError(t, s.Sync(ctx))
				}
				c := view[string](t, s, "docs")
				find(t, c, "k", is("v", "doc"))
				eventually(t, "it is kept", func() bool { return find(t, c, "k", is("v", "doc")).Origin == tier.Local })
				_, err = other.InvalidateSource(ctx, "doc")
				require.NoError(t, err)
				require.NoError(t, s.Sync(ctx))
				require.Equal(t, "w", find(t, c, "k", is("w", "doc")).Value)
			}
		})
	}
}

// Two modes on one prefix: a store without tracking does not learn of the writes of one with tracking.
func TestI2StoresOfOnePrefixHaveOneMode(t *testing.T) {
	onEachRemote(t, func(t *testing.T, f *fleet) {
		other := tier.WithoutTracking()
		if !f.tracked {
			f.options = f.options[:1]
		}
		options := append(f.options, tier.WithPrefix(f.prefix), tier.WithRemoteTimeout(10*time.Second))
		open := func(o ...tier.Option) (*tier.Store, error) { return tier.Open(t.Context(), append(options, o...)...) }
		first, second := []tier.Option{}, []tier.Option{other}
		if !f.tracked {
			first, second = second, first
		}
		a, err := open(first...)
		require.NoError(t, err)
		defer a.Close()
		b, err := open(second...)
		if err == nil {
			defer b.Close()
			ca, cb := view[string](t, a, "docs"), view[string](t, b, "docs")
			require.NoError(t, ca.Set(t.Context(), "k", "v1"))
			find(t, cb, "k", is("v1"))
			require.NoError(t, ca.Set(t.Context(), "k", "v2"))
			require.NoError(t, b.Sync(t.Context()))
			require.Equal(t, "v2", find(t, cb, "k", is("v2")).Value)
		}
		for _, text := range []string{"WithoutTracking", "client tracking", strconv.Quote(f.prefix), "open all with the same option"} {
			require.ErrorContains(t, err, text)
		}
		require.NotContains(t, err.Error(), "\n")
		same, err := open(first...)
		require.NoError(t, err)
		require.NoError(t, same.Close())
		require.NoError(t, a.Sync(t.Context()), "the store that was first goes on")
		elsewhere, err := open(append(second, tier.WithPrefix(f.prefix+"-2"))...)
		require.NoError(t, err)
		require.NoError(t, elsewhere.Close())
	})
}

// A store that is gone blocks the other mode for a minute, and not for good. One that
// was silent for as long finds that out before it serves or sets anything.
func TestI2AStoreThatIsGoneDoesNotBlockTheOtherMode(t *testing.T) {
	valkeytest.NeedSteppedClock(t)
	srv := valkeytest.Start(t, valkeytest.SteppedClock())
	f := serverFleet(t, srv)
	gone := f.process(tier.WithoutTracking())
	require.NoError(t, gone.Close())
	f.stores = nil
	_, err := tier.Open(t.Context(), append(f.options, tier.WithPrefix("p"), tier.WithRemoteTimeout(10*time.Second))...)
	require.ErrorContains(t, err, "wait until")
	// The clock counts for the server, as time that passes while the stores are
	// suspended; they go by their own, and do not say again that they are open.
	srv.StepClock(80 * time.Second)
	tracked := f.process()
	c := view[string](t, tracked, "docs")
	require.NoError(t, c.Set(t.Context(), "k", "1"))
	srv.StepClock(160 * time.Second)
	plain := f.process(tier.WithoutTracking())
	require.Equal(t, "1", find(t, view[string](t, plain, "docs"), "k", unneeded[string]).Value)
	require.NoError(t, plain.Close())
	for _, m := range members(t, srv) { // as if it had been closed long ago
		if strings.HasPrefix(m, "ou") {
			srv.Do(t, "ZREM", logOfP, m)
		}
	}
	f.stores = f.stores[:1]
	require.NoError(t, tracked.Sync(t.Context()))
}

// members are those of the log that are no changes.
func members(t *testing.T, s *valkeytest.Server) []string {
	all, err := s.Do(t, "ZRANGE", logOfP, "-1", "-1", "BYSCORE").AsStrSlice()
	require.NoError(t, err)
	return all
}

// A log that only later versions may read, and one that this version may.
func TestALogOfALaterFormat(t *testing.T) {
	t.Parallel()
	srv := valkeytest.Start(t)
	f := serverFleet(t, srv)
	s := f.process()
	c := view[string](t, s, "docs")
	find(t, c, "k", is("v", "doc"))
	incarnation := incarnationOf(t, srv)
	require.Contains(t, members(t, srv), "l1:1")
	put := func(score, member string) { srv.Do(t, "ZADD", logOfP, score, member) }
	now := func() string { return fmt.Sprint(time.Now().UnixMicro()) }
	works := func(t *testing.T, s *tier.Store) {
		t.Helper()
		_, err := s.InvalidateSource(t.Context(), "doc")
		require.NoError(t, err)
		require.NoError(t, s.Sync(t.Context()))
		c := view[string](t, s, "docs")
		require.Equal(t, "w", find(t, c, "k", is("w", "doc")).Value)
		require.Equal(t, incarnation, incarnationOf(t, srv))
	}
	// A later version has written what this one may skip, and is rolled back.
	srv.Do(t, "ZREM", logOfP, "l1:1")
	put("-1", "l2:1")
	put("-1", "x of another version")
	put(now(), "~2:y:docs")
	srv.Do(t, "PUBLISH", "p:{p}:changes", incarnation[1:]+" 1 2 \x04")
	works(t, s)
	other := f.process()
	works(t, other)
	require.Contains(t, members(t, srv), "l2:1")
	require.NotContains(t, members(t, srv), "l1:1")

	fails := func(t *testing.T, text string) {
		t.Helper()
		require.ErrorContains(t, s.Sync(t.Context()), text)
		require.ErrorContains(t, s.Sync(t.Context()), "reads formats up to 1")
		_, err := tier.Open(t.Context(), append(f.options, tier.WithPrefix("p"), tier.WithRemoteTimeout(10*time.Second))...)
		require.ErrorContains(t, err, text)
		require.NotContains(t, err.Error(), "\n")
		eventually(t, "it is not healthy", func() bool { return !s.Health(t.Context()).Healthy })
		require.Equal(t, "loaded", find(t, c, "another", is("loaded")).Value, "loaders answer")
		require.Equal(t, incarnation, incarnationOf(t, srv), "nothing is replaced")
	}
	t.Run("what it cannot skip", func(t *testing.T) {
		_, _ = s.InvalidateSource(t.Context(), "before")
		put(fmt.Sprint(time.Now().Add(time.Minute).UnixMicro()), "|3:y:docs")
		fails(t, "of format 3")
		srv.Do(t, "ZREM", logOfP, "|3:y:docs")
		eventually(t, "it goes on", func() bool { return s.Sync(t.Context()) == nil && s.Health(t.Context()).Healthy })
		works(t, s)
	})
	t.Run("a format that must be known", func(t *testing.T) {
		srv.Do(t, "ZREM", logOfP, "l2:1")
		put("-1", "l3:2")
		fails(t, "format 3")
		_, err := s.InvalidateSource(t.Context(), "doc")
		require.ErrorContains(t, err, "format 3", "nor is it written to")
		srv.Do(t, "ZREM", logOfP, "l3:2")
		eventually(t, "it goes on", func() bool { return s.Sync(t.Context()) == nil && s.Health(t.Context()).Healthy })
		works(t, s)
	})
	t.Run("a log from before formats", func(t *testing.T) {
		for _, m := range members(t, srv) {
			if m[0] == 'l' || m[0] == 'o' {
				srv.Do(t, "ZREM", logOfP, m)
			}
		}
		works(t, f.process())
		require.Contains(t, members(t, srv), "l1:1")
	})
}

// restored has the server go on with what it had saved.
func restored(s *valkeytest.Server) {
	s.Kill()
	s.Restart()
}

// Keys are written here, as the log knows until nothing that was written is left:
//
//	A:      Set(k, 0): the log knows
//	B:      has a shorter WithMaxTTL, and trims what the log knows
//	A:      Set(k, 1); the server saves; Set(k, 2) returns
//	server: is restarted from what it had saved
func TestI6AShorterMaxTTLForgetsNoDeclaration(t *testing.T) {
	srv := valkeytest.Start(t)
	f := serverFleet(t, srv)
	long, short := f.process(), f.process(tier.WithMaxTTL(time.Second))
	c := view[string](t, long, "docs")
	require.NoError(t, c.Set(t.Context(), "k", "0"))
	declared := time.Now()
	eventually(t, "older than the shorter one's retention", func() bool { return time.Since(declared) > 1100*time.Millisecond })
	for i := range 40 {
		_, err := short.InvalidateSource(t.Context(), fmt.Sprint("x", i))
		require.NoError(t, err)
	}
	lostSet(t, srv, f, c)
}

// lostSet sets k twice, has the server lose the second, and asks the stores that can know.
func lostSet(t *testing.T, srv *valkeytest.Server, f *fleet, c *tier.Cache[string]) {
	require.NoError(t, c.Set(t.Context(), "k", "1"))
	srv.Do(t, "SAVE")
	require.NoError(t, c.Set(t.Context(), "k", "2"))
	restored(srv)
	for _, s := range append(f.stores, f.process()) {
		eventually(t, "synced", func() bool { return s.Sync(t.Context()) == nil })
		here := view[string](t, s, "docs", tier.WithTTL(time.Second))
		require.Equal(t, "2", find(t, here, "k", is("2")).Value)
		require.Equal(t, "2", find(t, here, "k", is("2"), tier.Fresh()).Value)
	}
}

// The same with a clock that is set eight days forwards, and back.
func TestI6AClockThatIsSetForthAndBackForgetsNoDeclaration(t *testing.T) {
	valkeytest.NeedSteppedClock(t)
	srv := valkeytest.Start(t, valkeytest.SteppedClock())
	f := serverFleet(t, srv)
	a, b := f.process(), f.process()
	c := view[string](t, a, "docs", tier.WithTTL(tier.DefaultMaxTTL))
	require.NoError(t, c.Set(t.Context(), "k", "0"))
	for _, d := range []time.Duration{8 * 24 * time.Hour, 0} {
		srv.StepClock(d)
		for i := range 40 {
			_, err := b.InvalidateSource(t.Context(), fmt.Sprint("x", i))
			require.NoError(t, err)
		}
	}
	// A Set is refused until its process has read the clock that was set.
	eventually(t, "the clock is read", func() bool { return c.Set(t.Context(), "k", "0") == nil })
	lostSet(t, srv, f, c)
}

// rollbacks are how a server goes on with what it had saved, under the same
// replication id.
var rollbacks = map[string]func(t *testing.T, srv *valkeytest.Server){
	"it tells of a flush": func(t *testing.T, srv *valkeytest.Server) { srv.Do(t, "DEBUG", "RELOAD", "NOSAVE") },
	// As a machine that is set back to a snapshot: connections are gone, and so is
	// what the server has counted since. One client's pipeline is performed without
	// another's in between.
	"a snapshot": func(t *testing.T, srv *valkeytest.Server) {
		client := srv.Client(t)
		b := client.B()
		for _, r := range client.DoMulti(t.Context(), b.Arbitrary("CLIENT", "KILL", "TYPE", "pubsub").Build(),
			b.Arbitrary("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes").Build(),
			b.Arbitrary("DEBUG", "RELOAD", "NOSAVE").Build(), b.Arbitrary("CONFIG", "RESETSTAT").Build()) {
			require.NoError(t, r.Error())
		}
	},
}

// rolledBack sets key, has a server save, sets it again, has the server go back, and
// reads it in all stores.
func rolledBack(t *testing.T, key string, stores []*tier.Store, srv *valkeytest.Server, roll func(t *testing.T, srv *valkeytest.Server)) {
	var views []*tier.Cache[string]
	for _, s := range stores {
		views = append(views, view[string](t, s, "docs"))
	}
	require.NoError(t, views[0].Set(t.Context(), key, "1"))
	srv.Do(t, "SAVE")
	require.NoError(t, views[0].Set(t.Context(), key, "2"))
	require.Equal(t, "2", find(t, views[1], key, is("2")).Value)
	// Much was counted, so that what is counted anew stays below it for the test's time.
	srv.Do(t, "EVAL", "for i = 1, 100000 do redis.call('TIME') end", "0")
	// What the server has counted since is known: it is asked of at most every 100 ms.
	counted := time.Now()
	for _, s := range stores {
		eventually(t, "what was counted is known", func() bool {
			return s.Sync(t.Context()) == nil && time.Since(counted) > 150*time.Millisecond
		})
	}
	roll(t, srv)
	for range 3 {
		for _, c := range views {
			assert.Equal(t, "2", find(t, c, key, is("2")).Value)
			assert.Equal(t, "2", find(t, c, key, is("2"), tier.Fresh()).Value)
		}
	}
	require.NoError(t, stores[0].Sync(t.Context()))
	eventually(t, "it is kept again", func() bool { return find(t, views[0], key, is("2")).Origin == tier.Local })
}

// A server that goes on with older data under the same replication id.
//
//	A:      Set(k, 1); the server saves; Set(k, 2) returns
//	server: goes on with what it had saved, and the same id
//	A, B:   read k
func TestI6ARollbackUnderOneReplicationId(t *testing.T) {
	for name, roll := range rollbacks {
		t.Run(name, func(t *testing.T) {
			srv := valkeytest.Start(t)
			f := serverFleet(t, srv)
			f.process()
			f.process()
			for i := range 3 { // and again
				rolledBack(t, fmt.Sprint("k", i), f.stores, srv, roll)
			}
		})
	}
}

func TestI6ARollbackOfOneServerOfACluster(t *testing.T) {
	t.Parallel()
	for name, roll := range rollbacks {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := valkeytest.StartCluster(t, 3)
			var stores []*tier.Store
			for range 2 {
				s, err := tier.Open(t.Context(), tier.WithValkeyClient(valkey.ClientOption{InitAddress: c.Addrs()}), tier.WithPrefix("p"),
					tier.WithRemoteTimeout(10*time.Second), tier.WithMaxStaleness(10*time.Second))
				require.NoError(t, err)
				defer s.Close()
				stores = append(stores, s)
			}
			log := primaryOf(t, c, logOfP)
			docs, done := view[string](t, stores[0], "docs"), make(map[int]bool)
			for i := 0; len(done) < 3; i++ { // a key on each server
				key := fmt.Sprint("k", i)
				e, err := docs.Explain(t.Context(), key)
				require.NoError(t, err)
				if p := primaryOf(t, c, e.RemoteKey); !done[p] {
					done[p] = true
					t.Run(fmt.Sprint("the log's: ", p == log), func(t *testing.T) { rolledBack(t, key, stores, c.Primaries[p], roll) })
				}
			}
		})
	}
}

// The log of a server with little memory.
func TestTheLogIsBounded(t *testing.T) {
	srv := valkeytest.Start(t, valkeytest.Config("maxmemory", "30mb"), valkeytest.Config("maxmemory-policy", "noeviction"))
	f := serverFleet(t, srv)
	s := f.process()
	c := view[string](t, s, "docs")
	find(t, c, "old", is("v", "x"))
	for i := range 90 {
		ids := make([]string, 1000)
		for j := range ids {
			ids[j] = fmt.Sprintf("a source with a longer name %d %d", i, j)
		}
		_, err := s.InvalidateSource(t.Context(), ids...)
		require.NoError(t, err)
	}
	h := s.Health(t.Context())
	assert.Contains(t, fmt.Sprint(h.Warnings), "change log")
	size, err := srv.Do(t, "ZCARD", logOfP).AsInt64()
	require.NoError(t, err)
	assert.Less(t, size, int64(65_000), "it is bounded while it grows")
	eventually(t, "the log has shrunk", func() bool {
		n, err := srv.Do(t, "ZCARD", logOfP).AsInt64()
		return err == nil && n < 63_000 // maxmemory / 512, and the latest change
	})
	require.NoError(t, c.Set(t.Context(), "k", "v"))
	find(t, c, "new", is("v", "y"))
	eventually(t, "it is kept", func() bool { return find(t, c, "new", is("v", "y")).Origin == tier.Local })
	assert.Equal(t, "w", find(t, c, "old", is("w", "x"), tier.Fresh()).Value, "older than the floor")

	_, err = s.InvalidateAll(t.Context())
	require.NoError(t, err)
	eventually(t, "what lies below the floor is freed", func() bool {
		n, err := srv.Do(t, "ZCARD", logOfP).AsInt64()
		return err == nil && n < 50
	})
	h = s.Health(t.Context())
	assert.NotContains(t, fmt.Sprint(h.Warnings), "change log")
	assert.NotContains(t, fmt.Sprint(h.Warnings), "memory is full (")
	srv.Do(t, "SETRANGE", "filler", "29500000", "x")
	assert.Contains(t, fmt.Sprint(s.Health(t.Context()).Warnings), "memory is full (")
}

// losingStore opens a store, in fake time, whose remote tier loses writes and whose
// heartbeats tell it nothing.
func losingStore(t *testing.T, server *fickle) *tier.Store {
	s, err := tier.Open(t.Context(), tier.WithRemote(server), tier.WithLogger(slog.New(slog.DiscardHandler)),
		tier.WithHeartbeat(time.Hour), tier.WithMaxStaleness(2*time.Hour))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

// Guard: declaration.holds. No delta has shown the floor yet, which would have another
// goroutine declare again, later than the Set.
func TestI6ASetDeclaresAgainWhatLiesBelowTheFloor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := newFickle(losing{remote.NewEmbedded(0)})
		s := losingStore(t, server)
		c := view[string](t, s, "docs")
		require.NoError(t, c.Set(t.Context(), "k", "1"))
		_, err := s.InvalidateAll(t.Context())
		require.NoError(t, err)
		synctest.Wait()
		server.count(interpose.Append)
		require.NoError(t, c.Set(t.Context(), "k", "2"))
		require.Equal(t, 1, server.count(interpose.Append))
		require.NoError(t, c.Set(t.Context(), "k", "3"))
		require.Zero(t, server.count(interpose.Append), "once")
	})
}

// Guard: hearsOthers. A store that has not read the log for long may have been
// forgotten there, and one of the other mode have opened since.
func TestI2AProcessThatWritesToAKeyHasHeardTheLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := newFickle(losing{remote.NewEmbedded(0)})
		s := losingStore(t, server)
		c := view[string](t, s, "docs")
		require.NoError(t, c.Set(t.Context(), "k", "1"))
		synctest.Wait()
		server.count(interpose.Delta)
		time.Sleep(29 * time.Second)
		require.NoError(t, c.Set(t.Context(), "k", "2"))
		require.Zero(t, server.count(interpose.Delta))
		time.Sleep(2 * time.Second)
		require.NoError(t, c.Set(t.Context(), "k", "3"))
		require.Equal(t, 1, server.count(interpose.Delta))
		server.refuse(errUnreachable)
		server.count(interpose.Write, interpose.Delete)
		time.Sleep(31 * time.Second)
		require.ErrorIs(t, c.Set(t.Context(), "k", "4"), tier.ErrUnavailable)
		require.ErrorIs(t, c.Delete(t.Context(), "k"), tier.ErrUnavailable)
		require.Zero(t, server.count(interpose.Write), "nothing was written")
		require.Zero(t, server.count(interpose.Delete), "nor deleted")
		server.work()
	})
}

// Without tracking nothing tells of the flush, and the connection stays: the values of keys that the server goes back
// to are believed until the next heartbeat, but not by reads that ask the log.
func TestI4AFreshReadFindsARollbackWithoutTracking(t *testing.T) {
	srv := valkeytest.Start(t)
	f := serverFleet(t, srv)
	for range 2 {
		f.process(tier.WithoutTracking())
	}
	for i := range 10 {
		key := fmt.Sprint("k", i)
		var views []*tier.Cache[string]
		for _, s := range f.stores {
			views = append(views, view[string](t, s, "docs"))
		}
		require.NoError(t, views[0].Set(t.Context(), key, "1"))
		srv.Do(t, "SAVE")
		require.NoError(t, views[0].Set(t.Context(), key, "2"))
		srv.Do(t, "DEBUG", "RELOAD", "NOSAVE")
		for _, c := range views {
			require.Equal(t, "2", find(t, c, key, is("2"), tier.Fresh()).Value, key)
		}
	}
}
