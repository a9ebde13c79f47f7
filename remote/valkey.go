package remote

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math"
	mathrand "math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/valkey-io/valkey-go"

	"github.com/tiercache/tiercache/internal/backend"
	"github.com/tiercache/tiercache/internal/changelog"
	"github.com/tiercache/tiercache/internal/checkconn"
	"github.com/tiercache/tiercache/internal/joined"
	"github.com/tiercache/tiercache/internal/recovery"
	"github.com/tiercache/tiercache/internal/remoteerr"
)

// Valkey returns the backend that connects to a Valkey server (or Redis 7 and
// later). Addresses, credentials, TLS and database come from o; what tracking
// depends on is set here, and options of o that would silence it are rejected by
// tier.Open with an error that names them.
//
// Except in a cluster, entries are read and written over one connection that is dialled
// and greeted as o says, but is none of the client's: what concerns the client's pools,
// rings, buffers and flushing has no effect on it.
func Valkey(o valkey.ClientOption) Backend { return valkeyBackend{o} }

type valkeyBackend struct{ option valkey.ClientOption }

func (b valkeyBackend) String() string {
	return "valkey at " + strings.Join(b.option.InitAddress, ", ")
}

// valkeyConn uses two connections to a server, and a third where values are large (see large.go):
//
//	connection   what is sent                         what the server says unasked
//	tracked      reads, writes of entries, deltas:    invalidations of keys, and
//	             all whose order matters against      "everything was flushed" (serverInvalidated)
//	             what the server says there
//	plain        changes, purges, Info: what is       messages of the channel (subscribe)
//	             never to stand before a read
//
// Plain is a client of valkey-go, and knows where the server is. (A connection of its own for
// the subscription makes changes no faster: measured.) Tracked is one connection of ours (see
// serverConn), or of a cluster, whose topology a client has to know for each request, a client too.
//
// What becomes of a connection is told so:
//
//	tracked is about to be used     connected     Events.Lost: what was proven over the one before is void
//	tracked was lost                invalidated   Events.Lost, with nil for the keys
//	... of one server of a cluster  lose          its shards are gone; Events.Moved when one is about to be used
//	plain has closed a connection   link.closing  serverChanged: the server may be another, so serverConn dials anew
//	the subscription has begun      subscribe     Events.Published with an empty message
type valkeyConn struct {
	tracked       carrier
	cluster       *link // that is tracked; nil unless it is a cluster
	plain         *link
	serverChanged chan struct{} // a signal when the plain client has closed a connection, as it does when its server is another
	shards        *shards       // of a cluster, or nil
	dials         atomic.Int64  // of tracked
	large         largeConn
	largest       atomic.Int64 // bytes of an entry, of those that were read of late
	histories     *histories
	enrolment     enrolment
	trims         chan time.Duration // see trimSoon
	withheld      chan withheld      // see tellLater
	untold        atomic.Int64       // the tick of the latest of those that is not known to be told; 0: all are
	db            int                // that was selected
	// changes and scopes that were recorded since old ones were forgotten
	changesSince, scopesSince atomic.Int64

	o            backend.Options
	lacks        lacks                 // does not change once it is connected
	unsubscribed atomic.Pointer[error] // why there is no subscription, if the server refuses it
	log, channel string
	tries        string // begins the keys of trials
	cancel       context.CancelFunc
	running      sync.WaitGroup // the subscription, what trims the log, and the probes of a cluster

	eventMu sync.Mutex // held while Events run, which come from both clients
	closed  bool       // guarded by telling
}

// carrier sends requests in one order with the invalidations that it hears.
type carrier interface {
	asker
	// get reads the beginning of a key: ask with less memory.
	get(ctx context.Context, key string) reply
	// later is ask, and what run makes of it, for a caller that does not wait: then is
	// told of the replies, perhaps by the goroutine that reads, which it must not hold up.
	later(ctx context.Context, b *batch, then func([]reply))
	// reach returns once a connection that the commands of b can be sent over is known to work, or was until now, or
	// with an error that matches [remoteerr.NotSent].
	reach(ctx context.Context, b *batch) error
	// spawn runs f in a goroutine that Close waits for. It returns false, without running it, after
	// Close. A panic of f ends the connections.
	spawn(f func()) bool
	Close()
}

