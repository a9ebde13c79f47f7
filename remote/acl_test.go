package remote_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/valkey-io/valkey-go"

	"github.com/tiercache/tiercache/internal/backend"
	"github.com/tiercache/tiercache/internal/changelog"
	"github.com/tiercache/tiercache/internal/remotetest"
	"github.com/tiercache/tiercache/internal/valkeytest"
	"github.com/tiercache/tiercache/invalidation"
	"github.com/tiercache/tiercache/remote"
)

// needs says of each right of the README's ACL line what fails without it, by the
// names of checks. Where that is only "nothing is denied", the client asks for
// more than it needs, and an operator who watches the server's ACL LOG would be alarmed.
var needs = map[string]string{
	"~tiercache:*":     "an entry is read",
	"&tiercache:*":     "a change is recorded",
	"+get":             "a lease is given up",
	"+getrange":        "an entry is read",
	"+mget":            "what is read and not kept is not tracked",
	"+strlen":          "a large entry is read",
	"+append":          "a large value is set",
	"+rename":          "a large value is set",
	"+pexpireat":       "a large value is set",
	"+getdel":          "a loaded value is stored",
	"+exists":          "a value is set",
	"+set":             "a loaded value is stored",
	"+del":             "a lease is given up",
	"+unlink":          "an entry is deleted",
	"+pttl":            "another's lease is waited for",
	"+pexpire":         "a lease is renewed",
	"+eval":            "scripts are loaded when the server has lost them",
	"+eval_ro":         "scripts that read are loaded when the server has lost them",
	"+evalsha":         "a loaded value is stored",
	"+evalsha_ro":      "the log is read",
	"+time":            "a change is recorded",
	"+zadd":            "a change is recorded",
	"+zrem":            "old changes are forgotten",
	"+zrange":          "the log is read",
	"+zrevrange":       "the log is read",
	"+zrangebyscore":   "the log is read",
	"+zscore":          "the log is read",
	"+zcount":          "the log is read",
	"+publish":         "a change is recorded",
	"+subscribe":       "changes are heard of at once",
	"+client|tracking": "invalidations of keys come",
	"+client|caching":  "what is read and not kept is not tracked",
	"+client|setinfo":  "nothing is denied",
	"+ping":            "nothing is denied",
	"+scan":            "entries are purged",
	"+info":            "the log is read", // it tells whether the server is a primary
	"+config|get":      "health: the tracking table",
	"+cluster|shards":  "nothing is denied",
}

// untracked are those that only tracking needs.
var untracked = []string{"+client|tracking", "+client|caching"}

func TestEachRightOfTheACLLineIsNeededAndNoOther(t *testing.T) {
	valkeytest.EachVersion(t, func(t *testing.T, s *valkeytest.Server) {
		line := readmeRights(t)
		all, mode := failing(t, s, line, false)
		require.Empty(t, all, "all of them")
		require.Empty(t, mode.Without)
		without := func(rights ...string) []string {
			return slices.DeleteFunc(slices.Clone(line), func(word string) bool { return slices.Contains(rights, word) })
		}
		rest := maps.Clone(needs)
		for _, right := range line {
			if !strings.Contains("~&+", right[:1]) {
				continue
			}
			require.Contains(t, rest, right, "what is it for?")
			delete(rest, right)
			failed, mode := failing(t, s, without(right), false)
			err := failed["connect"]
			if err != nil {
				require.ErrorContains(t, err, strings.TrimSuffix(right, ":*"), "it is named")
				t.Logf("without %-16s %v", right, err)
			}
			if command, ok := strings.CutPrefix(right, "+"); ok && err == nil && needs[right] != "nothing is denied" {
				require.Contains(t, strings.Join(mode.Without, "; "), "run the '"+command+"'", "it is told")
			}
			if err != nil || failed[needs[right]] == nil && len(mode.Without) > 0 { // it does without
				failed, _ = failing(t, s, line, false, right)
			}
			require.Contains(t, failed, needs[right], "without %s", right)
			t.Logf("without %-16s %s", right, strings.Join(slices.Sorted(maps.Keys(failed)), "; "))
		}
		require.Empty(t, rest, "rights that the README does not grant")
		failed, _ := failing(t, s, without(untracked...), true)
		require.Empty(t, failed, "without tracking")
	})
}

