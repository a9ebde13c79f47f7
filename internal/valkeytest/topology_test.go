package valkeytest

import (
	"crypto/tls"
	"strings"
	"testing"
)

func TestAReplicaFollowsAndCanBePromoted(t *testing.T) {
	primary := Start(t, Config("repl-diskless-sync-delay", "0"))
	primary.Do(t, "SET", "k", "v")
	replica := Start(t, ReplicaOf(primary.Addr))
	replica.AwaitReplica(t, primary)
	if v, err := replica.Do(t, "GET", "k").ToString(); err != nil || v != "v" || replica.Role(t) != "slave" {
		t.Fatalf("the replica has %q (%v)", v, err)
	}
	replica.Follow(t, "")
	replica.Do(t, "SET", "k", "w")
	primary.Follow(t, replica.Addr)
	primary.AwaitReplica(t, replica)
	if v, err := primary.Do(t, "GET", "k").ToString(); err != nil || v != "w" {
		t.Fatalf("the former primary has %q (%v)", v, err)
	}
}

func TestSentinelsPromoteTheReplicaOfADeadPrimary(t *testing.T) {
	set := StartSentinels(t)
	set.AwaitPrimary(t, set.Primary)
	set.Primary.Kill()
	set.AwaitPrimary(t, set.Replica)
	set.Replica.Do(t, "SET", "k", "v")
}

func TestAClusterServesFailsOverAndMovesSlots(t *testing.T) {
	c := StartCluster(t, 3)
	// The slots of these are in the first, second and third part.
	keys := map[string]*Server{"{b}x": c.Primaries[0], "{c}x": c.Primaries[1], "{a}x": c.Primaries[2]}
	for key, s := range keys {
		s.Do(t, "SET", key, "v")
	}
	c.Failover(t, c.Replicas[0])
	if v, err := c.Replicas[0].Do(t, "GET", "{b}x").ToString(); err != nil || v != "v" {
		t.Fatalf("after the failover there is %q (%v)", v, err)
	}
	// A primary streams to a new replica from the first acknowledgement it gets after the copy is sent, which may be the
	// one a second later: until then it would take with it what it was told.
	c.Replicas[1].AwaitReplica(t, c.Primaries[1])
	c.Primaries[1].Kill()
	c.AwaitPromoted(t, c.Replicas[1])
	if v, err := c.Replicas[1].Do(t, "GET", "{c}x").ToString(); err != nil || v != "v" {
		t.Fatalf("after the death of a primary there is %q (%v)", v, err)
	}
	slot, err := c.Primaries[2].Do(t, "CLUSTER", "KEYSLOT", "{a}x").ToInt64()
	if err != nil {
		t.Fatal(err)
	}
	halves := 0
	c.MoveSlot(t, int(slot), c.Primaries[2], c.Replicas[0], func() { halves++ })
	if v, err := c.Replicas[0].Do(t, "GET", "{a}x").ToString(); err != nil || v != "v" || halves != 1 {
		t.Fatalf("after the move there is %q (%v)", v, err)
	}
}

func TestTheShardsOfAFileOfNodes(t *testing.T) {
	const primary = "p1 127.0.0.1:1@2,,tls-port=0,shard-id=a master - 0 0 1 connected 0-16383\n"
	for nodes, want := range map[string]bool{
		primary + "r1 127.0.0.1:3@4,,tls-port=0,shard-id=a myself,slave p1 0 0 1 connected\nvars currentEpoch 1 lastVoteEpoch 0\n": true,
		"r1 127.0.0.1:3@4,,shard-id=b,tls-port=0 slave p1 0 0 1 connected\n" + primary:                                             false,
		"p1 127.0.0.1:1@2 master - 0 0 1 connected\nr1 127.0.0.1:3@4 slave p1 0 0 1 connected\n":                                   true, // before 7.2
	} {
		if oneShardEach(nodes) != want {
			t.Error(nodes)
		}
	}
}

func TestATLSServerIsTrustedByItsOwnAuthorityAlone(t *testing.T) {
	s := Start(t, TLS(), Config("requirepass", "secret"))
	s.Do(t, "SET", "k", "v")
	if !strings.HasPrefix(s.URL(), "valkeys://:secret@") {
		t.Error(s.URL())
	}
	if c, err := tls.Dial("tcp", s.Addr, s.TLSConfig()); err != nil {
		t.Error(err)
	} else {
		c.Close()
	}
	if c, err := tls.Dial("tcp", s.Addr, &tls.Config{}); err == nil {
		c.Close()
		t.Error("a client that does not know the authority trusts it")
	}
	s.Restart()
	s.Do(t, "SET", "k", "v")
}
