package tier_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/valkey-io/valkey-go"

	"github.com/tiercache/tiercache/internal/valkeytest"
	"github.com/tiercache/tiercache/remote"
	"github.com/tiercache/tiercache/tier"
)

// primaryOf returns the number of the primary that has a remote key.
func primaryOf(t *testing.T, c *valkeytest.Cluster, name string) int {
	slot, err := c.Primaries[0].Do(t, "CLUSTER", "KEYSLOT", name).AsInt64()
	require.NoError(t, err)
	return int(slot) * len(c.Primaries) / 16384
}

// Guard: the shard's proof in Store.isValid.
//
//	B:           holds k and l, of which k is on a server that does not have the log
//	that server: falls silent; another store may change k where B does not hear it
//	B:           the log answers, and so does the server of l
func TestI2ACopyIsServedOnlyWhileItsServerProvesItself(t *testing.T) {
	t.Parallel()
	c := valkeytest.StartCluster(t, 3, valkeytest.Config("cluster-node-timeout", "60000"))
	const bound = 300 * time.Millisecond
	s, err := tier.Open(bg, tier.WithValkeyClient(valkey.ClientOption{InitAddress: c.Addrs()}), tier.WithPrefix("p"),
		tier.WithMaxStaleness(bound), tier.WithHeartbeat(20*time.Millisecond), tier.WithRemoteTimeout(time.Second))
	require.NoError(t, err)
	defer s.Close()
	values, err := tier.New[int](s, "n")
	require.NoError(t, err)
	load := func(context.Context, *tier.Entry) (int, error) { return 1, nil }
	log := primaryOf(t, c, "p:{p}:log")
	keys := make(map[int]string) // by primary
	for i := 0; len(keys) < len(c.Primaries); i++ {
		key := fmt.Sprint(i)
		e, err := values.Explain(bg, key)
		require.NoError(t, err)
		keys[primaryOf(t, c, e.RemoteKey)] = key
	}
	local := func(key string) bool {
		r, err := values.Lookup(bg, key, load)
		require.NoError(t, err)
		return r.Origin == tier.Local
	}
	for _, key := range keys {
		within(t, "a copy is here", func() bool { return local(key) })
	}
	filled(t, s, int64(len(keys))) // else a copy may be there provisionally
	silent := (log + 1) % len(c.Primaries)
	c.Primaries[silent].Pause()
	defer c.Primaries[silent].Resume()
	paused := time.Now()
	within(t, "copies of the silent server are not served", func() bool {
		late, served := time.Since(paused) > 3*bound/2, local(keys[silent])
		require.False(t, late && served, "nor is it waited for until the connection is given up")
		return !served
	})
	within(t, "that is told as the reason, unless its connection was given up", func() bool { // and the log is read in time
		e, _ := values.Explain(bg, keys[silent])
		return !e.Local.Present || strings.Contains(e.Local.Why, "has not answered")
	})
	within(t, "others are", func() bool { return local(keys[log]) && local(keys[(log+2)%len(c.Primaries)]) })
	ctx, cancel := context.WithTimeout(bg, bound)
	defer cancel()
	require.Error(t, s.Sync(ctx), "nor is all that was acknowledged known")
	c.Primaries[silent].Resume()
	within(t, "it answers again", func() bool { return s.Sync(bg) == nil && local(keys[silent]) })
}

// Guard: Unread in a cluster (loadRun.keepProvisionally).
//
//	B:    is given the lease of k, which is missing, by the server of its slot
//	slot: moves, and B has never read from the new owner
//	B:    stores k; that has an echo only if the write reads k itself
//	A:    sets k
func TestI2AFillAfterItsSlotHasMoved(t *testing.T) {
	t.Parallel()
	c := valkeytest.StartCluster(t, 3)
	option := valkey.ClientOption{InitAddress: c.Addrs()}
	w := &world{t, remote.Valkey(option), "p", clusterRaw{t, c, option}}
	a, _ := w.open()
	b, _ := w.open(quiet...) // it does not find out that the slot has moved
	ca, cb := cacheOf[int64](t, a), cacheOf[int64](t, b)
	fail := func(context.Context, *tier.Entry) (int64, error) { return 0, errors.New("there is a value") }
	// Several times, since B may know the slot's new owner by chance, and then reads
	// the key for that reason.
	for i := range 8 {
		key := fmt.Sprint("k", i)
		e, err := cb.Explain(bg, key)
		require.NoError(t, err)
		from := primaryOf(t, c, e.RemoteKey)
		slot, err := c.Primaries[0].Do(t, "CLUSTER", "KEYSLOT", e.RemoteKey).AsInt64()
		require.NoError(t, err)
		require.Equal(t, int64(1), find(t, cb, key, func(context.Context, *tier.Entry) (int64, error) {
			c.MoveSlot(t, int(slot), c.Primaries[from], c.Primaries[(from+1)%3], nil)
			return 1, nil
		}).Value)
		within(t, "B holds it", func() bool {
			r, err := cb.Lookup(bg, key, func(context.Context, *tier.Entry) (int64, error) { return 1, nil })
			return err == nil && r.Origin == tier.Local
		})
		require.NoError(t, ca.Set(bg, key, 2))
		within(t, "B learns of it", func() bool { return find(t, cb, key, fail).Value == 2 })
	}
}

