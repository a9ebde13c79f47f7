//go:build unix

package remote

import (
	"context"
	"crypto/tls"
	"errors"
	"maps"
	"net"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/valkey-io/valkey-go"

	"github.com/tiercache/tiercache/internal/backend"
	"github.com/tiercache/tiercache/internal/valkeytest"
)

// option is what becomes of an option of the client's.
type option int

const (
	used    option = iota // by the connection that tracks; a test below shows it
	refused               // by Check: TestCheckNamesWhatContradictsTheCache
	client                // by the plain client and by clusters; the connection that tracks is one connection, in order, and needs none of it
	nothing               // it is set, or has nothing to do with what the cache asks
)

// optionsOf says it for each. Pool sizes, rings and buffers are those of a client; a replica is
// never read, so neither are there zones to choose one by.
var optionsOf = map[string]option{
	"TLSConfig": used, "DialFn": used, "DialCtxFn": used, "AuthCredentialsFn": used, "RetryDelay": used, "Sentinel": used, "Dialer": used,
	"Username": used, "Password": used, "ClientName": used, "ClientSetInfo": used, "InitAddress": used, "Standalone": used, "SelectDB": used,
	"ConnWriteTimeout": used, "DisableTCPNoDelay": used, "ClientNoTouch": used, "ClientNoEvict": used, "DisableRetry": used, "ForceSingleClient": used,

	"OnInvalidations": refused, "SendToReplicas": refused, "ReplicaSelector": refused, "ReadNodeSelector": refused, "ClientTrackingOptions": refused,
	"ConnLifetime": refused, "DisableCache": refused, "AlwaysRESP2": refused, "ReplicaOnly": refused, "DisableAutoPipelining": refused,

	"RingScaleEachConn": client, "ReadBufferEachConn": client, "WriteBufferEachConn": client, "MaxFlushDelay": client, "ClusterOption": client,
	"ShuffleInit": client, "BlockingPoolCleanup": client, "BlockingPoolMinSize": client, "BlockingPoolSize": client,

	"NewCacheStoreFn": nothing, "CacheSizeEachConn": nothing, "BlockingPipeline": nothing, "PipelineMultiplex": nothing, "AlwaysPipelining": nothing,
	"EnableReplicaAZInfo": nothing, "AZFromInfo": nothing,
}

func TestEveryOptionOfTheClientsIsAccountedFor(t *testing.T) {
	var all []string
	for i := range reflect.TypeFor[valkey.ClientOption]().NumField() {
		all = append(all, reflect.TypeFor[valkey.ClientOption]().Field(i).Name)
	}
	require.ElementsMatch(t, all, slices.Collect(maps.Keys(optionsOf)))
}

// connectWith connects with options, and returns the connection that tracks and what the server says of it.
func connectWith(t *testing.T, o valkey.ClientOption) (c *valkeyConn, info map[string]string) {
	t.Helper()
	none := func() {}
	opened, err := Valkey(o).Connect(t.Context(), backend.Options{Prefix: "p", Timeout: 10 * time.Second, Events: backend.Events{Changed: func([]string) {}, Lost: none, Published: func(string) {}}})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, opened.Close()) })
	c = opened.(*valkeyConn)
	b := newBatch()
	b.add("CLIENT", "INFO")
	text, err := c.tracked.ask(t.Context(), b)[0].text()
	require.NoError(t, err)
	info = make(map[string]string)
	for field := range strings.FieldsSeq(text) {
		name, value, _ := strings.Cut(field, "=")
		info[name] = value
	}
	require.Equal(t, "3", info["resp"])
	require.Contains(t, info["flags"], "t", "it tracks")
	return c, info
}

