package breaker

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/tiercache/tiercache/internal/backend"
)

// Away is a server of a cluster that is away.
type Away struct {
	Server string // its address; empty: of keys of which no server is known
	Share  float64
	Since  time.Time
	Cause  error
}

func (a Away) String() string {
	if a.Server == "" {
		if a.Share > 0.995 {
			return fmt.Sprintf("no server is known, since %s: %v", a.Since.Format(time.TimeOnly), a.Cause)
		}
		return fmt.Sprintf("no server is known that has about %.0f%% of the keys, since %s: %v", 100*a.Share, a.Since.Format(time.TimeOnly), a.Cause)
	}
	return fmt.Sprintf("the server %s, which has about %.0f%% of the keys, is away since %s: %v", a.Server, 100*a.Share, a.Since.Format(time.TimeOnly), a.Cause)
}

// Away returns the servers of a cluster that are away; nil where there is one server.
func (g *Conn) Away() (out []Away) {
	if !g.Sharded.Load() {
		return nil
	}
	g.shards.Range(func(address, b any) bool {
		if o := b.(*Breaker).Current.Load(); o != nil {
			out = append(out, Away{Server: address.(string), Since: o.Since, Cause: o.Cause})
		}
		return true
	})
	if len(out) == 0 {
		return nil
	}
	// Each slot has one server, which may be asked for by one key of it.
	slots := make(map[string]int)
	for _, key := range slotKeys() {
		slots[g.Shard(key).Address()]++
	}
	// guard: away-server-has-keys
	out = slices.DeleteFunc(out, func(a Away) bool { return slots[a.Server] == 0 })
	for i := range out {
		out[i].Share = float64(slots[out[i].Server]) / backend.Slots
	}
	slices.SortFunc(out, func(a, b Away) int { return strings.Compare(a.Server, b.Server) })
	return out
}

// slotKeys returns a key of each slot.
var slotKeys = sync.OnceValue(func() []string {
	keys := make([]string, backend.Slots)
	for n, left := 0, backend.Slots; left > 0; n++ {
		key := strconv.Itoa(n)
		if slot := backend.SlotOf(key); keys[slot] == "" {
			keys[slot] = key
			left--
		}
	}
	return keys
})
