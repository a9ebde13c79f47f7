package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/valkey-io/valkey-go"
)

func (d *doctor) checkVersion(context.Context) {
	for _, n := range d.all {
		if n.infoErr != nil {
			f := finding{Check: "version", Level: levelWarning, Says: "INFO is refused: " + n.infoErr.Error(),
				Do: "grant +info: without it a store does not open, and doctor sees little", Link: pageRights}
			if unreachable(n.infoErr) {
				f.Level, f.Says, f.Do, f.Link = levelError, "does not answer: "+n.infoErr.Error(), "start it, or take it out of the cluster", pageAway
			}
			d.add(f, n)
			continue
		}
		version := versionOf(n.info)
		f := finding{Check: "version", Says: version, Link: pageVersions}
		kind, number, _ := strings.Cut(version, " ")
		major, minor := numbersOf(number)
		switch {
		case kind == "valkey" && major >= 8:
		case kind == "redis" && major == 8:
			f.Level, f.Says = levelNote, version+": the rights of a user are tested with it, and not all the rest"
		case major >= 7:
			f.Level, f.Says, f.Do = levelWarning, version+": it connects, and is not tested", "use Valkey 8 or 9"
		default:
			f.Level, f.Says, f.Do = levelError, fmt.Sprintf("%s: not supported (%d.%d)", version, major, minor), "use Valkey 8 or 9"
		}
		d.add(f, n)
	}
}

func numbersOf(version string) (major, minor int) {
	parts := strings.SplitN(version, ".", 3)
	major, _ = strconv.Atoi(parts[0])
	if len(parts) > 1 {
		minor, _ = strconv.Atoi(parts[1])
	}
	return major, minor
}

func (d *doctor) checkMode(ctx context.Context) {
	switch {
	case d.s.isCluster():
		d.checkCluster(ctx)
		return
	case d.s.option.Sentinel.MasterSet != "":
		d.checkSentinels(ctx)
		return
	}
	n := d.all[0]
	switch role := n.info["role"]; {
	case role == "":
		return // INFO is refused, which is a finding already
	case role != "master":
		d.add(finding{Check: "mode", Level: levelError, Says: "the server is a replica (" + role + "), and only a primary knows what has changed",
			Do: "name its primary, or the sentinels with --sentinel", Link: pageFailover})
	case n.number("connected_slaves") == 0:
		d.add(finding{Check: "mode", Level: levelNote, Says: "standalone, without a replica: while it is away nothing is cached",
			Do: "if loaders cannot carry the whole load, add a replica and sentinels", Link: pageFailover})
	default:
		d.ok("mode", "standalone, %s", plural(int(n.number("connected_slaves")), "replica"))
	}
}

func (d *doctor) checkCluster(ctx context.Context) {
	primaries, replicas := 0, 0
	for _, n := range d.all {
		if n.infoErr != nil {
			continue
		}
		if !n.primary() {
			continue
		}
		primaries++
		replicas += int(n.number("connected_slaves"))
		if n.number("connected_slaves") == 0 {
			d.add(finding{Check: "mode", Level: levelWarning, Says: "a primary without a replica: when it is away, so are its keys",
				Do: "add a replica to it", Link: pageFailover}, n)
		}
	}
	for _, n := range d.all {
		if n.infoErr == nil {
			d.checkFailed(ctx, n)
			break
		}
	}
	text, err := d.s.ask1(ctx, d.all[0].client, "CLUSTER", "INFO").ToString()
	info := fieldsOf(text)
	switch {
	case err != nil:
		d.add(finding{Check: "mode", Level: levelNote, Says: "cluster; its state is not known: " + err.Error(), Link: pageRights})
	case info["cluster_state"] != "ok":
		d.add(finding{Check: "mode", Level: levelError, Says: fmt.Sprintf("cluster, state %s, %s of 16384 slots served", info["cluster_state"], info["cluster_slots_ok"]),
			Do: "bring the missing primaries back: valkey-cli --cluster check", Link: pageAway})
	default:
		d.ok("mode", "cluster, %d primaries, %d replicas, all slots served", primaries, replicas)
	}
}