// runLater implements carrier.later, in a goroutine.
func runLater(ctx context.Context, c carrier, b *batch, then func([]reply)) {
	if !c.spawn(func() {
		var replies []reply
		defer func() {
			if replies == nil { // it has panicked, and then is to be told once in any case
				replies = b.failed(recovery.ErrPanicked)
			}
			then(replies)
		}()
		replies = run(ctx, c, b)
	}) {
		then(b.failed(valkey.ErrClosing))
	}
}

// Check implements [backend.Checker]: it names every option that contradicts what the
// cache needs.
func (b valkeyBackend) Check(o backend.Options) error {
	var errs []error
	reject := func(bad bool, name, why string) {
		if bad {
			errs = append(errs, fmt.Errorf("valkey option %s: %s", name, why))
		}
	}
	c := b.option
	reject(len(c.InitAddress) == 0, "InitAddress", "names no server")
	reject(c.OnInvalidations != nil, "OnInvalidations", "is used by the cache itself")
	reject(c.ClientTrackingOptions != nil, "ClientTrackingOptions", "is set by the cache itself")
	//lint:ignore SA1019 a user that still sets it is told so too
	reject(c.SendToReplicas != nil || c.ReplicaOnly || c.ReplicaSelector != nil || c.ReadNodeSelector != nil,
		"SendToReplicas/ReplicaOnly", "a replica may serve what its primary has already changed")
	reject(!o.NoTracking && c.DisableCache, "DisableCache", "no invalidations of changed keys would come; ask for no tracking instead (WithoutTracking)")
	reject(!o.NoTracking && c.AlwaysRESP2, "AlwaysRESP2", "invalidations need RESP3; ask for no tracking instead (WithoutTracking)")
	reject(!o.NoTracking && c.DisableAutoPipelining, "DisableAutoPipelining", "invalidations would come on other connections than the reads")
	reject(c.ConnLifetime != 0, "ConnLifetime", "each ended connection would empty the local tier")
	return joined.Errors(errs...)
}

// Connect implements [Backend].
func (b valkeyBackend) Connect(ctx context.Context, o backend.Options) (backend.Conn, error) {
	if err := b.Check(o); err != nil {
		return nil, err
	}
	if o.Heartbeat == 0 {
		o.Heartbeat = 250 * time.Millisecond
	}
	if o.Events.Moved == nil { // the caller knows that there is one server
		o.Events.Moved = func() {}
	}
	var w watched
	base := b.base(o)
	w.watch(&base)
	var l lacks
	l.resp2 = base.AlwaysRESP2
	c, err := b.connect(ctx, base, o, l)
	for n := 0; n < 2; n++ { // without RESP3 there is no tracking either
		var untracked *untrackedError
		if !errors.As(err, &untracked) || ctx.Err() != nil || o.NoTracking && !untracked.resp2 {
			break
		}
		// guard: untracked-where-withheld
		if !o.NoTracking {
			o.NoTracking, l.untracked = true, oneLine(untracked.error)
			l.without = append(l.without, "the server tells of no changed keys, so the store is as WithoutTracking: "+l.untracked)
		}
		l.resp2 = l.resp2 || untracked.resp2
		c, err = b.connect(ctx, base, o, l)
	}
	if err != nil {
		return nil, fmt.Errorf("connecting to %s: %w", b, b.explain(ctx, &w, o, err))
	}
	return c, nil
}

