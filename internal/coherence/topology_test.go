package coherence

import (
	"net"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/internal/faultproxy"
)

// Faults of a primary with a replica. Clients reach the one in charge by proxies
// that are pointed at it, as by a name or an address that moves.
var topologyFaults = []fault{
	{name: "FAILOVER", run: func(w *world) int {
		w.freeze()
		w.failover()
		w.handOver()
		return 1
	}},
	{name: "isolated primary is replaced", run: func(w *world) int {
		w.freeze() // from its clients, first,
		w.replica.AwaitReplica(w.t, w.server)
		w.link.Freeze(faultproxy.ToServer, faultproxy.ToClient) // and from its replica
		w.hold(w.span())
		w.replica.Follow(w.t, "")
		w.handOver()
		return 1
	}},
	{name: "primary lost", run: func(w *world) int {
		w.freeze() // what it acknowledges, its replica has
		w.replica.AwaitReplica(w.t, w.server)
		w.server.Kill()
		w.hold(w.span())
		w.replica.Follow(w.t, "")
		w.server.Restart()
		w.handOver()
		return 1
	}},
	// What the replica lacks is lost with the primary. Each member that knew of a change
	// of docs brings it back; and all cells change with the first that finds another
	// primary.
	{name: "lagging replica promoted", run: func(w *world) int {
		w.board.Excuse()
		w.replica.AwaitReplica(w.t, w.server)
		w.link.Freeze(faultproxy.ToClient)
		w.hold(w.span())
		w.server.Kill()
		w.replica.Follow(w.t, "")
		w.server.Restart()
		w.handOver()
		w.recovered()
		w.board.Forgive(Now())
		return 1
	}},
	// While it lasts, each side believes its own primary, and nothing is decided.
	// From when it is ended, and every member has reached the one that stays,
	// everything is. What sets and deletes did at the other is lost with it.
	{name: "split primary, until it is ended", spares: tracked, run: func(w *world) int {
		w.board.Excuse()
		w.docs((*Subject).Suspend)
		w.cells((*Subject).Suspend)
		w.replica.AwaitReplica(w.t, w.server)
		w.link.Freeze(faultproxy.ToServer, faultproxy.ToClient)
		w.replica.Follow(w.t, "")
		for i, p := range w.proxies { // the others go on with the old one
			if i%2 == 0 {
				p.Retarget(w.replica.Addr)
				p.Cut()
			}
		}
		w.hold(w.span())
		w.recovered()
		w.handOver()
		w.recovered() // every member is there, and has said what it knows
		w.recovered() // and has heard what others said
		w.board.Forgive(Now())
		w.docs((*Subject).Resume)
		w.cells((*Subject).Resume)
		return 1
	}},
}

// freeze has nothing reach the server any more.
func (w *world) freeze() {
	for _, p := range w.proxies {
		p.Freeze(faultproxy.ToServer, faultproxy.ToClient)
	}
}

// failover is the orderly kind.
func (w *world) failover() {
	host, port, err := net.SplitHostPort(w.replica.Addr)
	require.NoError(w.t, err)
	w.do("FAILOVER", "TO", host, port)
	w.until("the replica is in charge", func() bool {
		return w.replica.Role(w.t) == "master" && w.server.Role(w.t) == "slave"
	})
}

// handOver points everything at the former replica, and has the other follow it.
func (w *world) handOver() {
	w.server, w.replica = w.replica, w.server
	for _, p := range w.proxies {
		p.Retarget(w.server.Addr)
		p.Cut()
		p.Heal()
	}
	w.link.Retarget(w.server.Addr)
	w.link.Cut()
	w.link.Heal()
	w.replica.Follow(w.t, w.link.Addr())
	w.replica.AwaitReplica(w.t, w.server)
}

func TestTopologyFaults(t *testing.T) {
	if raceDetector {
		t.Skip("it is run at full speed as well")
	}
	for name, noTracking := range map[string]bool{"with tracking": false, "without tracking": true} {
		t.Run(name, func(t *testing.T) {
			cfg := testConfig()
			cfg.NoTracking = noTracking
			w := newWorld(t, cfg, true)
			w.calm(500_000 / cfg.slowness())
			n := max(1, (rounds(t)+1)/3)
			if noTracking {
				n = 1
			}
			for range n {
				w.round(chosen(topologyFaults))
			}
			w.conclude()
		})
	}
}