// I8: each server of a cluster has a breaker of its own.
func TestI8OneSilentServerCostsTheOthersNothing(t *testing.T) {
	t.Parallel()
	c := valkeytest.StartCluster(t, 3, valkeytest.Config("cluster-node-timeout", "60000"))
	s, err := tier.Open(bg, tier.WithValkeyClient(valkey.ClientOption{InitAddress: c.Addrs()}), tier.WithPrefix("p"),
		tier.WithMaxStaleness(200*time.Millisecond), tier.WithHeartbeat(20*time.Millisecond), tier.WithRemoteTimeout(3*time.Second))
	require.NoError(t, err)
	defer s.Close()
	values, err := tier.New[int](s, "n")
	require.NoError(t, err)
	load := func(context.Context, *tier.Entry) (int, error) { return 1, nil }
	silent := (primaryOf(t, c, "p:{p}:log") + 1) % len(c.Primaries)
	here, there := make([]string, 0, 100), make([]string, 0, 100)
	for i := 0; len(here) < 100 || len(there) < 100; i++ {
		key := fmt.Sprint(i)
		if primaryOf(t, c, tier.RemoteName(values, key)) == silent {
			there = append(there, key)
		} else {
			here = append(here, key)
		}
	}
	for _, key := range here[:20] {
		require.NoError(t, values.Set(bg, key, 2))
	}
	c.Primaries[silent].Pause()
	defer c.Primaries[silent].Resume()
	within(t, "requests to it are refused", func() bool {
		_, err := values.Get(bg, there[0], load)
		require.NoError(t, err)
		return !s.Stats().AwaySince.IsZero()
	})
	before := s.Stats().RemoteErrors
	for _, key := range here[:20] {
		v, err := values.Get(bg, key, load, tier.NoLocal())
		require.NoError(t, err)
		require.Equal(t, 2, v, "others are asked")
	}
	require.Equal(t, before, s.Stats().RemoteErrors)
	require.ErrorIs(t, values.Set(bg, there[0], 3), tier.ErrUnavailable)
	found, err := values.GetMany(bg, append([]string{there[1], there[2]}, here[:20]...), func(_ context.Context, keys []string, _ tier.Entries) (map[string]int, error) {
		require.ElementsMatch(t, []string{there[1], there[2]}, keys, "and of many only what it has is loaded")
		return map[string]int{there[1]: 1, there[2]: 1}, nil
	}, tier.NoLocal())
	require.NoError(t, err)
	require.Len(t, found, 22)
	c.Primaries[silent].Resume()
	within(t, "it is asked again", func() bool {
		return s.Stats().AwaySince.IsZero() && values.Set(bg, there[0], 3) == nil
	})
}

// Guard: a Sync ends the outage of every server (breaker.Conn.Prove).
//
//	the server of k: falls silent; A loads k and keeps it for the outage
//	the server of k: answers again, and A has not probed it yet
//	B: Set(k, 2)
//	A: Sync
func TestI3AfterASyncNothingIsServedThatWasKeptForAnOutage(t *testing.T) {
	t.Parallel()
	c := valkeytest.StartCluster(t, 3, valkeytest.Config("cluster-node-timeout", "60000"))
	w := &world{t, remote.Valkey(valkey.ClientOption{InitAddress: c.Addrs()}), "p", nil}
	a, _ := w.open(tier.WithRemoteTimeout(3 * time.Second))
	b, _ := w.open(tier.WithRemoteTimeout(10 * time.Second))
	ca, cb := cacheOf[int64](t, a, tier.WithOutageTTL(time.Minute)), cacheOf[int64](t, b)
	load := func(context.Context, *tier.Entry) (int64, error) { return 1, nil }
	key, silent := "", (primaryOf(t, c, "p:{p}:log")+1)%len(c.Primaries)
	for i := 0; key == "" || primaryOf(t, c, tier.RemoteName(ca, key)) != silent; i++ {
		key = fmt.Sprint(i)
	}
	c.Primaries[silent].Pause()
	defer c.Primaries[silent].Resume()
	within(t, "A keeps it for the outage", func() bool { return find(t, ca, key, load).Outage })
	c.Primaries[silent].Resume()
	require.NoError(t, cb.Set(bg, key, 2))
	require.NoError(t, a.Sync(bg))
	require.Equal(t, int64(2), find(t, ca, key, load).Value)
}

// A server that was replaced while it was away is forgotten.
func TestI8AReplacedServerIsNotAwayForEver(t *testing.T) {
	t.Parallel()
	c := valkeytest.StartCluster(t, 3, valkeytest.Config("cluster-node-timeout", "1000"))
	s, err := tier.Open(bg, tier.WithValkeyClient(valkey.ClientOption{InitAddress: c.Addrs()}), tier.WithPrefix("p"))
	require.NoError(t, err)
	defer s.Close()
	values, err := tier.New[int](s, "n")
	require.NoError(t, err)
	for _, log := range []bool{false, true} {
		gone := primaryOf(t, c, "p:{p}:log")
		if !log {
			gone = (gone + 1) % len(c.Primaries)
		}
		key := ""
		for i := 0; key == ""; i++ {
			if k := fmt.Sprint(i); primaryOf(t, c, tier.RemoteName(values, k)) == gone {
				key = k
			}
		}
		within(t, "it works", func() bool { return values.Set(bg, key, 1) == nil })
		c.Primaries[gone].Kill()
		within(t, "it is away", func() bool {
			_, err := values.Get(bg, key, func(context.Context, *tier.Entry) (int, error) { return 1, nil }, tier.NoLocal())
			require.NoError(t, err)
			return !s.Stats().AwaySince.IsZero()
		})
		require.Eventually(t, func() bool {
			return values.Set(bg, key, 2) == nil && s.Stats().AwaySince.IsZero()
		}, time.Minute, 10*time.Millisecond, "its replica is asked, and none is away")
		c.Primaries[gone].Restart()
		c.Primaries[gone].AwaitReplica(t, c.Replicas[gone])
	}
	// While a replica takes over some answer and some do not: 3 to 21 openings.
	require.Less(t, tier.Openings(s), int64(60), "breakers do not open and close all the time")
}
