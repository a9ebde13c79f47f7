package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/valkey-io/valkey-go"
)

// right is a command that stores send, and how doctor tries it.
type right struct {
	name    string // as in an ACL
	args    []string
	level   level  // of a finding that it is missing
	without string // what then happens
	cluster bool   // needed in a cluster alone
	single  bool   // needed elsewhere alone
	tracked bool   // needed with client tracking alone
}

// rightsOf lists them. key is a name of doctor's own, to whose slot all keys belong.
func rightsOf(key, channel string) []right {
	const notStored = "entries of more than 64 KiB are not stored"
	const noRO = "scripts that only read are not sent again after a lost connection"
	const stops = "a store does not open, or cannot judge its entries"
	needed := func(name string, args ...string) right {
		return right{name: name, args: args, level: levelError, without: stops}
	}
	log, ttl := key+"log", "10000"
	return []right{
		needed("info", "INFO", "replication"),
		needed("time", "TIME"),
		needed("set", "SET", key, "doctor", "PX", ttl),
		needed("get", "GET", key),
		needed("mget", "MGET", key),
		needed("getrange", "GETRANGE", key, "0", "1"),
		needed("exists", "EXISTS", key),
		needed("pttl", "PTTL", key),
		needed("getdel", "GETDEL", key),
		needed("del", "DEL", key),
		needed("unlink", "UNLINK", key),
		needed("eval", "EVAL", "return 1", "1", key),
		needed("evalsha", "EVALSHA", strings.Repeat("0", 40), "1", key),
		{name: "eval_ro", args: []string{"EVAL_RO", "return 1", "1", key}, level: levelWarning, without: noRO},
		{name: "evalsha_ro", args: []string{"EVALSHA_RO", strings.Repeat("0", 40), "1", key}, level: levelWarning, without: noRO},
		needed("zadd", "ZADD", log, "1", "doctor"),
		needed("zrange", "ZRANGE", log, "0", "1"),
		needed("zrevrange", "ZREVRANGE", log, "0", "1"),
		needed("zrangebyscore", "ZRANGEBYSCORE", log, "0", "1"),
		needed("zscore", "ZSCORE", log, "doctor"),
		needed("zcount", "ZCOUNT", log, "0", "1"),
		needed("zrem", "ZREM", log, "doctor"),
		{name: "strlen", args: []string{"STRLEN", key}, level: levelError, without: "entries of more than 64 KiB are not read"},
		{name: "append", args: []string{"APPEND", key, ""}, level: levelError, without: notStored},
		{name: "rename", args: []string{"RENAME", key, key}, level: levelError, without: notStored},
		{name: "pexpireat", args: []string{"PEXPIREAT", key, "1"}, level: levelError, without: notStored},
		{name: "pexpire", args: []string{"PEXPIRE", key, ttl}, level: levelWarning, without: "loads of more than 3 s may run twice in the fleet"},
		{name: "publish", args: []string{"PUBLISH", channel, ""}, level: levelError, without: "no change is recorded", single: true},
		{name: "spublish", args: []string{"SPUBLISH", channel, ""}, level: levelError, without: "no change is recorded", cluster: true},
		{name: "client|tracking", args: []string{"CLIENT", "TRACKING", "OFF"}, level: levelWarning, without: "stores open as if WithoutTracking were given", tracked: true},
		{name: "client|caching", args: []string{"CLIENT", "CACHING", "NO"}, level: levelNote, without: "the server tracks what is read and not kept as well", tracked: true},
		{name: "client|setinfo", args: []string{"CLIENT", "SETINFO", "LIB-NAME", "tierctl"}, level: levelNote, without: "the server's ACL LOG fills up"},
		{name: "client|id", args: []string{"CLIENT", "ID"}, level: levelError, without: stops, cluster: true},
		{name: "ping", args: []string{"PING"}, level: levelNote, without: "the server's ACL LOG fills up"},
		{name: "scan", args: []string{"SCAN", "0", "COUNT", "1"}, level: levelWarning, without: "Purge, tierctl purge and tierctl stats fail"},
		{name: "config|get", args: []string{"CONFIG", "GET", "timeout"}, level: levelNote, without: "Health and doctor say less"},
		{name: "cluster|shards", args: []string{"CLUSTER", "SHARDS"}, level: levelError, without: "a cluster is not recognised", cluster: true},
		{name: "cluster|nodes", args: []string{"CLUSTER", "NODES"}, level: levelError, without: stops, cluster: true},
		{name: "cluster|info", args: []string{"CLUSTER", "INFO"}, level: levelError, without: stops, cluster: true},
		{name: "asking", args: []string{"ASKING"}, level: levelWarning, without: "reads fail while slots move", cluster: true},
	}
}