func TestTheConnectionThatTracksIsGreetedAsTheOptionsSay(t *testing.T) {
	s := valkeytest.Start(t, valkeytest.Config("user", "app on >secret ~* &* +@all"))
	_, info := connectWith(t, valkey.ClientOption{InitAddress: []string{s.Addr}})
	require.Equal(t, map[string]string{"name": "", "user": "default", "db": "0", "lib-name": valkey.LibName, "lib-ver": valkey.LibVer},
		map[string]string{"name": info["name"], "user": info["user"], "db": info["db"], "lib-name": info["lib-name"], "lib-ver": info["lib-ver"]})
	require.NotContains(t, info["flags"], "T")
	require.NotContains(t, info["flags"], "e")

	_, info = connectWith(t, valkey.ClientOption{InitAddress: []string{s.Addr}, Username: "app", Password: "secret", ClientName: "name", SelectDB: 3,
		ClientSetInfo: []string{"lib", "1"}, ClientNoTouch: true, ClientNoEvict: true, ForceSingleClient: true})
	require.Equal(t, map[string]string{"name": "name", "user": "app", "db": "3", "lib-name": "lib", "lib-ver": "1"},
		map[string]string{"name": info["name"], "user": info["user"], "db": info["db"], "lib-name": info["lib-name"], "lib-ver": info["lib-ver"]})
	require.Contains(t, info["flags"], "T")
	require.Contains(t, info["flags"], "e")

	_, info = connectWith(t, valkey.ClientOption{InitAddress: []string{s.Addr}, ClientSetInfo: []string{}})
	require.Empty(t, info["lib-name"])
}

func TestAPasswordWithoutAUserIsThatOfTheDefaultOne(t *testing.T) {
	s := valkeytest.Start(t, valkeytest.Config("requirepass", "secret"))
	_, info := connectWith(t, valkey.ClientOption{InitAddress: []string{s.Addr}, Password: "secret"})
	require.Equal(t, "default", info["user"])
	_, err := Valkey(valkey.ClientOption{InitAddress: []string{s.Addr}, Password: "wrong"}).Connect(t.Context(), backend.Options{Prefix: "p", Timeout: time.Second})
	require.ErrorContains(t, err, "WRONGPASS")
	require.NotContains(t, err.Error(), "wrong ")
}

// Credentials are asked for with each connection, and again when they are to be renewed.
func TestCredentialsAreRenewed(t *testing.T) {
	s := valkeytest.Start(t, valkeytest.Config("user", "app on >one >two ~* &* +@all"))
	var asked atomic.Int64
	c, info := connectWith(t, valkey.ClientOption{InitAddress: []string{s.Addr}, AuthCredentialsFn: func(x valkey.AuthCredentialsContext) (valkey.AuthCredentials, error) {
		if x.Address.String() != s.Addr {
			return valkey.AuthCredentials{}, errors.New("which server?")
		}
		asked.Add(1)
		return valkey.AuthCredentials{Username: "app", Password: "two", RefreshAfter: time.Now().Add(20 * time.Millisecond)}, nil
	}})
	require.Equal(t, "app", info["user"])
	before := asked.Load()
	require.Eventually(t, func() bool { return asked.Load() >= before+6 }, time.Minute, time.Millisecond)
	require.EqualValues(t, 1, c.dials.Load(), "over the same connection")
}

func TestTheConnectionThatTracksIsDialledAsTheOptionsSay(t *testing.T) {
	s := valkeytest.Start(t)
	t.Run("DialCtxFn", func(t *testing.T) {
		var dials atomic.Int64
		connectWith(t, valkey.ClientOption{InitAddress: []string{s.Addr}, DialCtxFn: func(ctx context.Context, address string, d *net.Dialer, _ *tls.Config) (net.Conn, error) {
			dials.Add(1)
			return d.DialContext(ctx, "tcp", address)
		}})
		require.EqualValues(t, 2, dials.Load(), "the plain client's and ours")
	})
	t.Run("DialFn", func(t *testing.T) {
		var dials atomic.Int64
		connectWith(t, valkey.ClientOption{InitAddress: []string{"a name of the user's"}, DialFn: func(address string, d *net.Dialer, _ *tls.Config) (net.Conn, error) {
			require.Equal(t, "a name of the user's", address)
			dials.Add(1)
			return d.Dial("tcp", s.Addr)
		}})
		require.EqualValues(t, 2, dials.Load())
	})
	t.Run("Dialer", func(t *testing.T) {
		var dials atomic.Int64
		connectWith(t, valkey.ClientOption{InitAddress: []string{s.Addr}, Dialer: net.Dialer{Control: func(string, string, syscall.RawConn) error {
			dials.Add(1)
			return nil
		}}})
		require.EqualValues(t, 2, dials.Load())
	})
	t.Run("TLSConfig", func(t *testing.T) {
		s := valkeytest.Start(t, valkeytest.TLS())
		connectWith(t, valkey.ClientOption{InitAddress: []string{s.Addr}, TLSConfig: s.TLSConfig()})
	})
	t.Run("DisableTCPNoDelay", func(t *testing.T) {
		for _, disabled := range []bool{false, true} {
			var conns []*net.TCPConn
			connectWith(t, valkey.ClientOption{InitAddress: []string{s.Addr}, DisableTCPNoDelay: disabled, DialFn: func(address string, d *net.Dialer, _ *tls.Config) (net.Conn, error) {
				conn, err := d.Dial("tcp", address)
				if err == nil {
					conns = append(conns, conn.(*net.TCPConn))
				}
				return conn, err
			}})
			require.Len(t, conns, 2)
			for _, conn := range conns {
				require.Equal(t, disabled, delays(t, conn))
			}
		}
	})
}

