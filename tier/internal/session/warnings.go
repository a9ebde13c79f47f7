package session

import (
	"fmt"

	"github.com/tiercache/tiercache/internal/backend"
)

// Warnings says which conditions of the server cost hits or hide changes, in plain words.
func Warnings(info *backend.Info) (out []string) {
	if info.Unknown != "" {
		out = append(out, "not known: "+info.Unknown)
	}
	out = append(out, policyWarnings(info)...)
	if info.TrackedMax > 0 && info.TrackedKeys > info.TrackedMax*9/10 {
		out = append(out, fmt.Sprintf("the server tracks %d keys of at most %d (tracking-table-max-keys): beyond it, local copies are evicted at random",
			info.TrackedKeys, info.TrackedMax))
	}
	if info.LogScopes >= info.LogMost*9/10 && info.LogMost > 0 {
		out = append(out, fmt.Sprintf("the change log holds %d scopes of at most %d: the oldest are forgotten, and entries that are older than those are loaded again; name fewer distinct sources, shorten WithMaxTTL or raise maxmemory",
			info.LogScopes, info.LogMost))
	}
	return out
}

// policyWarnings says which maxmemory policies hurt, and how. None of them makes
// a read wrong: a lost change log costs every entry, never a stale hit.
func policyWarnings(info *backend.Info) (out []string) {
	if info.Policy == "" || info.Server == "embedded" {
		return nil
	}
	if info.MaxMemory == 0 {
		return []string{"maxmemory is not set: the server grows until the machine has no memory left"}
	}
	if m := info.Fullest; m.Full() {
		where := ""
		if m.Server != "" {
			where = " at " + m.Server
		}
		out = append(out, fmt.Sprintf("memory is full%s (%d bytes of maxmemory %d): loaded values are not stored, and Set fails with remote.ErrFull; raise maxmemory, or InvalidateAll and Purge",
			where, m.Counted, m.Max))
	}
	switch info.Policy {
	case "allkeys-random":
		out = append(out, "maxmemory-policy allkeys-random evicts the change log as readily as any entry, which makes every entry unbelievable; prefer volatile-lru or volatile-lfu")
	case "allkeys-lru", "allkeys-lfu":
		out = append(out, "maxmemory-policy "+info.Policy+" can evict the change log, which makes every entry unbelievable; volatile-lru and volatile-lfu evict entries only")
	case "noeviction":
		out = append(out, "maxmemory-policy noeviction refuses to store when memory is full: loaded values are then returned but not cached; prefer volatile-lru or volatile-lfu")
	}
	return out
}