// checkRights tries each command that stores send on keys of doctor's own. (ACL DRYRUN would be a right more.)
func (d *doctor) checkRights(ctx context.Context) {
	key, channel := d.ownKey(), fmt.Sprintf("%s:{%s}:doctor", d.s.prefix, d.s.prefix)
	on, err := d.ownerOf(ctx, key)
	if err != nil {
		d.add(finding{Check: "rights", Level: levelError, Says: err.Error(), Link: pageRights})
		return
	}
	tried, missing := 0, 0
	for _, r := range rightsOf(key, channel) {
		if r.cluster && !d.s.isCluster() || r.single && d.s.isCluster() || r.tracked && !d.tracks {
			continue
		}
		tried++
		if err := d.s.ask1(ctx, on, r.args...).Error(); denied(err) {
			d.addRight(r, err)
			missing++
		}
	}
	tried++
	if r, err := d.subscribe(ctx); denied(err) {
		d.addRight(r, err)
		missing++
	}
	_ = d.s.ask1(ctx, on, "DEL", key, key+"log").Error() // they have a TTL, or hold nothing
	if missing == 0 {
		d.ok("rights", "all %d commands that stores send are permitted", tried)
	}
}

func (d *doctor) addRight(r right, err error) {
	do := "grant +" + r.name + ", with the keys ~" + d.s.prefix + ":* and the channels &" + d.s.prefix + ":*"
	if strings.Contains(err.Error(), "unknown command") {
		do = "the server, or a proxy before it, does not have this command"
	}
	d.add(finding{Check: "rights", Level: r.level, Says: fmt.Sprintf("%s is refused: without it %s", r.name, r.without), Do: do, Link: pageRights})
}

// ownerOf is the server that has a key's slot.
func (d *doctor) ownerOf(ctx context.Context, key string) (valkey.Client, error) {
	if !d.s.isCluster() {
		return d.s.Client, nil
	}
	for _, n := range d.all {
		if unreachable(n.infoErr) || !n.primary() {
			continue
		}
		err := d.s.ask1(ctx, n.client, "EXISTS", key).Error()
		if e, ok := valkey.IsValkeyErr(err); ok {
			if _, moved := e.IsMoved(); moved {
				continue
			}
		}
		if !unreachable(err) {
			return n.client, nil
		}
	}
	return nil, errors.New("no primary has the slot of doctor's own key: rights are not tried")
}

// subscribe tries to subscribe, which takes a connection of its own.
func (d *doctor) subscribe(ctx context.Context) (right, error) {
	r := right{name: "subscribe", level: levelWarning, without: "changes of other processes are seen with the heartbeat, not at once"}
	subscribe := d.s.B().Subscribe().Channel(d.s.channel()).Build()
	if d.s.isCluster() {
		r.name = "ssubscribe"
		subscribe = d.s.B().Ssubscribe().Channel(d.s.channel()).Build()
	}
	ctx, cancel := context.WithTimeout(ctx, min(d.s.timeout, 2*time.Second))
	defer cancel()
	hooked := valkey.WithOnSubscriptionHook(ctx, func(valkey.PubSubSubscription) { cancel() })
	return r, d.s.Receive(hooked, subscribe, func(valkey.PubSubMessage) {})
}
