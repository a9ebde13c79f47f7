package remote

import (
	"context"
	"strconv"
	"strings"
)

// Info implements [Conn]. What an ACL or a provider withholds is named in
// Info.Unknown; only an unreachable server is an error.
func (c *valkeyConn) Info(ctx context.Context) (Info, error) {
	text, err := c.plain.Do(ctx, c.plain.B().Arbitrary("INFO", "server", "memory", "stats").Build()).ToString()
	if err != nil && Unreachable(err) {
		return Info{}, failure(err)
	}
	if err != nil {
		return Info{Unknown: "INFO: " + err.Error()}, nil
	}
	fields := make(map[string]string)
	for line := range strings.SplitSeq(text, "\r\n") {
		if k, v, ok := strings.Cut(line, ":"); ok {
			fields[k] = v
		}
	}
	number := func(name string) int64 {
		n, _ := strconv.ParseInt(fields[name], 10, 64) // absent is 0
		return n
	}
	i := Info{
		Server:      serverName(fields),
		Policy:      fields["maxmemory_policy"],
		MaxMemory:   number("maxmemory"),
		UsedMemory:  number("used_memory"),
		TrackedKeys: number("tracking_total_keys"),
	}
	limit, err := c.plain.Do(ctx, c.plain.B().Arbitrary("CONFIG", "GET", "tracking-table-max-keys").Build()).AsStrMap()
	if err != nil {
		i.Unknown = "size of the tracking table: " + err.Error()
		return i, nil
	}
	i.TrackedMax, _ = strconv.ParseInt(limit["tracking-table-max-keys"], 10, 64)
	return i, nil
}

func serverName(fields map[string]string) string {
	if v := fields["valkey_version"]; v != "" {
		return "valkey " + v
	}
	return "redis " + fields["redis_version"]
}
