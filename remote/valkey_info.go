package remote

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/valkey-io/valkey-go"

	"github.com/tiercache/tiercache/internal/backend"
	"github.com/tiercache/tiercache/internal/changelog"
	"github.com/tiercache/tiercache/internal/remoteerr"
)

// Info implements [backend.Server]. What an ACL or a provider withholds is named in
// Info.Unknown; only an unreachable server is an error. Of a cluster it is the
// sum of its primaries, and the fullest of their tracking tables.
func (c *valkeyConn) Info(ctx context.Context) (backend.Info, error) {
	servers, err := c.primaries(ctx)
	if err != nil {
		return backend.Info{}, failure(err)
	}
	var all backend.Info
	most := int64(changelog.MaxScopes)
	for i, s := range servers {
		one, err := infoOf(ctx, s)
		if err != nil {
			return backend.Info{}, err
		}
		one.Fullest.Server = s.address
		all.Fullest = backend.Fuller(all.Fullest, one.Fullest)
		most = min(most, changelog.MostScopes(one.MaxMemory)) // whichever has the log, all have the same as a rule
		if i == 0 {
			all = one // and so is Fullest
			continue
		}
		all.MaxMemory += one.MaxMemory
		all.UsedMemory += one.UsedMemory
		if one.TrackedKeys*max(all.TrackedMax, 1) > all.TrackedKeys*max(one.TrackedMax, 1) {
			all.TrackedKeys, all.TrackedMax = one.TrackedKeys, one.TrackedMax
		}
		if all.Unknown == "" {
			all.Unknown = one.Unknown
		}
		if !slices.Contains(strings.Split(all.Policy, ", "), one.Policy) {
			all.Policy += ", " + one.Policy
		}
	}
	if len(servers) > 1 {
		all.Server += fmt.Sprintf(", %d primaries", len(servers))
	}
	b := newBatch()
	b.add("ZCOUNT", c.log, "0", "+inf")
	if all.LogScopes, err = runOne(ctx, c.plain, b).number(); err != nil && all.Unknown == "" {
		all.Unknown = "size of the change log: " + err.Error()
	}
	all.LogMost = most
	return all, nil
}

func infoOf(ctx context.Context, client valkey.Client) (backend.Info, error) {
	text, err := client.Do(ctx, client.B().Arbitrary("INFO", "server", "memory", "stats").Build()).ToString()
	if err != nil && remoteerr.Unreachable(err) {
		return backend.Info{}, failure(err)
	}
	if err != nil {
		return backend.Info{Unknown: "INFO: " + err.Error()}, nil
	}
	fields := fieldsOf(text)
	number := func(name string) int64 {
		n, _ := strconv.ParseInt(fields[name], 10, 64) // absent is 0
		return n
	}
	i := backend.Info{
		Server:      serverName(fields),
		Policy:      fields["maxmemory_policy"],
		MaxMemory:   number("maxmemory"),
		UsedMemory:  number("used_memory"),
		TrackedKeys: number("tracking_total_keys"),
	}
	i.Fullest = backend.Memory{Policy: i.Policy, Max: i.MaxMemory, Counted: i.UsedMemory - number("mem_not_counted_for_evict"),
		Exceeded: number("current_eviction_exceeded_time") > 0}
	limit, err := client.Do(ctx, client.B().Arbitrary("CONFIG", "GET", "tracking-table-max-keys").Build()).AsStrMap()
	if err != nil {
		i.Unknown = "size of the tracking table: " + err.Error()
		return i, nil
	}
	i.TrackedMax, _ = strconv.ParseInt(limit["tracking-table-max-keys"], 10, 64)
	return i, nil
}

// fieldsOf reads the answer to INFO.
func fieldsOf(text string) map[string]string {
	fields := make(map[string]string)
	for line := range strings.SplitSeq(text, "\r\n") {
		if k, v, ok := strings.Cut(line, ":"); ok {
			fields[k] = v
		}
	}
	return fields
}

// Trackers implements [backend.Server].
func (c *valkeyConn) Trackers(ctx context.Context) (int64, error) {
	servers := []primaryClient{{"", c.plain}}
	if c.sharded() {
		servers = c.shards.primaries(c.plain.Nodes())
	}
	for _, s := range servers {
		if c.sharded() && s.address != c.shards.of(c.log).Addr {
			continue
		}
		text, err := s.Do(ctx, s.B().Arbitrary("INFO", "clients").Build()).ToString()
		if err != nil {
			return 0, failure(err)
		}
		n, _ := strconv.ParseInt(fieldsOf(text)["tracking_clients"], 10, 64) // absent is 0
		return n, nil
	}
	return 0, nil
}

func serverName(fields map[string]string) string {
	if v := fields["valkey_version"]; v != "" {
		return "valkey " + v
	}
	return "redis " + fields["redis_version"]
}