// connect is one attempt.
func (b valkeyBackend) connect(ctx context.Context, base valkey.ClientOption, o backend.Options, l lacks) (*valkeyConn, error) {
	c := &valkeyConn{plain: newLink(o.Panics), serverChanged: make(chan struct{}, 1), o: o, log: changelog.LogKey(o.Prefix), channel: changelog.Channel(o.Prefix), tries: changelog.LogKey(o.Prefix) + ":try:",
		histories: newHistories(), enrolment: enrolment{turn: make(chan struct{}, 1)}, trims: make(chan time.Duration, 1), withheld: make(chan withheld, 1), lacks: l, db: b.option.SelectDB}
	c.plain.closing = func() {
		select {
		case c.serverChanged <- struct{}{}:
		default:
		}
	}
	plain := base
	plain.DisableCache = true
	plain.DialCtxFn = c.plain.dialing(base, nil, func(string) {})
	// guard: small-idle-client
	small(&plain)
	err := c.plain.connect(ctx, plain)
	switch {
	case err != nil:
	case c.plain.Mode() == valkey.ClientModeCluster:
		err = c.trackCluster(ctx, base)
	default:
		err = c.trackServer(ctx, base)
	}
	if err == nil {
		err = c.try(ctx, base.Standalone.EnableRedirect)
	}
	if err != nil {
		c.abandon()
		return nil, err
	}
	run, cancel := context.WithCancel(context.Background())
	c.cancel = cancel
	c.keepRunning(run, "subscribing", c.plain.reset, c.subscribe)
	c.keepRunning(run, "trimming the change log", func() {}, c.trim)
	c.keepRunning(run, "telling of changes", func() {}, c.tell)
	if c.sharded() {
		c.keepRunning(run, "probing", c.shards.lost, c.shards.run)
		c.shards.wakeUp()
	}
	return c, nil
}

// keepRunning runs f in a goroutine that Close waits for, until ctx ends. After a panic of
// it, which calls lost, it is run again.
func (c *valkeyConn) keepRunning(ctx context.Context, doing string, lost func(), f func(context.Context)) {
	c.running.Go(func() {
		for ctx.Err() == nil {
			func() {
				defer c.o.Panics.Recover(doing, lost, func() { c.deliver(c.o.Events.Lost) })
				f(ctx)
			}()
			select {
			case <-ctx.Done():
			case <-time.After(pauseAfterPanic):
			}
		}
	})
}

// pauseAfterPanic is the time until what has panicked is run again.
const pauseAfterPanic = 100 * time.Millisecond

// trackServer makes the connection that tracks, to the server that the plain client uses.
func (c *valkeyConn) trackServer(ctx context.Context, o valkey.ClientOption) error {
	h := newServerConn(c, o)
	h.resp2 = c.lacks.resp2
	c.tracked = h
	h.spawn(h.run)
	_, err := h.connection(ctx)
	return err
}

// trackCluster makes the client that tracks.
func (c *valkeyConn) trackCluster(ctx context.Context, o valkey.ClientOption) error {
	c.cluster = newLink(c.o.Panics)
	c.tracked, c.shards = c.cluster, newShards(c)
	flushed := c.histories.flushed
	if c.o.NoTracking {
		o.DisableCache = true
	} else {
		// guard: V1-flush-in-cluster
		flushed = func() { c.serverInvalidated(nil) }
		c.cluster.ended = c.endedInCluster
		o.ClientTrackingOptions = []string{"OPTOUT"}
		o.OnInvalidations = func(keys []valkey.ValkeyMessage) {
			defer c.o.Panics.Recover("an invalidation", c.cluster.reset)
			if keys != nil { // else all were flushed, or a connection has ended: both are told before the client knows
				c.invalidated(namesOf(keys))
			}
		}
	}
	o.DialCtxFn = c.cluster.dialing(o, flushed, c.dialledInCluster)
	err := c.cluster.connect(ctx, o)
	if errors.Is(err, valkey.ErrNoCache) && !c.o.NoTracking {
		return &untrackedError{errors.New(strings.TrimSuffix(oneLine(err), oneLine(valkey.ErrNoCache))), false} // whose advice is none here
	}
	return err
}