// checkFailed names the nodes that the others find failed. The client does not know them any more.
func (d *doctor) checkFailed(ctx context.Context, from *node) {
	text, err := d.s.ask1(ctx, from.client, "CLUSTER", "NODES").ToString()
	if err != nil {
		return // a right that is missing is a finding of its own
	}
	for line := range strings.SplitSeq(strings.TrimPrefix(text, "txt:"), "\n") {
		f := strings.Fields(line) // id, address, flags, ...
		if len(f) < 8 || !strings.Contains(f[2], "fail") {
			continue
		}
		addr, _, _ := strings.Cut(f[1], "@")
		found := finding{Check: "mode", Level: levelWarning, Says: fmt.Sprintf("%s does not answer the others (%s)", addr, f[2]), Do: "start it, or have the cluster forget it", Link: pageAway}
		if strings.Contains(f[2], "master") && len(f) > 8 {
			found.Level, found.Says = levelError, found.Says+", and its slots have no other server"
		}
		d.add(found)
	}
}

func (d *doctor) checkSentinels(ctx context.Context) {
	o := d.s.option
	set := o.Sentinel.MasterSet
	sentinel, err := newClient(ctx, valkey.ClientOption{InitAddress: o.InitAddress[:1], ForceSingleClient: true, DisableCache: true, DisableRetry: true,
		TLSConfig: o.Sentinel.TLSConfig, Username: o.Sentinel.Username, Password: o.Sentinel.Password, Dialer: o.Dialer}, d.s.timeout)
	if err != nil {
		d.add(finding{Check: "mode", Level: levelWarning, Says: "sentinel " + o.InitAddress[0] + " does not answer: " + err.Error(), Do: "name those that run", Link: pageFailover})
		return
	}
	defer sentinel.Close()
	m, err := d.s.ask1(ctx, sentinel, "SENTINEL", "MASTER", set).AsStrMap()
	if err != nil {
		d.add(finding{Check: "mode", Level: levelWarning, Says: "the sentinels say nothing of the set " + set + ": " + err.Error(), Link: pageFailover})
		return
	}
	replicas, _ := strconv.Atoi(m["num-slaves"])
	others, _ := strconv.Atoi(m["num-other-sentinels"])
	says := fmt.Sprintf("sentinel set %s, %s, %s, quorum %s", set, plural(replicas, "replica"), plural(others+1, "sentinel"), m["quorum"])
	switch {
	case strings.Contains(m["flags"], "down"):
		d.add(finding{Check: "mode", Level: levelError, Says: says + ": the primary is down (" + m["flags"] + ")", Do: "see the sentinels' logs", Link: pageAway})
	case replicas == 0:
		d.add(finding{Check: "mode", Level: levelWarning, Says: says + ": there is none to fail over to", Do: "add a replica", Link: pageFailover})
	case others < 2:
		d.add(finding{Check: "mode", Level: levelWarning, Says: says + ": too few to decide when one is lost", Do: "run three sentinels or more", Link: pageFailover})
	default:
		d.ok("mode", "%s", says)
	}
}

func (d *doctor) checkRESP3(ctx context.Context) {
	m, err := d.s.ask1(ctx, d.s.Client, "HELLO", "3").AsMap()
	if err == nil {
		if proto := m["proto"]; !d.tracks || proto.String() != "" {
			d.ok("RESP3", "spoken")
			return
		}
	}
	says := "HELLO 3 is refused"
	if err != nil {
		says += ": " + err.Error()
	}
	d.add(finding{Check: "RESP3", Level: levelWarning, Says: says + ": without RESP3 no invalidations come, and stores open as if WithoutTracking were given", Do: "use another server, or a proxy that speaks it", Link: pageTracking})
}

// errSilent says that no invalidation came.
var errSilent = errors.New("none")

// checkTracking has one connection read a key, and another one write it.
func (d *doctor) checkTracking(ctx context.Context) {
	if !d.tracks {
		d.ok("tracking", "not used: the stores are WithoutTracking")
		return
	}
	says, err := d.tryTracking(ctx)
	if err == nil {
		d.ok("tracking", "%s", says)
		return
	}
	text, _, _ := strings.Cut(err.Error(), "\n") // the client has advice of its own
	switch {
	case strings.HasPrefix(text, "OOM"):
		d.add(finding{Check: "tracking", Level: levelNote, Says: "not tried: memory is full, and the server refuses to write", Link: pageMemory})
		return
	case !errors.Is(err, errSilent) && !strings.Contains(text, "NOPERM") && !strings.Contains(text, "TRACKING"):
		d.add(finding{Check: "tracking", Level: levelWarning, Says: "not tried: " + text, Do: "call doctor again when the server answers", Link: pageAway})
		return
	}
	f := finding{Check: "tracking", Level: levelWarning, Says: "refused: " + text + ": stores open as if WithoutTracking were given, and changes of single keys go through the log",
		Do: "grant +client|tracking; where the provider has no CLIENT TRACKING, nothing is to be done", Link: pageTracking}
	if errors.Is(err, errSilent) {
		f.Level, f.Says, f.Do = levelError, "switched on, and no invalidation came: "+text+": local copies would not hear of changes",
			"look for a proxy between here and the server; until then use tier.WithoutTracking in all processes"
	}
	d.add(f)
}

