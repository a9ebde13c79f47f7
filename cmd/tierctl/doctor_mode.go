package main

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

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
		if n.infoErr != nil || !n.primary() {
			continue
		}
		primaries++
		replicas += int(n.number("connected_slaves"))
		if n.number("connected_slaves") == 0 {
			d.add(finding{Check: "mode", Level: levelWarning, Says: "a primary without a replica: when it is away, so are its keys",
				Do: "add a replica to it", Link: pageFailover}, n)
		}
	}
	if i := slices.IndexFunc(d.all, func(n *node) bool { return n.infoErr == nil }); i >= 0 {
		d.checkFailed(ctx, d.all[i])
	}
	if len(d.all) == 0 {
		d.add(finding{Check: "mode", Level: levelError, Says: "it answers as a node of a cluster, and names no server", Do: "check the address", Link: pageAway})
		return
	}
	text, err := d.s.ask1(ctx, d.all[0].client, "CLUSTER", "INFO").ToString()
	info := fieldsOf(text)
	switch {
	case err != nil:
		d.add(finding{Check: "mode", Level: levelNote, Says: "cluster; its state is not known: " + err.Error(), Link: pageRights})
	case info["cluster_state"] != "ok" || info["cluster_slots_ok"] != "16384": // with cluster-require-full-coverage no the state is ok
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