// namesOf returns the keys of an invalidation; nil are all, or that a connection has ended. It is
// nil as well if one cannot be read.
func namesOf(keys []valkey.ValkeyMessage) []string {
	var names []string
	for i := range keys {
		name, err := keys[i].ToString()
		if err != nil {
			return nil
		}
		names = append(names, name)
	}
	return names
}

// connected is called when another tracked connection is about to be used: after a restart
// the server gives out the same ids again. That the one before is lost may be told after this
// one has answered, and what comes from it is not to be judged by what that one had proven.
//
// It returns how many there have been, this one among them.
func (c *valkeyConn) connected() int64 {
	number := c.dials.Add(1)
	c.deliver(c.o.Events.Lost)
	return number
}

// dialledInCluster is called when a connection to a server of a cluster is about to be used.
func (c *valkeyConn) dialledInCluster(address string) {
	c.shards.lose(address)
	c.dials.Add(1)
	// guard: R6-dial-in-cluster
	c.deliver(c.o.Events.Moved)
}

// endedInCluster is called when a connection to a server of a cluster has ended. Whichever server answers in its place: the
// shards that the answers are of are gone. So nothing is told, and a server that ends each connection does not have the log read as often.
func (c *valkeyConn) endedInCluster(address string) {
	c.cluster.suspect.Store(true)
	c.shards.lose(address)
}

// sharded reports whether the keys are those of a cluster.
func (c *valkeyConn) sharded() bool { return c.cluster != nil }

// primaryClient sends to one primary.
type primaryClient struct {
	address string // empty if it is the only one
	valkey.Client
}

// primaries are all servers that have keys, for what is not asked on the tracked
// connections.
func (c *valkeyConn) primaries(ctx context.Context) ([]primaryClient, error) {
	if !c.sharded() {
		return []primaryClient{{"", c.plain}}, nil
	}
	if err := c.shards.prove(ctx); err != nil {
		return nil, err
	}
	return c.shards.primaries(c.plain.Nodes()), nil
}

// Shard implements [backend.Prober].
func (c *valkeyConn) Shard(key string) *backend.Shard {
	if !c.sharded() {
		return nil
	}
	return c.shards.of(key)
}

// Prove implements [backend.Prober].
func (c *valkeyConn) Prove(ctx context.Context, keys ...string) error {
	switch {
	case !c.sharded():
		return nil
	case len(keys) == 0:
		return c.shards.prove(ctx)
	}
	return c.shards.proveOf(ctx, keys)
}

// dial dials as o says.
func dial(ctx context.Context, o *valkey.ClientOption, address string, d *net.Dialer, t *tls.Config) (conn net.Conn, err error) {
	switch {
	case o.DialCtxFn != nil:
		conn, err = o.DialCtxFn(ctx, address, d, t)
	case o.DialFn != nil:
		conn, err = o.DialFn(address, d, t)
	case t != nil:
		conn, err = dialTLS(ctx, address, d, t, func() {})
	default:
		conn, err = d.DialContext(ctx, "tcp", address)
	}
	if err == nil && o.DisableTCPNoDelay {
		delay(conn) // the client does not see what it would set this of
	}
	return conn, err
}

// dialTLS tells when there is a connection, before the handshake.
func dialTLS(ctx context.Context, address string, d *net.Dialer, t *tls.Config, connected func()) (net.Conn, error) {
	if d.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, d.Timeout)
		defer cancel()
	}
	conn, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	connected()
	if t.ServerName == "" {
		t = t.Clone()
		t.ServerName, _, _ = net.SplitHostPort(address) // it was dialled
	}
	secured := tls.Client(conn, t)
	if err := secured.HandshakeContext(ctx); err != nil {
		_ = conn.Close()
		return nil, err
	}
	return secured, nil
}