// A server that is silent for longer than KeepAlive is asked, and left if it does not
// answer within ConnWriteTimeout.
func TestAConnectionThatIsSilentIsGivenUp(t *testing.T) {
	s := valkeytest.Start(t)
	c, _ := connectWith(t, valkey.ClientOption{InitAddress: []string{s.Addr}, ConnWriteTimeout: 50 * time.Millisecond, Dialer: net.Dialer{KeepAlive: 20 * time.Millisecond}})
	w := c.tracked.(*serverConn).conn.Load()
	s.Pause()
	require.Eventually(t, func() bool { return c.tracked.(*serverConn).conn.Load() != w }, time.Minute, time.Millisecond)
	s.Resume()
	c.directly(t, w)
}

// flaky is a server whose connections end at each read of a key until it is mended.
func flaky(t *testing.T, mended *atomic.Bool) valkey.ClientOption {
	s := &fuzzServer{}
	t.Cleanup(func() { s.all.Wait() })
	return valkey.ClientOption{InitAddress: []string{"a:1"}, ForceSingleClient: true, DialCtxFn: func(context.Context, string, *net.Dialer, *tls.Config) (net.Conn, error) {
		here, there := net.Pipe()
		s.all.Go(func() { defer there.Close(); s.serve(endsAtGet{there, mended}) })
		return here, nil
	}}
}

// endsAtGet ends the connection when it is to say what was got.
type endsAtGet struct {
	net.Conn
	mended *atomic.Bool
}

func (e endsAtGet) Write(b []byte) (int, error) {
	if string(b) == bulk("value") && !e.mended.Swap(true) {
		e.Close()
		return 0, net.ErrClosed
	}
	return e.Conn.Write(b)
}

// A read whose connection was lost is asked once more, unless DisableRetry.
func TestAReadWhoseConnectionWasLostIsAskedOnceMore(t *testing.T) {
	for _, disabled := range []bool{false, true} {
		var mended atomic.Bool
		mended.Store(true)
		o := flaky(t, &mended)
		o.DisableRetry = disabled
		none := func() {}
		opened, err := Valkey(o).Connect(t.Context(), backend.Options{Prefix: "p", Timeout: 10 * time.Second, Events: backend.Events{Changed: func([]string) {}, Lost: none, Published: func(string) {}}})
		require.NoError(t, err)
		mended.Store(false)
		item, err := opened.GetOne(t.Context(), "p:k")
		require.Equal(t, disabled, err != nil)
		require.Equal(t, !disabled, item.Found())
		require.NoError(t, opened.Close())
	}
}

// RetryDelay says how long to wait between attempts to connect.
func TestAttemptsToConnectAreAsFarApartAsRetryDelaySays(t *testing.T) {
	s := valkeytest.Start(t)
	var asked atomic.Int64
	c, _ := connectWith(t, valkey.ClientOption{InitAddress: []string{s.Addr}, RetryDelay: func(attempts int, cmd valkey.Completed, err error) time.Duration {
		if err != nil && attempts > 0 {
			asked.Add(1)
		}
		return time.Millisecond
	}})
	w := c.directly(t, nil)
	s.Kill()
	require.Eventually(t, func() bool { return asked.Load() > 3 }, time.Minute, time.Millisecond)
	s.Restart()
	c.directly(t, w)
}