// readmeRights returns the words of the line after the user's name and password.
func readmeRights(t *testing.T) []string {
	readme, err := os.ReadFile("../README.md")
	require.NoError(t, err)
	_, line, ok := strings.Cut(string(readme), "ACL SETUSER tiercache on >PASSWORD ")
	require.True(t, ok, "the README's ACL line")
	line, _, _ = strings.Cut(line, "\n")
	return strings.Fields(line)
}

// trial is a connection with some rights, and another with all of them.
type trial struct {
	t           *testing.T
	ctx         context.Context
	do          func(args ...string) valkey.ValkeyMessage // as the administrator
	user, other backend.Conn
	told        *invalidations
	noTracking  bool
}

const aclLog, aclLease = "tiercache:{tiercache}:log", "!"

func aclKey(name string) string { return "tiercache:d:n:{" + name + "}" }

// failing returns the checks that fail with the rights, less those that are revoked after the connection was made, and why;
// and what the connection says that it does without.
func failing(t *testing.T, s *valkeytest.Server, rights []string, noTracking bool, revoked ...string) (failed map[string]error, mode backend.Mode) {
	t.Helper()
	client := s.Client(t)
	c := &trial{t: t, ctx: within(t), told: newInvalidations(), noTracking: noTracking}
	c.do = func(args ...string) valkey.ValkeyMessage {
		m, err := client.Do(c.ctx, client.B().Arbitrary(args...).Build()).ToMessage()
		require.True(t, err == nil || valkey.IsValkeyNil(err), "%v: %v", args, err)
		return m
	}
	c.do("FLUSHALL")
	c.do("ACL", "SETUSER", "tiercache", "reset")
	c.do(append([]string{"ACL", "SETUSER", "tiercache", "on", ">secret"}, rights...)...)
	defer c.do("ACL", "DELUSER", "tiercache")
	c.do("ACL", "LOG", "RESET")
	c.other = connect(t, backendOf(s), "tiercache", newInvalidations())
	for name, err := range calls(within(t), c.other) { // so that the server knows the scripts
		require.NoError(t, err, name)
	}
	defer c.other.Close()
	option := valkey.ClientOption{InitAddress: []string{s.Addr}, Username: "tiercache", Password: "secret",
		Dialer: net.Dialer{KeepAlive: 10 * time.Millisecond}} // it pings as often
	var err error
	c.user, err = remote.Valkey(option).Connect(within(t),
		backend.Options{Prefix: "tiercache", Timeout: 5 * time.Second, NoTracking: noTracking, Events: c.told.events()})
	if err != nil {
		return map[string]error{"connect": err}, mode
	}
	defer c.user.Close()
	for _, right := range revoked {
		switch right[0] {
		case '~':
			right = "resetkeys"
		case '&':
			right = "resetchannels"
		}
		c.do("ACL", "SETUSER", "tiercache", strings.Replace(right, "+", "-", 1))
	}
	failed = make(map[string]error)
	for _, check := range checks {
		if err := check.run(c); err != nil {
			failed[check.name] = err
		}
	}
	return failed, backend.ModeOf(c.user, backend.Options{})
}