func (d *doctor) tryTracking(ctx context.Context) (string, error) {
	name := d.ownKey()
	told := make(chan struct{}, 1)
	o := d.s.option
	o.DisableCache = false
	o.ClientTrackingOptions = []string{"OPTOUT"}
	o.PipelineMultiplex = -1
	o.DisableRetry = true
	o.OnInvalidations = func(keys []valkey.ValkeyMessage) {
		for i := range keys {
			if k, err := keys[i].ToString(); err == nil && k == name {
				select {
				case told <- struct{}{}:
				default:
				}
			}
		}
	}
	tracked, err := newClient(ctx, o, d.s.timeout)
	if err != nil {
		return "", err
	}
	defer tracked.Close()
	ctx, cancel := d.s.ask(ctx)
	defer cancel()
	if err := tracked.Do(ctx, tracked.B().Get().Key(name).Build()).Error(); err != nil && !valkey.IsValkeyNil(err) {
		return "", err
	}
	began := time.Now()
	if err := d.s.Do(ctx, d.s.B().Set().Key(name).Value("doctor").Px(10*time.Second).Build()).Error(); err != nil {
		return "", err
	}
	defer d.s.Do(ctx, d.s.B().Del().Key(name).Build())
	select {
	case <-told:
		return fmt.Sprintf("on; an invalidation came %v after the write was sent", time.Since(began).Round(10*time.Microsecond)), nil
	case <-ctx.Done():
		return "", fmt.Errorf("%w within %v", errSilent, d.s.timeout)
	}
}

// ownKey is a name for doctor's own use, in the manner of an entry's.
func (d *doctor) ownKey() string {
	return fmt.Sprintf("%s:d:tierctl-doctor:{%016x}", d.s.prefix, rand.Uint64())
}

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
				": the server hangs up on a store that is sent more at once, and its local tier is emptied",
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

func (d *doctor) checkTLS(ctx context.Context) {
	o := d.s.option
	if o.TLSConfig == nil {
		for _, n := range d.all {
			for addr := range strings.SplitSeq(n.addr, ", ") {
				if !isLocal(addr) {
					d.add(finding{Check: "TLS", Level: levelWarning, Says: "the connection is not encrypted, and goes to another machine: keys, values and the password can be read on the way",
						Do: "use valkeys:// or --tls", Link: pageTLS}, n)
					return
				}
			}
		}
		d.ok("TLS", "not used, on this machine alone")
		return
	}
	if o.TLSConfig.InsecureSkipVerify {
		d.add(finding{Check: "TLS", Level: levelWarning, Says: "the server's certificate is not verified (skip_verify)", Do: "trust its authority with --tls-ca instead", Link: pageTLS})
	}
	for _, n := range d.all {
		addr := n.addr
		if !d.s.isCluster() {
			addr = o.InitAddress[0]
		}
		until, err := certificateEnd(ctx, addr, o, d.s.timeout)
		switch left := time.Until(until); {
		case err != nil:
			d.add(finding{Check: "TLS", Level: levelWarning, Says: "the certificate could not be looked at: " + err.Error(), Link: pageTLS}, n)
		case left < 0:
			d.add(finding{Check: "TLS", Level: levelError, Says: "the certificate ended " + until.UTC().Format(time.DateOnly), Do: "renew it", Link: pageTLS}, n)
		case left < 21*24*time.Hour:
			d.add(finding{Check: "TLS", Level: levelWarning, Says: "the certificate ends " + until.UTC().Format(time.DateOnly), Do: "renew it", Link: pageTLS}, n)
		default:
			d.add(finding{Check: "TLS", Says: "the certificate is good until " + until.UTC().Format(time.DateOnly)}, n)
		}
	}
}

