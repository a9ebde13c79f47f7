package valkeytest

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Cluster is a cluster of servers that this test binary owns. As it was started,
// Replicas[i] replicates Primaries[i].
type Cluster struct {
	Primaries, Replicas []*Server
}

const (
	slots     = 16384
	nodesFile = "nodes.conf"
)

// StartCluster runs n primaries, which share the slots evenly, and as many
// replicas; opts are for all. It returns when every node finds the cluster whole and
// has written down its shards, and the replicas have synchronised. What is written from then on may reach them
// up to a second later: before a primary is killed, [Server.AwaitReplica].
func StartCluster(t testing.TB, n int, opts ...Option) *Cluster {
	t.Helper()
	return startCluster(t, n, true, opts...)
}

func startCluster(t testing.TB, n int, replicated bool, opts ...Option) *Cluster {
	t.Helper()
	opts = append([]Option{
		Config("cluster-enabled", "yes"), Config("cluster-node-timeout", "2000"), Config("repl-diskless-sync-delay", "0"),
		Config("cluster-config-file", nodesFile), Config("cluster-replica-validity-factor", "0"),
		Config("cluster-allow-replica-migration", "no"), // each replica stays with its shard
	}, opts...)
	c := &Cluster{}
	for range n {
		c.Primaries = append(c.Primaries, Start(t, opts...))
		if replicated {
			c.Replicas = append(c.Replicas, Start(t, opts...))
		}
	}
	for i, s := range c.Primaries {
		s.Do(t, "CLUSTER", "ADDSLOTSRANGE", strconv.Itoa(i*slots/n), strconv.Itoa((i+1)*slots/n-1))
		s.Do(t, "CLUSTER", "SET-CONFIG-EPOCH", strconv.Itoa(i+1))
	}
	c.meet(t)
	for i, s := range c.Replicas {
		s.Do(t, "CLUSTER", "REPLICATE", c.Primaries[i].nodeID(t))
	}
	c.AwaitWhole(t)
	for i, s := range c.Replicas {
		s.AwaitReplica(t, c.Primaries[i])
	}
	c.agree(t)
	return c
}

// Nodes are all servers of the cluster.
func (c *Cluster) Nodes() []*Server { return slices.Concat(c.Primaries, c.Replicas) }

// Addrs are those of all nodes, for valkey.ClientOption.InitAddress.
func (c *Cluster) Addrs() []string { return addrs(c.Nodes()) }

func addrs(servers []*Server) (out []string) {
	for _, s := range servers {
		out = append(out, s.Addr)
	}
	return out
}

func (c *Cluster) meet(t testing.TB) {
	t.Helper()
	all := c.Nodes()
	for _, s := range all[1:] {
		host, port, _ := net.SplitHostPort(s.Addr)
		all[0].Do(t, "CLUSTER", "MEET", host, port)
	}
	await(t, "the nodes know each other", func() bool {
		return !slices.ContainsFunc(all, func(s *Server) bool {
			return s.clusterInfo(t, "cluster_known_nodes") != strconv.Itoa(len(all))
		})
	})
}

// agree waits until all nodes have written down that each replica is of the shard of
// its primary. A node that is killed before does not start again ("corrupted cluster
// config file", valkey-io/valkey#774), and no test here asks about that.
func (c *Cluster) agree(t testing.TB) {
	t.Helper()
	await(t, "the nodes agree on the shards", func() bool {
		return !slices.ContainsFunc(c.Nodes(), func(s *Server) bool {
			s.Do(t, "CLUSTER", "SAVECONFIG")
			text, err := os.ReadFile(filepath.Join(s.dir, nodesFile))
			return err != nil || !oneShardEach(string(text))
		})
	})
}

// oneShardEach reports whether a file of nodes gives replicas the shards of their
// primaries, if it tells of shards at all.
func oneShardEach(nodes string) bool {
	shards, primaries := map[string]string{}, map[string]string{}
	for line := range strings.Lines(nodes) {
		if f := strings.Fields(line); len(f) > 3 && f[0] != "vars" {
			_, shard, _ := strings.Cut(f[1], "shard-id=")
			shard, _, _ = strings.Cut(shard, ",")
			shards[f[0]] = shard
			if f[3] != "-" {
				primaries[f[0]] = f[3]
			}
		}
	}
	for replica, primary := range primaries {
		if shards[replica] != shards[primary] {
			return false
		}
	}
	return true
}

// AwaitWhole waits until every node that runs finds all slots served.
func (c *Cluster) AwaitWhole(t testing.TB) {
	t.Helper()
	await(t, "the cluster is whole", func() bool {
		return !slices.ContainsFunc(c.Nodes(), func(s *Server) bool {
			return s.running() && s.clusterInfo(t, "cluster_state") != "ok"
		})
	})
}

// Failover promotes a replica in the orderly way and waits until it is a primary.
func (c *Cluster) Failover(t testing.TB, replica *Server) {
	t.Helper()
	begun := time.Time{}
	await(t, replica.Addr+" takes over", func() bool {
		if time.Since(begun) > 3*time.Second { // a server gives up an attempt that took too long
			replica.Do(t, "CLUSTER", "FAILOVER")
			begun = time.Now()
		}
		return replica.Role(t) == "master"
	})
	c.AwaitWhole(t)
}

// AwaitPromoted waits until a replica has become a primary, by Failover or because
// its primary is gone, and the cluster is whole.
func (c *Cluster) AwaitPromoted(t testing.TB, replica *Server) {
	t.Helper()
	await(t, replica.Addr+" is a primary", func() bool { return replica.Role(t) == "master" })
	c.AwaitWhole(t)
}

// MoveSlot migrates a slot with its keys, as an operator does: clients meet ASK
// and MOVED meanwhile. between, if not nil, is called when half of the keys have
// moved.
func (c *Cluster) MoveSlot(t testing.TB, slot int, from, to *Server, between func()) {
	t.Helper()
	n := strconv.Itoa(slot)
	to.Do(t, "CLUSTER", "SETSLOT", n, "IMPORTING", from.nodeID(t))
	from.Do(t, "CLUSTER", "SETSLOT", n, "MIGRATING", to.nodeID(t))
	keys, err := from.Do(t, "CLUSTER", "GETKEYSINSLOT", n, "1000000").AsStrSlice()
	if err != nil {
		t.Fatal(err)
	}
	host, port, _ := net.SplitHostPort(to.Addr)
	for i, key := range keys {
		if between != nil && i == len(keys)/2 {
			between()
		}
		from.Do(t, "MIGRATE", host, port, key, "0", fmt.Sprint(readyTimeout.Milliseconds()), "REPLACE")
	}
	for _, s := range []*Server{to, from} {
		s.Do(t, "CLUSTER", "SETSLOT", n, "NODE", to.nodeID(t))
	}
}

func (s *Server) nodeID(t testing.TB) string {
	t.Helper()
	id, err := s.Do(t, "CLUSTER", "MYID").ToString()
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func (s *Server) running() bool {
	select {
	case <-s.proc.done:
		return false
	default:
		return true
	}
}