// dialing dials for the client, and tells of each connection before it is used, and of each
// invalidation that everything was flushed before it is read.
func (l *link) dialing(o valkey.ClientOption, flushed func(), tell func(address string)) func(context.Context, string, *net.Dialer, *tls.Config) (net.Conn, error) {
	return func(ctx context.Context, address string, d *net.Dialer, t *tls.Config) (conn net.Conn, err error) {
		// guard: recover-dial
		defer l.panics.Recover("dialling", func() { // in what the options call, too
			if conn != nil {
				_ = conn.Close()
			}
			conn, err = nil, recovery.ErrPanicked
		})
		ctx, cancel := l.whileOpen(ctx)
		defer cancel()
		if conn, err = dial(ctx, &o, address, d, t); err != nil {
			return nil, err
		}
		// guard: no-unasked-answers
		if conn, err = l.own(checkconn.New(conn, flushed), address); err != nil {
			return nil, err
		}
		tell(address)
		return conn, nil
	}
}

// small has each connection of a client take little memory: it carries little. What the user has
// set stays. The client's own sizes are half a megabyte to read into, as much to write from,
// and 1,024 requests at once.
func small(o *valkey.ClientOption) {
	o.ReadBufferEachConn = cmp.Or(o.ReadBufferEachConn, 4<<10)
	o.WriteBufferEachConn = cmp.Or(o.WriteBufferEachConn, 4<<10)
	o.RingScaleEachConn = cmp.Or(o.RingScaleEachConn, 6)
}

// base is what all connections share.
func (b valkeyBackend) base(o backend.Options) valkey.ClientOption {
	c := b.option
	c.PipelineMultiplex = -1                      // one connection: replies and pushes in one order
	c.BlockingPipeline = math.MaxInt32            // never move a long pipeline to another connection
	c.CacheSizeEachConn = 1 << 10                 // unused: the decoded objects are ours to keep
	c.EnableReplicaAZInfo = false                 // replicas are not read
	c.AlwaysPipelining = !c.DisableAutoPipelining // a goroutine is always reading
	if c.Dialer.Timeout == 0 {
		c.Dialer.Timeout = max(time.Second, o.Timeout)
	}
	if c.Dialer.KeepAlive == 0 {
		c.Dialer.KeepAlive = time.Second
	}
	if c.RetryDelay == nil {
		// guard: I8-retry-delay
		c.RetryDelay = pauseBeforeRetry
	}
	if c.ConnWriteTimeout == 0 {
		c.ConnWriteTimeout = max(time.Second, 2*o.Timeout)
	}
	if credentials := c.AuthCredentialsFn; credentials != nil {
		// The client's other goroutines wait until the one that dials has ended that, which a panic does not; and it
		// renews credentials in a goroutine of its own.
		c.AuthCredentialsFn = func(server valkey.AuthCredentialsContext) (made valkey.AuthCredentials, err error) {
			// guard: recover-credentials
			defer o.Panics.Recover("credentials", func() { err = recovery.ErrPanicked })
			return credentials(server)
		}
	}
	return c
}

// pauseBeforeRetry is how long the client waits before it sends a request again
// that got no answer: about 1, 4, 16 and then 64 ms. Its own pauses begin with 2 µs
// and double, which is a dozen attempts within the time that a read has; and an
// attempt makes a connection with buffers of a megabyte, if it is accepted by a proxy
// that then has no server: 26 in 100 ms, and 8 with these pauses. A
// subscription's attempts are never counted anew, hence no longer pause.
func pauseBeforeRetry(attempts int, _ valkey.Completed, _ error) time.Duration {
	base := time.Millisecond << (2 * min(attempts-1, 3))
	return base/2 + mathrand.N(base)
}

// serverInvalidated is invalidated, of what the server itself says. That everything was flushed may
// mean that it has loaded an older file since, under the same history.
func (c *valkeyConn) serverInvalidated(keys []string) {
	if keys == nil {
		// guard: I6-flush-may-be-rollback
		c.histories.flushed()
	}
	c.invalidated(keys)
}