func isLocal(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	if err != nil { // a socket's path
		return true
	}
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

func certificateEnd(ctx context.Context, addr string, o valkey.ClientOption, timeout time.Duration) (time.Time, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	t := o.TLSConfig.Clone()
	if host, _, err := net.SplitHostPort(addr); err == nil && t.ServerName == "" {
		t.ServerName = host
	}
	conn, err := (&tls.Dialer{NetDialer: &o.Dialer, Config: t}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return time.Time{}, err
	}
	defer conn.Close()
	end := time.Time{}
	for _, c := range conn.(*tls.Conn).ConnectionState().PeerCertificates {
		if end.IsZero() || c.NotAfter.Before(end) {
			end = c.NotAfter
		}
	}
	if end.IsZero() {
		return end, errors.New("the server showed none")
	}
	return end, nil
}

func (d *doctor) checkClock(ctx context.Context) {
	type reading struct {
		n     *node
		ahead time.Duration
	}
	var all []reading
	for _, n := range d.all {
		if unreachable(n.infoErr) {
			continue
		}
		before := time.Now()
		t, err := d.s.ask1(ctx, n.client, "TIME").AsIntSlice()
		if err != nil || len(t) != 2 {
			continue // a right that is missing is a finding already
		}
		here := before.Add(time.Since(before) / 2)
		all = append(all, reading{n, time.Unix(t[0], t[1]*1000).Sub(here)})
	}
	if len(all) == 0 {
		return
	}
	slices.SortFunc(all, func(a, b reading) int { return int(max(min(a.ahead-b.ahead, 1), -1)) })
	first, last := all[0], all[len(all)-1]
	if spread := last.ahead - first.ahead; spread > time.Second {
		d.add(finding{Check: "clock", Level: levelWarning, Says: fmt.Sprintf("the servers' clocks differ by %v (%s, %s): after a failover entries end early or late by as much", spread.Round(time.Millisecond), first.n.addr, last.n.addr),
			Do: "synchronise them with NTP", Link: pageDoctor})
		return
	}
	if ahead := last.ahead.Abs(); ahead > time.Minute {
		d.add(finding{Check: "clock", Level: levelNote, Says: fmt.Sprintf("the server's clock and this machine's differ by %v: nothing compares them, but one of them is wrong", ahead.Round(time.Second)),
			Do: "synchronise them with NTP", Link: pageDoctor})
		return
	}
	d.ok("clock", "within %v of this machine's", max(first.ahead.Abs(), last.ahead.Abs()).Round(time.Millisecond))
}

// remoteTimeout is the default of tier.WithRemoteTimeout.
const remoteTimeout = 50 * time.Millisecond

func (d *doctor) checkLatency(ctx context.Context) {
	for _, n := range d.all {
		if unreachable(n.infoErr) || !n.primary() {
			continue
		}
		const rounds = 50
		var took []time.Duration
		for range rounds {
			began := time.Now()
			if unreachable(d.s.ask1(ctx, n.client, "PING").Error()) {
				break // it is counted as none
			}
			took = append(took, time.Since(began))
		}
		if len(took) < rounds {
			d.add(finding{Check: "latency", Level: levelError, Says: fmt.Sprintf("only %d of %d requests were answered", len(took), rounds), Do: "see the server and the network", Link: pageAway}, n)
			continue
		}
		slices.Sort(took)
		median, worst := took[rounds/2], took[rounds-1]
		says := fmt.Sprintf("median %v, worst of %d %v", median.Round(10*time.Microsecond), rounds, worst.Round(10*time.Microsecond))
		switch {
		case median > remoteTimeout/2:
			d.add(finding{Check: "latency", Level: levelError, Says: says + ": with the default of WithRemoteTimeout (50ms) the server counts as away",
				Do: "run the services nearer to it, or raise tier.WithRemoteTimeout", Link: pageAway}, n)
		case worst > remoteTimeout/2:
			d.add(finding{Check: "latency", Level: levelWarning, Says: says + ": some requests come near the default of WithRemoteTimeout (50ms)",
				Do: "look for slow commands (SLOWLOG GET) and for a busy machine", Link: pageAway}, n)
		default:
			d.ok("latency", "%s%s", says, d.at(n))
		}
	}
}

// at names a node where there are several.
func (d *doctor) at(n *node) string {
	if len(d.all) < 2 {
		return ""
	}
	return " at " + n.addr
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
		f.Says = fmt.Sprintf("%d scopes, latest change %s", log.Scopes, timeOf(log.Tick).Format(timeFormat))
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
