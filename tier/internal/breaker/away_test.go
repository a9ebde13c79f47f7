package breaker

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/internal/backend"
)

// sharded has a quarter of the slots on one server, and the others on another.
type sharded struct {
	backend.Conn
	a, b *backend.Shard
}

func (s sharded) Shard(key string) *backend.Shard {
	if backend.SlotOf(key) < backend.Slots/4 {
		return s.a
	}
	return s.b
}

func TestTheServersThatAreAwayAreNamedWithTheirShareOfTheKeys(t *testing.T) {
	conn := sharded{a: &backend.Shard{Addr: "10.0.0.1:6379"}, b: &backend.Shard{Addr: "10.0.0.2:6379"}}
	g := NewConn(conn, time.Second, time.Second, func(*Outage) {}, func(*Outage) {})
	require.Empty(t, g.Away(), "one server")
	g.Sharded.Store(true)
	require.Empty(t, g.Away())
	for _, shard := range []*backend.Shard{conn.a, {Addr: "10.0.0.3:6379"}} { // the third has no keys any more
		b := g.ofShard(shard, "x")
		b.unanswered(b.loadState(), errors.New("silence"))
		b.unanswered(b.loadState(), errors.New("silence"))
	}
	away := g.Away()
	require.Len(t, away, 1)
	require.Equal(t, "10.0.0.1:6379", away[0].Server)
	require.InDelta(t, 0.25, away[0].Share, 1e-9)
	require.Contains(t, away[0].String(), "the server 10.0.0.1:6379, which has about 25% of the keys, is away since")
	require.Contains(t, away[0].String(), "silence")
	g.Server.unanswered(g.Server.loadState(), errors.New("silence"))
	g.ofShard(conn.b, "y").answered()
	closed, suspect, open := g.States()
	require.Equal(t, [3]int{1, 1, 2}, [3]int{closed, suspect, open}, "of b; of the log; of those that are away")
}