// A replica that sends its clients to the primary is left for that, with what was asked.
func TestARedirectionIsFollowed(t *testing.T) {
	primary := valkeytest.Start(t)
	replica := valkeytest.Start(t, valkeytest.ReplicaOf(primary.Addr))
	replica.AwaitReplica(t, primary)
	primary.Do(t, "SET", "p:k", "0000000000000 value")
	c, _ := connectWith(t, valkey.ClientOption{InitAddress: []string{replica.Addr}, Standalone: valkey.StandaloneOption{EnableRedirect: true}})
	item, err := c.GetOne(t.Context(), "p:k")
	require.NoError(t, err)
	require.True(t, item.Found())
	h := c.tracked.(*serverConn)
	h.mu.Lock()
	defer h.mu.Unlock()
	require.Equal(t, primary.Addr, h.address)
}

// The connection that tracks goes to the primary that sentinels name, and follows them.
func TestSentinelsSayWhereThePrimaryIs(t *testing.T) {
	set := valkeytest.StartSentinels(t)
	c, _ := connectWith(t, valkey.ClientOption{InitAddress: set.Addrs(), Sentinel: valkey.SentinelOption{MasterSet: set.Name}})
	at := func() string {
		h := c.tracked.(*serverConn)
		h.mu.Lock()
		defer h.mu.Unlock()
		return h.address
	}
	require.Equal(t, set.Primary.Addr, at())
	set.Primary.Kill()
	set.AwaitPrimary(t, set.Replica)
	require.Eventually(t, func() bool {
		_, err := c.GetOne(t.Context(), "p:k")
		return err == nil && at() == set.Replica.Addr
	}, time.Minute, 10*time.Millisecond)
}

// What is set for a client stays; what is not set is small.
func TestAClientsBuffersAreSmallUnlessTheyAreSet(t *testing.T) {
	o := valkey.ClientOption{}
	small(&o)
	require.Equal(t, valkey.ClientOption{ReadBufferEachConn: 4 << 10, WriteBufferEachConn: 4 << 10, RingScaleEachConn: 6}, o)
	o = valkey.ClientOption{ReadBufferEachConn: 1 << 10, WriteBufferEachConn: 2 << 10, RingScaleEachConn: 3}
	set := o
	small(&o)
	require.Equal(t, set, o)
}

// What has no effect does no harm either.
func TestOptionsOfWhatTheCacheDoesNotUse(t *testing.T) {
	s := valkeytest.Start(t)
	stores := 0
	_, info := connectWith(t, valkey.ClientOption{InitAddress: []string{s.Addr}, NewCacheStoreFn: func(valkey.CacheStoreOption) valkey.CacheStore { stores++; return nil },
		CacheSizeEachConn: 1, BlockingPipeline: 1, PipelineMultiplex: 2, AlwaysPipelining: true, EnableReplicaAZInfo: true, AZFromInfo: true,
		RingScaleEachConn: 2, ReadBufferEachConn: 64, WriteBufferEachConn: 64, MaxFlushDelay: time.Microsecond, ShuffleInit: true,
		BlockingPoolCleanup: time.Second, BlockingPoolMinSize: 1, BlockingPoolSize: 1, ClusterOption: valkey.ClusterOption{ShardsRefreshInterval: time.Second}})
	require.NotEmpty(t, info)
	require.Zero(t, stores)
	require.Equal(t, 2, strings.Count(s.Do(t, "CLIENT", "LIST", "TYPE", "NORMAL").String(), "lib-name="+valkey.LibName)+
		strings.Count(s.Do(t, "CLIENT", "LIST", "TYPE", "PUBSUB").String(), "lib-name="+valkey.LibName)-1, "less that which lists them")
}

