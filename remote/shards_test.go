package remote

import (
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/internal/backend"
	"github.com/tiercache/tiercache/internal/changelog"
	"github.com/tiercache/tiercache/internal/mono"
	"github.com/tiercache/tiercache/internal/serverclock"
)

// A connection that ends, or is dialled, takes the proof of its server's keys, and is told as a loss of all keys only if it is that of the
// server which has the log, or of one that is not known.
func TestALostConnectionOfAClusterIsThatOfItsServer(t *testing.T) {
	for name, happens := range map[string]func(*valkeyConn, string){"ended": (*valkeyConn).endedInCluster, "dialled": (*valkeyConn).dialledInCluster} {
		t.Run(name, func(t *testing.T) {
			losses := 0
			c := &valkeyConn{cluster: newLink(nil), log: changelog.LogKey("p"), histories: newHistories(), o: backend.Options{Events: backend.Events{Lost: func() { losses++ }}}}
			c.shards = newShards(c)
			ofLog, other := "0-8191", "8192-16383"
			if backend.SlotOf(c.log) > 8191 {
				ofLog, other = other, ofLog
			}
			probed := func(address, slots string, connection int64, sent mono.Time) {
				c.shards.recordState(address, nodeState{connection: connection, history: address, slots: slots, healthy: true}, serverclock.Reading{Asked: sent})
			}
			probed("log:1", ofLog, 1, mono.Now())
			probed("other:1", other, 1, mono.Now())
			log := c.shards.of(c.log)
			was := c.shards.nodes["other:1"].shard
			sent := mono.Now()

			happens(c, "other:1")
			require.Zero(t, losses)
			require.True(t, was.Gone())
			require.False(t, log.Gone())
			next := c.shards.nodes["other:1"].shard
			require.NotSame(t, was, next)
			probed("other:1", other, 1, sent) // after a restart, numbers of connections come again
			require.True(t, next.Gone(), "it was asked over the connection before")
			probed("other:1", other, 1, mono.Now()+1)
			require.False(t, c.shards.nodes["other:1"].shard.Gone())

			happens(c, "new:1")
			require.Equal(t, 1, losses, "it may be a primary by now")
			happens(c, "log:1")
			require.Equal(t, 2, losses)
			require.True(t, log.Gone())

			probed("log:1", ofLog+" ["+strconv.Itoa(backend.SlotOf(c.log))+"->-x]", 2, mono.Now()+2)
			happens(c, "other:1")
			require.Equal(t, 3, losses, "the log is being moved, perhaps to it")
		})
	}
}