// invalidated is called with keys, or with nil: that a connection ended or that invalidations
// are of all keys. It runs in whatever goroutine is reading. The change log's key is left out:
// reading it tracks it (see addDelta), and messages tell of its changes. So are those of trials.
func (c *valkeyConn) invalidated(keys []string) {
	if keys == nil {
		if c.sharded() {
			c.cluster.suspect.Store(true)
			c.shards.lost()
		}
		c.deliver(c.o.Events.Lost)
		return
	}
	// guard: untracked-log
	if i := slices.Index(keys, c.log); i >= 0 {
		keys = slices.Delete(keys, i, i+1)
	}
	keys = slices.DeleteFunc(keys, func(key string) bool { return strings.HasPrefix(key, c.tries) })
	if len(keys) > 0 {
		c.deliver(func() { c.o.Events.Changed(keys) })
	}
}

func delay(conn net.Conn) {
	if t, ok := conn.(*tls.Conn); ok {
		conn = t.NetConn()
	}
	if t, ok := conn.(*net.TCPConn); ok {
		_ = t.SetNoDelay(false)
	}
}

// deliver calls f unless the connection is closed.
func (c *valkeyConn) deliver(f func()) {
	c.eventMu.Lock()
	defer c.eventMu.Unlock()
	// guard: closed-connection-is-not-lost
	if !c.closed {
		f()
	}
}

// subscribe keeps the subscription until ctx ends. The client re-subscribes by
// itself after most losses; every confirmation is reported, since messages may
// have been missed before it.
func (c *valkeyConn) subscribe(ctx context.Context) {
	hooked := valkey.WithOnSubscriptionHook(ctx, func(s valkey.PubSubSubscription) {
		defer c.o.Panics.Recover("subscribing", c.plain.reset)
		c.unsubscribed.Store(nil)
		c.deliver(func() { c.o.Events.Published("") })
	})
	for pause := 10 * time.Millisecond; ctx.Err() == nil; pause = min(2*pause, time.Second) {
		begun := time.Now()
		err := c.plain.Receive(hooked, c.subscription(), func(m valkey.PubSubMessage) {
			defer c.o.Panics.Recover("a message", c.plain.reset)
			c.deliver(func() { c.o.Events.Published(m.Message) })
		})
		if withholds(err) {
			c.unsubscribed.Store(&err)
		}
		if time.Since(begun) > time.Second {
			pause = 10 * time.Millisecond
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
}

// subscription is the command for it.
func (c *valkeyConn) subscription() valkey.Completed {
	if c.sharded() {
		return c.plain.B().Ssubscribe().Channel(c.channel).Build()
	}
	return c.plain.B().Subscribe().Channel(c.channel).Build()
}

// abandon ends all that an attempt to connect has made.
func (c *valkeyConn) abandon() {
	c.eventMu.Lock()
	c.closed = true
	c.eventMu.Unlock()
	c.large.close()
	if c.tracked != nil {
		c.tracked.Close()
	}
	c.plain.Close()
}

// Close implements [backend.Conn].
func (c *valkeyConn) Close() error {
	c.eventMu.Lock()
	c.closed = true
	c.eventMu.Unlock()
	c.cancel()
	c.tellAll()
	c.large.close()
	c.tracked.Close()
	c.plain.Close()
	c.running.Wait()
	return nil
}

// failure turns a client's error into one of ours; nil stays nil.
func failure(err error) error {
	if err == nil {
		return nil
	}
	text, _ := remoteerr.RefusalOf(err)
	switch {
	case errors.Is(err, valkey.ErrClosing):
		return fmt.Errorf("%w: %w", backend.ErrClosed, err)
	case strings.HasPrefix(text, "OOM "):
		return fmt.Errorf("%w: %w", backend.ErrFull, err)
	case strings.HasSuffix(text, lostAhead):
		return fmt.Errorf("%w: %w", backend.ErrEvicted, err)
	}
	return err
}