// beside is what a connection that tracks has beside it.
func beside(plain valkey.Client, lost func()) *valkeyConn {
	c := &valkeyConn{plain: newLink(nil), histories: newHistories(), o: backend.Options{Events: backend.Events{Changed: func([]string) {}, Lost: lost}}}
	c.plain.Client = plain
	return c
}

// A sentinel may name a server before it is a primary, or after it was.
func TestOnlyAPrimaryIsUsedThatSentinelsName(t *testing.T) {
	primary := valkeytest.Start(t)
	replica := valkeytest.Start(t, valkeytest.ReplicaOf(primary.Addr))
	replica.AwaitReplica(t, primary)
	for _, s := range []*valkeytest.Server{primary, replica} {
		plain, err := valkey.NewClient(valkey.ClientOption{InitAddress: []string{s.Addr}, DisableCache: true})
		require.NoError(t, err)
		t.Cleanup(plain.Close)
		h := newServerConn(beside(plain, func() {}), valkeyBackend{valkey.ClientOption{Sentinel: valkey.SentinelOption{MasterSet: "m"}}}.base(backend.Options{}))
		w, _, _, err := h.connect()
		if s == primary {
			require.NoError(t, err)
			w.Close()
		} else {
			require.ErrorContains(t, err, "not the primary")
		}
		h.Close()
	}
}

// Guard: ownedConn.Close. KeepAlive is an hour: it is the plain client that tells, by closing its
// connection to the server that it leaves.
func TestAFailoverIsFollowedAtOnce(t *testing.T) {
	old, next := valkeytest.Start(t), valkeytest.Start(t)
	o, err := Valkey(valkey.ClientOption{InitAddress: []string{old.Addr}, Dialer: net.Dialer{KeepAlive: time.Hour}}).Connect(t.Context(),
		backend.Options{Prefix: "p", Timeout: 10 * time.Second, Events: backend.Events{Changed: func([]string) {}, Lost: func() {}, Published: func(string) {}}})
	require.NoError(t, err)
	c := o.(*valkeyConn)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	h := c.tracked.(*serverConn)
	var address atomic.Pointer[string]
	address.Store(&next.Addr)
	c.cancel() // those that use the plain client beside the connection's own goroutine, which locks h
	c.running.Wait()
	h.mu.Lock()
	c.plain.Client = elsewhere{c.plain.Client, &address} // which has turned by now
	h.mu.Unlock()
	require.Equal(t, old.Addr, h.conn.Load().RemoteAddr().String())
	c.plain.reset()
	require.Eventually(t, func() bool { w := h.conn.Load(); return w != nil && w.RemoteAddr().String() == next.Addr }, time.Minute, time.Millisecond)
}

// elsewhere is a client that has turned to another server.
type elsewhere struct {
	valkey.Client
	address *atomic.Pointer[string]
}

func (e elsewhere) Nodes() map[string]valkey.Client {
	return map[string]valkey.Client{*e.address.Load(): nil}
}

// The server that was the primary may go on, and end no connection.
func TestAnotherPrimaryIsFollowedThoughTheOldOneGoesOn(t *testing.T) {
	old, next := valkeytest.Start(t), valkeytest.Start(t)
	plain, err := valkey.NewClient(valkey.ClientOption{InitAddress: []string{old.Addr}, DisableCache: true})
	require.NoError(t, err)
	defer plain.Close()
	var address atomic.Pointer[string]
	address.Store(&old.Addr)
	var lost atomic.Int64
	c := beside(elsewhere{plain, &address}, func() { lost.Add(1) })
	h := newServerConn(c, valkeyBackend{valkey.ClientOption{Dialer: net.Dialer{KeepAlive: 10 * time.Millisecond}}}.base(backend.Options{}))
	h.spawn(h.run)
	defer h.Close()
	first, err := h.connection(t.Context())
	require.NoError(t, err)
	address.Store(&next.Addr)
	require.Eventually(t, func() bool { w := h.conn.Load(); return w != nil && w != first }, time.Minute, time.Millisecond)
	require.Equal(t, next.Addr, h.conn.Load().RemoteAddr().String())
	require.EqualValues(t, 2, c.dials.Load())
	require.GreaterOrEqual(t, lost.Load(), int64(3), "with each connection, and the end of one")
}