// checks are all that a store does. Those that wait do so for one of two things
// to happen.
var checks = []struct {
	name string
	run  func(c *trial) error
}{
	{"old changes are forgotten", func(c *trial) error { // the first change looks for some
		c.do("ZADD", aclLog, "1", "s:old")
		if err := c.change(c.user); err != nil {
			return err
		}
		return absent(c.do("ZSCORE", aclLog, "s:old"))
	}},
	{"a change is recorded", func(c *trial) error { return c.change(c.user) }},
	{"the log is read", func(c *trial) error {
		c.must(c.change(c.other))
		d, err := c.user.Delta(c.ctx, changelog.DeltaQuery{Limit: 100, Scopes: []invalidation.Scope{"s:x"}})
		return errors.Join(err, unless(len(d.Changes) > 0 && len(d.Known) == 1 && d.Known[0] == d.Tick && d.Tick > 0, d))
	}},
	{"a lost log is replaced", func(c *trial) error {
		c.do("DEL", aclLog)
		err := c.user.Renew(c.ctx, changelog.Loss{})
		n, _ := ptr(c.do("EXISTS", aclLog)).AsInt64()
		return errors.Join(err, unless(n == 1, "no log"))
	}},
	{"an entry is read", func(c *trial) error {
		c.put("read")
		it, err := c.user.GetOne(c.ctx, aclKey("read"))
		return errors.Join(err, unless(it.Envelope() == "value", it))
	}},
	{"several entries are read", func(c *trial) error {
		c.put("one")
		c.put("two")
		for range 2 { // the second time it is known how large they are
			items, _, err := c.user.Get(c.ctx, []string{aclKey("one"), aclKey("two")}, nil)
			if err = errors.Join(err, unless(err != nil || items[0].Found() && items[1].Found(), items)); err != nil {
				return err
			}
		}
		return nil
	}},
	{"a fresh read", func(c *trial) error {
		c.put("fresh")
		items, _, err := c.user.Get(c.ctx, []string{aclKey("fresh")}, &changelog.DeltaQuery{Limit: 100})
		return errors.Join(err, unless(err != nil || items[0].Found(), items))
	}},
	{"a loaded value is stored", func(c *trial) error {
		if err := c.lease(backend.LeaseRequest{Key: aclKey("load"), Token: "mine"}); err != nil {
			return err
		}
		return c.write(backend.Write{Key: aclKey("load"), Token: "mine"})
	}},
	{"a value is set", func(c *trial) error {
		return c.write(backend.Write{Key: aclKey("set"), Unread: true, Window: backend.Window{Before: time.Now().Add(time.Hour)}})
	}},
	{"a large entry is read", func(c *trial) error {
		value := strings.Repeat("value", 100<<10)
		c.do("SET", aclKey("large"), value)
		it, err := c.user.GetOne(c.ctx, aclKey("large"))
		return errors.Join(err, unless(it.Envelope() == value, len(it.Raw)))
	}},
	{"a large value is set", func(c *trial) error {
		return c.write(backend.Write{Key: aclKey("largely"), Envelope: []byte(strings.Repeat("value", 100<<10))})
	}},
	{"a value that is no good is replaced", func(c *trial) error {
		raw := c.put("bad")
		return c.lease(backend.LeaseRequest{Key: aclKey("bad"), Token: "mine", Seen: raw})
	}},
	{"a value that another has replaced is found", func(c *trial) error {
		c.put("replaced")
		l, err := c.user.Lease(c.ctx, []backend.LeaseRequest{{Key: aclKey("replaced"), Token: "mine", Seen: "other", TTL: time.Minute}})
		return errors.Join(err, unless(err != nil || l[0].Item.Envelope() == "value", l))
	}},
	{"a value is refreshed", func(c *trial) error {
		c.put("refresh")
		return c.lease(backend.LeaseRequest{Key: aclKey("refresh"), Token: "mine", Any: true})
	}},
	{"another's lease is waited for", func(c *trial) error {
		c.do("SET", aclKey("held")+aclLease, "another's", "PX", "3000")
		l, err := c.user.Lease(c.ctx, []backend.LeaseRequest{{Key: aclKey("held"), Token: "mine", TTL: time.Minute}})
		if err != nil {
			return err
		}
		return errors.Join(l[0].Err, unless(l[0].Wait > 0 || l[0].Err != nil, l[0]))
	}},
	{"a lease is renewed", func(c *trial) error {
		c.do("SET", aclKey("long")+aclLease, "mine", "PX", "1000000")
		err := c.user.Extend(c.ctx, []string{aclKey("long")}, "mine", 3000*time.Second)
		ttl, _ := ptr(c.do("PTTL", aclKey("long")+aclLease)).AsInt64()
		return errors.Join(err, unless(ttl > 2000_000, ttl))
	}},
	{"a lease is given up", func(c *trial) error {
		c.do("SET", aclKey("free")+aclLease, "mine")
		err := c.user.Release(c.ctx, []string{aclKey("free")}, "mine")
		return errors.Join(err, absent(c.do("GET", aclKey("free")+aclLease)))
	}},
	{"an entry is deleted", func(c *trial) error {
		c.put("gone")
		err := remotetest.Delete(c.ctx, c.user, aclKey("gone"))
		return errors.Join(err, absent(c.do("GET", aclKey("gone"))))
	}},
	{"entries are purged", func(c *trial) error {
		c.put("purged")
		_, err := c.user.Purge(c.ctx, backend.PurgeRequest{Prefixes: []string{"tiercache:d:"}})
		return errors.Join(err, absent(c.do("GET", aclKey("purged"))))
	}},
	{"scripts are loaded when the server has lost them", func(c *trial) error {
		c.do("SCRIPT", "FLUSH")
		return remotetest.Delete(c.ctx, c.user, aclKey("gone"))
	}},
	{"scripts that read are loaded when the server has lost them", func(c *trial) error {
		c.do("SCRIPT", "FLUSH")
		_, err := c.user.Delta(c.ctx, changelog.DeltaQuery{Limit: 1})
		return err
	}},
	{"invalidations of keys come", func(c *trial) error {
		if c.noTracking {
			return nil
		}
		_, err := c.user.GetOne(c.ctx, aclKey("noticed"))
		c.put("noticed")
		c.barrier()
		return errors.Join(err, unless(c.told.of(aclKey("noticed")) > 0, "no invalidation"))
	}},
	{"what is read and not kept is not tracked", func(c *trial) error {
		_, err := c.user.GetUntracked(c.ctx, []string{aclKey("passed"), aclKey("by")})
		c.put("passed")
		c.barrier()
		return errors.Join(err, unless(c.told.of(aclKey("passed")) == 0, "an invalidation"))
	}},
	{"changes are told once", func(c *trial) error { // not by an invalidation as well
		_, _ = c.user.Delta(c.ctx, changelog.DeltaQuery{Limit: 1})
		c.must(c.change(c.other))
		c.barrier()
		return unless(c.told.of(aclLog) == 0, "an invalidation")
	}},
	{"changes are heard of at once", func(c *trial) error {
		_, _, before := c.told.counts()
		eventually(c.t, func() bool {
			c.must(c.change(c.other))
			_, _, now := c.told.counts()
			return now > before || slices.Contains(c.denied(), "subscribe") || slices.Contains(c.denied(), aclChannel)
		}, "a message, or none ever")
		_, _, now := c.told.counts()
		return unless(now > before, "no message")
	}},
	{"health: the server", func(c *trial) error {
		i, err := c.user.Info(c.ctx)
		return errors.Join(err, unless(i.Server != "", i.Unknown))
	}},
	{"health: the tracking table", func(c *trial) error {
		i, err := c.user.Info(c.ctx)
		return errors.Join(err, unless(i.TrackedMax > 0, i.Unknown))
	}},
	{"nothing is denied", func(c *trial) error { // an idle connection's pings among it
		eventually(c.t, func() bool {
			list, _ := ptr(c.do("CLIENT", "LIST", "TYPE", "normal")).ToString()
			pubsub, _ := ptr(c.do("CLIENT", "LIST", "TYPE", "pubsub")).ToString()
			for line := range strings.Lines(list + pubsub) {
				if strings.Contains(line, "user=tiercache ") && strings.Contains(line, "cmd=ping ") {
					return true
				}
			}
			return false
		}, "a ping")
		denied := c.denied()
		return unless(len(denied) == 0, denied)
	}},
}

