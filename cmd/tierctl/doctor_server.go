package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
)

func (d *doctor) checkMemory(context.Context) {
	for _, n := range d.all {
		policy := n.info["maxmemory_policy"]
		if n.infoErr != nil || policy == "" {
			continue
		}
		limit, used := n.number("maxmemory"), n.number("used_memory")
		f := finding{Check: "memory", Level: levelWarning, Link: pageMemory}
		if limit == 0 {
			f.Says, f.Do = "maxmemory is not set: the server grows until its machine has no memory left",
				"CONFIG SET maxmemory to what entries and log may take, and maxmemory-policy volatile-lru"
			d.add(f, n)
			continue
		}
		switch policy {
		case "volatile-lru", "volatile-lfu", "volatile-ttl", "volatile-random":
			f.Level, f.Says = levelOK, fmt.Sprintf("policy %s, maxmemory %s", policy, bytesOf(limit))
		case "noeviction":
			f.Says, f.Do = "policy noeviction: when memory is full, loaded values are not stored and Set fails", "CONFIG SET maxmemory-policy volatile-lru"
		case "allkeys-random":
			f.Level, f.Says, f.Do = levelError, "policy allkeys-random evicts the change log as readily as any entry, which makes every entry a miss", "CONFIG SET maxmemory-policy volatile-lru"
		default:
			f.Says, f.Do = "policy "+policy+" may evict the change log, which makes every entry a miss", "CONFIG SET maxmemory-policy volatile-lru"
		}
		d.add(f, n)
		if full := used >= limit/100*95; full && policy == "noeviction" || used >= limit/100*105 {
			d.add(finding{Check: "memory", Level: levelError, Says: fmt.Sprintf("memory is full: %s of %s", bytesOf(used), bytesOf(limit)),
				Do: "raise maxmemory, or free it: tierctl stats says which namespace takes it, tierctl purge frees one", Link: pageTablesOOM}, n)
		}
	}
}

// refusals are what a server says that is in a state in which it performs no writes, and what is to be done.
var refusals = []struct{ code, do, link string }{
	{"OOM ", "raise maxmemory, or free it: tierctl stats says which namespace takes it, tierctl purge frees one; and have it evict: CONFIG SET maxmemory-policy volatile-lru", pageMemory},
	{"MISCONF ", "see its disk and its log, and INFO persistence (rdb_last_bgsave_status, aof_last_write_status); for a cache that need not outlive the server: CONFIG SET stop-writes-on-bgsave-error no, or appendonly no", pageRefused},
	{"NOREPLICAS ", "start its replicas, or lower min-replicas-to-write", pageRefused},
	{"", "see what it says, and its log", pageRefused},
}

// checkWrites has each primary store a key of doctor's own. A right that is missing is another check's.
func (d *doctor) checkWrites(ctx context.Context) {
	refused, performed := false, false
	for _, n := range d.all {
		if n.infoErr != nil && unreachable(n.infoErr) || !n.primary() {
			continue
		}
		key, ok := d.keyAt(ctx, n)
		if !ok {
			continue
		}
		err := d.s.ask1(ctx, n.client, "SET", key, "doctor", "PX", "10000").Error()
		switch {
		case err == nil:
			performed = true
			_ = d.s.ask1(ctx, n.client, "DEL", key).Error()
			continue
		case denied(err):
			continue
		}
		refused = true
		text, _, _ := strings.Cut(err.Error(), "\n")
		f := finding{Check: "writes", Level: levelError, Says: "are refused: " + text + ": nothing is stored, and Set fails"}
		if unreachable(err) {
			f.Says, f.Do, f.Link = "are not answered: "+text, "see whether it was paused (CLIENT PAUSE), or its disk is slow", pageRefused
		} else {
			for _, r := range refusals {
				if strings.HasPrefix(text, r.code) {
					f.Do, f.Link = r.do, r.link
					break
				}
			}
		}
		d.add(f, n)
	}
	if performed && !refused {
		d.ok("writes", "are performed")
	}
}

// keyAt is a name of doctor's own whose slot the server has. ok is false if none was found.
func (d *doctor) keyAt(ctx context.Context, n *node) (key string, ok bool) {
	if key = d.ownKey(); !d.s.isCluster() {
		return key, true
	}
	for range 1000 {
		err := d.s.ask1(ctx, n.client, "EXISTS", key).Error()
		if unreachable(err) {
			return "", false
		}
		if err == nil || denied(err) {
			return key, true
		}
		key = d.ownKey() // MOVED, or CLUSTERDOWN of this slot alone
	}
	return "", false
}

func (d *doctor) checkTable(ctx context.Context) {
	if !d.tracks {
		return
	}
	for _, n := range d.all {
		if n.infoErr != nil {
			continue
		}
		limit, err := d.configNumber(ctx, n, "tracking-table-max-keys")
		tracked := n.number("tracking_total_keys")
		f := finding{Check: "table", Link: pageSizing}
		switch {
		case err != nil:
			f.Level, f.Says, f.Do = levelNote, "the size of the tracking table is not known: "+err.Error(), "grant +config|get, or ask the provider for tracking-table-max-keys"
		case limit == 0:
			f.Says = fmt.Sprintf("the server tracks %d keys, without a bound", tracked)
		case tracked > limit/10*9:
			f.Level, f.Says, f.Do = levelWarning, fmt.Sprintf("the server tracks %d keys of at most %d: beyond it local copies are evicted at random", tracked, limit),
				"CONFIG SET tracking-table-max-keys to more than the distinct keys in all local tiers"
		default:
			f.Says = fmt.Sprintf("the server tracks %d keys of at most %d", tracked, limit)
		}
		d.add(f, n)
	}
}

