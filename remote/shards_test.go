package remote

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/internal/backend"
	"github.com/tiercache/tiercache/internal/changelog"
	"github.com/tiercache/tiercache/internal/mono"
	"github.com/tiercache/tiercache/internal/serverclock"
)

// shardsOfTwo are those of two servers, whose events are counted, and a function that says what one of them has answered.
func shardsOfTwo() (c *valkeyConn, moves *int, probed func(address, slots string, epoch, connection int64, sent mono.Time)) {
	moves = new(int)
	c = &valkeyConn{cluster: newLink(nil), log: changelog.LogKey("p"), histories: newHistories(),
		o: backend.Options{Events: backend.Events{Moved: func() { *moves++ }}}} // a loss of all keys would be a panic
	c.shards = newShards(c)
	probed = func(address, slots string, epoch, connection int64, sent mono.Time) {
		c.shards.recordState(address, nodeState{connection: connection, history: address, epoch: epoch, slots: slots, healthy: true}, serverclock.Reading{Asked: sent}, true)
	}
	probed("a:1", "0-8191", 1, 1, mono.Now())
	probed("b:1", "8192-16383", 2, 1, mono.Now())
	return c, moves, probed
}

// A connection that ends, or is dialled, takes the proof of its server's keys, and of no other's, whichever server has the log. When one is
// dialled, it is told that another server may answer.
func TestALostConnectionOfAClusterIsThatOfItsServer(t *testing.T) {
	for name, happens := range map[string]func(*valkeyConn, string){"ended": (*valkeyConn).endedInCluster, "dialled": (*valkeyConn).dialledInCluster} {
		t.Run(name, func(t *testing.T) {
			tells := 0
			if name == "dialled" {
				tells = 1
			}
			for _, lost := range []struct {
				address, slots  string
				slot, elsewhere int
			}{{"a:1", "0-8191", 0, 16383}, {"b:1", "8192-16383", 16383, 0}} {
				c, moves, probed := shardsOfTwo()
				of := func(slot int) *backend.Shard { return c.shards.bySlot.Load()[slot] }
				was, elsewhere, sent := of(lost.slot), of(lost.elsewhere), mono.Now()
				happens(c, lost.address)
				require.Equal(t, tells, *moves)
				require.True(t, was.Gone())
				require.False(t, elsewhere.Gone())
				require.Same(t, elsewhere, of(lost.elsewhere))
				next := of(lost.slot)
				require.NotSame(t, was, next)
				probed(lost.address, lost.slots, 1, 1, sent) // after a restart, numbers of connections come again
				require.True(t, next.Gone(), "it was asked over the connection before")
				probed(lost.address, lost.slots, 1, 1, mono.Now()+1)
				require.False(t, next.Gone())

				happens(c, "new:1")
				require.Equal(t, 2*tells, *moves, "it may answer for any of the keys")
				require.False(t, next.Gone())
				require.False(t, elsewhere.Gone())
			}
		})
	}
}

// A slot that another server has by now, or that is being moved, ends the shard that it was of. The server's other shards go on, and so do
// those of the server that has it now.
func TestAMovedSlotEndsNoOtherShard(t *testing.T) {
	const slot = 8191
	for name, move := range map[string]func(probed func(address, slots string, epoch, connection int64, sent mono.Time)){
		"told by the server that had it": func(probed func(string, string, int64, int64, mono.Time)) { probed("a:1", "0-8190", 1, 1, mono.Now()) },
		"being moved": func(probed func(string, string, int64, int64, mono.Time)) {
			probed("a:1", fmt.Sprintf("0-8191 [%d->-b]", slot), 1, 1, mono.Now())
		},
		"told by the server that has it": func(probed func(string, string, int64, int64, mono.Time)) {
			probed("b:1", "8191-16383", 3, 1, mono.Now())
		},
	} {
		t.Run(name, func(t *testing.T) {
			c, moves, probed := shardsOfTwo()
			before := *c.shards.bySlot.Load()
			move(probed)
			require.Zero(t, *moves, "what is answered for the slot is of its shard")
			after := *c.shards.bySlot.Load()
			for i := range before {
				if i/backend.SlotsTogether == slot/backend.SlotsTogether {
					require.True(t, before[i].Gone(), i)
					require.NotSame(t, before[i], after[i], i)
				} else {
					require.False(t, before[i].Gone(), i)
					require.Same(t, before[i], after[i], i)
				}
			}
		})
	}
}
