package valkeytest

import (
	"fmt"
	"net"
	"strconv"
	"testing"
)

// Sentinels is a primary, its replica, and three sentinels that watch them.
type Sentinels struct {
	Name             string // of the set, as clients ask for it
	Primary, Replica *Server
	Sentinels        []*Server
}

// sentinelDown is after how many ms of silence a server counts as down.
const sentinelDown = 500

// StartSentinels runs a set that fails over by itself; opts are for its two
// servers. It returns when the sentinels know all of it, and each other.
func StartSentinels(t testing.TB, opts ...Option) *Sentinels {
	t.Helper()
	opts = append([]Option{Config("repl-diskless-sync-delay", "0")}, opts...)
	set := &Sentinels{Name: "valkeytest", Primary: Start(t, opts...)}
	set.Replica = Start(t, append(opts, ReplicaOf(set.Primary.Addr))...)
	set.Replica.AwaitReplica(t, set.Primary)
	host, port, _ := net.SplitHostPort(set.Primary.Addr)
	for range 3 {
		set.Sentinels = append(set.Sentinels, Start(t, Binary(set.Primary.binary), func(s *Server) { s.sentinel = true },
			Config("sentinel", fmt.Sprintf("monitor %s %s %s 2", set.Name, host, port)),
			Config("sentinel", fmt.Sprintf("down-after-milliseconds %s %d", set.Name, sentinelDown)),
			Config("sentinel", fmt.Sprintf("failover-timeout %s 2000", set.Name)),
			Config("sentinel", fmt.Sprintf("parallel-syncs %s 1", set.Name))))
	}
	await(t, "the sentinels know each other and the servers", func() bool {
		for _, s := range set.Sentinels {
			if set.known(t, s, "num-slaves") != 1 || set.known(t, s, "num-other-sentinels") != 2 {
				return false
			}
		}
		return true
	})
	return set
}

// Addrs are the sentinels', for valkey.ClientOption.InitAddress.
func (set *Sentinels) Addrs() []string { return addrs(set.Sentinels) }

// AwaitPrimary waits until all sentinels name the server as the primary, and it
// is.
func (set *Sentinels) AwaitPrimary(t testing.TB, want *Server) {
	t.Helper()
	await(t, want.Addr+" is the primary", func() bool {
		for _, s := range set.Sentinels {
			addr, err := s.Do(t, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", set.Name).AsStrSlice()
			if err != nil || len(addr) != 2 || net.JoinHostPort(addr[0], addr[1]) != want.Addr {
				return false
			}
		}
		return want.Role(t) == "master"
	})
}

// known is a number that a sentinel tells of the set.
func (set *Sentinels) known(t testing.TB, s *Server, field string) int {
	t.Helper()
	m, err := s.Do(t, "SENTINEL", "MASTER", set.Name).AsStrMap()
	if err != nil {
		t.Fatal(err)
	}
	n, _ := strconv.Atoi(m[field])
	return n
}