func (d *doctor) config(ctx context.Context, n *node, name string) (string, error) {
	m, err := d.s.ask1(ctx, n.client, "CONFIG", "GET", name).AsStrMap()
	return m[name], err
}

func (d *doctor) configNumber(ctx context.Context, n *node, name string) (int64, error) {
	v, err := d.config(ctx, n, name)
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(v, 10, 64)
}

// leastBuffer is what a client's output may take before the server hangs up: less than a burst of invalidations and
// answers is a lost connection, which empties local tiers.
const leastBuffer = 8 << 20

func (d *doctor) checkBuffers(ctx context.Context) {
	for _, n := range d.all {
		if n.infoErr != nil {
			continue
		}
		limits, err := d.config(ctx, n, "client-output-buffer-limit")
		if err != nil {
			d.add(finding{Check: "buffers", Level: levelNote, Says: "the output buffer limits are not known: " + err.Error(), Do: "grant +config|get", Link: pageRights}, n)
			return
		}
		small := smallBuffers(limits)
		if len(small) > 0 {
			d.add(finding{Check: "buffers", Level: levelWarning, Says: "client-output-buffer-limit is small: " + strings.Join(small, "; ") +
				": the server hangs up on a store that is sent more at once, whose local copies then have to be proven again",
				Do: "CONFIG SET client-output-buffer-limit 'normal 0 0 0 pubsub 33554432 8388608 60'", Link: pageDoctor}, n)
		} else {
			d.add(finding{Check: "buffers", Says: "output buffers are large enough"}, n)
		}
		if idle, err := d.configNumber(ctx, n, "timeout"); err == nil && idle > 0 && idle < 60 {
			d.add(finding{Check: "buffers", Level: levelWarning, Says: fmt.Sprintf("timeout is %d s: the server hangs up on stores that have been idle", idle),
				Do: "CONFIG SET timeout 0, or more than 60", Link: pageDoctor}, n)
		}
	}
}

// smallBuffers says which limits, of the classes that stores are in, are small.
func smallBuffers(limits string) (small []string) {
	f := strings.Fields(limits)
	for i := 0; i+3 < len(f); i += 4 {
		if f[i] != "normal" && f[i] != "pubsub" {
			continue
		}
		hard, _ := strconv.ParseInt(f[i+1], 10, 64)
		soft, _ := strconv.ParseInt(f[i+2], 10, 64)
		if hard > 0 && hard < leastBuffer {
			small = append(small, fmt.Sprintf("%s %s at once", f[i], bytesOf(hard)))
		} else if soft > 0 && soft < leastBuffer/8 {
			small = append(small, fmt.Sprintf("%s %s for %s s", f[i], bytesOf(soft), f[i+3]))
		}
	}
	return small
}

func (d *doctor) checkLog(ctx context.Context) {
	log, err := d.s.readLog(ctx)
	f := finding{Check: "log", Link: pageFormat}
	switch {
	case err != nil:
		f.Level, f.Says, f.Do = levelError, err.Error(), "mend what was found above, and call doctor again"
	case log.Incarnation == 0 && log.Scopes == 0:
		f.Level, f.Says = levelNote, fmt.Sprintf("there is no change log of prefix %q yet: the first store makes it", d.s.prefix)
	case log.Incarnation == 0 || len(log.Foreign) > 0:
		f.Level, f.Says, f.Do = levelError, "the change log holds members that no store writes: every entry is a miss until a store has renewed it",
			"find the program that writes to "+d.s.logKey()
	case log.Least > readersFormat:
		f.Level, f.Says = levelWarning, fmt.Sprintf("the change log is of format %d, which this tierctl does not know", log.Newest)
	case log.Scopes > d.logBound()/10*9:
		f.Level, f.Says, f.Do = levelWarning, fmt.Sprintf("the change log holds %d scopes of at most %d: the oldest are forgotten, and entries that are older are loaded again", log.Scopes, d.logBound()),
			"name fewer distinct sources, shorten WithMaxTTL, or raise maxmemory"
		f.Link = pageTablesOOM
	default:
		f.Says = fmt.Sprintf("%s, latest change %s", plural(int(log.Scopes), "scope"), timeOf(log.Tick).Format(timeFormat))
	}
	d.add(f)
}

// logBound is the most scopes that the log has: R13 in docs/rules.md.
func (d *doctor) logBound() int64 {
	bound := int64(1_000_000)
	for _, n := range d.all {
		if limit := n.number("maxmemory"); limit > 0 && n.primary() {
			bound = min(bound, max(10_000, limit/512))
		}
	}
	return bound
}