const aclChannel = "tiercache:{tiercache}:changes"

// put stores an entry as another process would, and returns it.
func (c *trial) put(name string) (raw string) {
	raw = "value"
	c.do("SET", aclKey(name), raw)
	return raw
}

func (c *trial) change(conn changelog.Log) error {
	_, err := conn.Append(c.ctx, changelog.Change{Scopes: []invalidation.Scope{"s:x"}, Retention: time.Hour})
	return err
}

func (c *trial) lease(r backend.LeaseRequest) error {
	r.TTL = time.Minute
	l, err := c.user.Lease(c.ctx, []backend.LeaseRequest{r})
	if err != nil {
		return err
	}
	return errors.Join(l[0].Err, unless(l[0].Acquired, l[0]))
}

func (c *trial) write(w backend.Write) error {
	if w.Expires = time.Now().Add(time.Hour); w.Envelope == nil {
		w.Envelope = []byte("value")
	}
	written, err := c.user.Write(c.ctx, []backend.Write{w})
	if err != nil {
		return err
	}
	return errors.Join(written[0].Err, unless(written[0].Stored, "refused"))
}

// barrier returns when all invalidations have come that were caused before it.
func (c *trial) barrier() {
	ctx, cancel := context.WithTimeout(c.ctx, 5*time.Second)
	defer cancel()
	_, _ = c.user.GetOne(ctx, aclKey("barrier"))
}

// denied returns what the server has denied to the user.
func (c *trial) denied() (out []string) {
	log, err := ptr(c.do("ACL", "LOG")).ToArray()
	c.must(err)
	for i := range log {
		entry, err := log[i].AsMap()
		c.must(err)
		user, object := entry["username"], entry["object"]
		if name, _ := user.ToString(); name == "tiercache" {
			what, _ := object.ToString()
			out = append(out, what)
		}
	}
	return out
}

func (c *trial) must(err error) {
	c.t.Helper()
	require.NoError(c.t, err)
}

func unless(ok bool, got any) error {
	if ok {
		return nil
	}
	return fmt.Errorf("got %v", got)
}

func absent(m valkey.ValkeyMessage) error { return unless(m.IsNil(), m.String()) }

func ptr(m valkey.ValkeyMessage) *valkey.ValkeyMessage { return &m }

// What the README names for clusters is enough for one.
func TestTheRightsForAClusterSuffice(t *testing.T) {
	t.Parallel()
	valkeytest.EachCluster(t, 3, func(t *testing.T, c *valkeytest.Cluster) {
		for _, s := range c.Nodes() {
			s.Do(t, slices.Concat([]string{"ACL", "SETUSER", "tiercache", "on", ">secret"}, readmeRights(t),
				[]string{"+cluster|nodes", "+cluster|info", "+client|id", "+ssubscribe", "+spublish", "+asking"})...)
		}
		o := valkey.ClientOption{InitAddress: c.Addrs(), Username: "tiercache", Password: "secret"}
		conn := connect(t, remote.Valkey(o), "tiercache", newInvalidations())
		_, err := conn.Append(within(t), changelog.Change{Scopes: []invalidation.Scope{"s:x"}, Retention: time.Hour})
		require.NoError(t, err)
		require.NoError(t, conn.Prove(within(t)))
		_, err = conn.Delta(within(t), changelog.DeltaQuery{Limit: 10})
		require.NoError(t, err)
		key := aclKey("k")
		leases, err := conn.Lease(within(t), []backend.LeaseRequest{{Key: key, Token: "t", TTL: time.Minute}})
		require.NoError(t, err)
		require.NoError(t, leases[0].Err)
		written, err := conn.Write(within(t), []backend.Write{{Key: key, Token: "t", Envelope: []byte("v"), Expires: time.Now().Add(time.Minute)}})
		require.NoError(t, err)
		require.NoError(t, written[0].Err)
		_, err = conn.GetOne(within(t), key)
		require.NoError(t, err)
		require.NoError(t, remotetest.Delete(within(t), conn, key))
		_, err = conn.Purge(within(t), backend.PurgeRequest{Prefixes: []string{"tiercache:d:"}})
		require.NoError(t, err)
		_, err = conn.Info(within(t))
		require.NoError(t, err)
		for _, s := range c.Nodes() {
			denied, err := s.Do(t, "ACL", "LOG").ToArray()
			require.NoError(t, err)
			require.Empty(t, denied, "nothing was denied: %v", denied)
		}
	})
}
