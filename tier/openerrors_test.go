package tier_test

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/valkey-io/valkey-go"

	"github.com/tiercache/tiercache/internal/valkeytest"
	"github.com/tiercache/tiercache/tier"
)

// protectedMode is what a server says to a client from elsewhere.
const protectedMode = "-DENIED Running in protected mode because protected mode is enabled and no password is set for the default user. In this mode connections are only accepted from the loopback interface. If you want to connect from external computers, you may adopt one of the following solutions: 1) Just disable protected mode sending the command 'CONFIG SET protected-mode no' from the loopback interface by connecting from the same host the server is running, however MAKE SURE it's not publicly accessible from internet if you do so. 2) Alternatively you can just disable the protected mode by editing the configuration file, and setting the protected mode option to 'no', and then restarting the server. 3) If you started the server manually just for testing, restart it with the '--protected-mode no' option. 4) Set up an authentication password for the default user. NOTE: You only need to do one of the above things in order for the server to start accepting connections from the outside.\r\n"

func TestEachFailureToOpenIsToldWithCauseAndCure(t *testing.T) {
	t.Parallel()
	plain := valkeytest.Shared(t)
	second := valkeytest.Start(t)
	guarded := valkeytest.Start(t, valkeytest.TLS())
	mutual := valkeytest.Start(t, valkeytest.TLS(), valkeytest.Config("tls-auth-clients", "yes"))
	secret := valkeytest.Start(t, valkeytest.Config("requirepass", "s3cret"))
	full := valkeytest.Start(t)
	admin := full.Client(t)
	require.NoError(t, admin.Do(t.Context(), admin.B().Arbitrary("CONFIG", "SET", "maxclients", "1").Build()).Error())
	replica := valkeytest.Start(t, valkeytest.ReplicaOf(second.Addr))
	sentinels := valkeytest.StartSentinels(t)
	users := valkeytest.Start(t)
	user := func(name string, rights ...string) valkey.ClientOption {
		users.Do(t, append([]string{"ACL", "SETUSER", name, "on", ">p", "~*", "&*", "+@all"}, rights...)...)
		return valkey.ClientOption{InitAddress: []string{users.Addr}, Username: name, Password: "p"}
	}
	to := func(addresses ...string) valkey.ClientOption { return valkey.ClientOption{InitAddress: addresses} }
	hangs := fakeServer(t, func(c net.Conn) { _, _ = io.Copy(io.Discard, c) })
	tlsTo := func(s *valkeytest.Server, c *tls.Config) valkey.ClientOption {
		return valkey.ClientOption{InitAddress: []string{s.Addr}, TLSConfig: c}
	}
	set := func(name string, addresses ...string) valkey.ClientOption {
		return valkey.ClientOption{InitAddress: addresses, Sentinel: valkey.SentinelOption{MasterSet: name}}
	}
	expired := valkeytest.Start(t, valkeytest.TLS())
	old := valkeytest.Start(t, valkeytest.Config("rename-command", `GETDEL ""`), valkeytest.Config("rename-command", `EXISTS ""`))
	mute := valkeytest.Start(t, valkeytest.Config("rename-command", `EVAL ""`), valkeytest.Config("rename-command", `EVALSHA ""`))
	const passes = true
	cases := map[string]struct {
		o      valkey.ClientOption
		passes bool // it may: Open waits, and says so in the end
		cause  string
		cure   string
	}{
		"maxclients":                   {o: to(full.Addr), passes: passes, cause: "no connection to spare", cure: "raise its maxclients"},
		"protected mode":               {o: to(fakeServer(t, func(c net.Conn) { _, _ = io.WriteString(c, protectedMode) })), cause: "protected mode", cure: "set a password"},
		"a proxy that closes":          {o: to(fakeServer(t, func(net.Conn) {})), passes: passes, cause: "closed without a word", cure: "see whether one is in between"},
		"a proxy that reads first":     {o: to(fakeServer(t, func(c net.Conn) { _, _ = c.Read(make([]byte, 1000)) })), passes: passes, cause: "closed without a word", cure: "see whether one is in between"},
		"TLS to a plain port":          {o: tlsTo(plain, guarded.TLSConfig()), cause: "does not speak TLS at this port", cure: "begin the URL with valkey://"},
		"a silent server":              {o: to(hangs), passes: passes, cause: "nothing is answered", cure: "the server hangs"},
		"a silent server, with TLS":    {o: valkey.ClientOption{InitAddress: []string{hangs}, TLSConfig: guarded.TLSConfig()}, passes: passes, cause: "no TLS handshake is answered", cure: "begin the URL with valkey://"},
		"plain to a TLS port":          {o: to(guarded.Addr), cause: "speaks TLS at this port", cure: "begin the URL with valkeys://"},
		"no certificate of the client": {o: tlsTo(mutual, mutual.TLSConfig()), cause: "wants a certificate of the client", cure: "set TLSConfig.Certificates"},
		"plain, and it wants one":      {o: to(mutual.Addr), cause: "speaks TLS at this port", cure: "begin the URL with valkeys://"},
		"an unknown authority":         {o: tlsTo(expired, guarded.TLSConfig()), cause: "authority that is not trusted here", cure: "set TLSConfig.RootCAs"},
		"another name":                 {o: tlsTo(guarded, serverName(guarded.TLSConfig(), "cache.example.com")), cause: "certificate is for another name", cure: "TLSConfig.ServerName"},
		"several standalone ones":      {o: to(plain.Addr, second.Addr), cause: "several addresses are those of one cluster", cure: "name one server"},
		"a sentinel for a server":      {o: to(sentinels.Sentinels[0].Addr), cause: "a sentinel answers where a server is expected", cure: "name the master set"},
		"sentinels for a cluster":      {o: to(sentinels.Addrs()...), cause: "this server knows none", cure: "the master set"},
		"a server for a sentinel":      {o: set("mymaster", plain.Addr), cause: "a server answers where a sentinel is expected", cure: `leave the master set "mymaster" out`},
		"sentinels with a password":    {o: valkey.ClientOption{InitAddress: []string{fakeServer(t, hello("-NOAUTH HELLO must be called with the client already authenticated\r\n"))}, Password: "p", Sentinel: valkey.SentinelOption{MasterSet: "m"}}, cause: "the sentinels want a password of their own", cure: "sentinel_password"},
		"sentinels with another one":   {o: valkey.ClientOption{InitAddress: []string{fakeServer(t, hello("-WRONGPASS invalid username-password pair\r\n"))}, Sentinel: valkey.SentinelOption{MasterSet: "m", Password: "p"}}, cause: `the sentinels do not accept the user "default"`, cure: "sentinel_password"},
		"wrong master name":            {o: set("mymaster", sentinels.Addrs()...), cause: `know no master set "mymaster"`, cure: "SENTINEL MASTERS"},
		"zrange withheld":              {o: user("zrange", "-zrange"), cause: "the change log is read", cure: "grant +zrange"},
		"several rights withheld":      {o: user("several", "-getdel", "-exists", "-getrange"), cause: "entries are read", cure: "grant +getrange +exists +getdel"},
		"get withheld":                 {o: user("get", "-get"), cause: "a lease is given up", cure: "grant +get"},
		"info withheld":                {o: user("info", "-info"), cause: "a primary is told from a replica", cure: "grant +info"},
		"scripts withheld":             {o: user("eval", "-@scripting"), cause: "in one step", cure: "grant +evalsha +eval"},
		"a prefix not granted":         {o: user("prefix", "resetkeys", "~other:*"), cause: "may not use the keys", cure: "grant ~tiercache:* &tiercache:*"},
		"a channel not granted":        {o: user("channel", "resetchannels", "&other:*"), cause: "the channel of the prefix", cure: "grant ~tiercache:* &tiercache:*"},
		"commands that are not there":  {o: to(old.Addr), cause: "does not have EXISTS, GETDEL", cure: "docs/providers.md"},
		"no scripts at all":            {o: to(mute.Addr), cause: "runs no Lua scripts", cure: "load its Lua module"},
		"no such user":                 {o: valkey.ClientOption{InitAddress: []string{users.Addr}, Username: "nobody", Password: "p"}, cause: `does not accept the user "nobody"`, cure: "check both"},
		"wrong password":               {o: valkey.ClientOption{InitAddress: []string{secret.Addr}, Password: "wrong"}, cause: `does not accept the user "default"`, cure: "check both"},
		"no password":                  {o: to(secret.Addr), cause: "wants a password and was given none", cure: "valkey://user:password@host"},
		"no such database":             {o: valkey.ClientOption{InitAddress: []string{plain.Addr}, SelectDB: 99}, cause: "no database 99", cure: "take a lower one"},
		"a replica":                    {o: to(replica.Addr), passes: passes, cause: "the server is a replica", cure: "address the primary"},
		"no server":                    {o: to("127.0.0.1:1"), passes: passes, cause: "no server listens", cure: "check address and port"},
		"no such host":                 {o: to("no-such-host.invalid:6379"), passes: passes, cause: "not known here", cure: "check it"},
		"no port":                      {o: to("127.0.0.1"), cause: "no port", cure: "write host:6379"},
		"no such port":                 {o: to("127.0.0.1:99999"), cause: "no number from 1 to 65535", cure: "port"},
		"another protocol":             {o: to(fakeServer(t, serveAnswers(func(string) string { return "HTTP/1.1 400 Bad Request\r\n\r\n" }))), cause: "no Valkey server", cure: "check address and port"},
		"loading":                      {o: to(fakeServer(t, hello("-LOADING Valkey is loading the dataset in memory\r\n"))), passes: passes, cause: "still reads its data", cure: "wait"},
		"a replica without primary":    {o: to(fakeServer(t, hello("-MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.\r\n"))), passes: passes, cause: "lost its primary", cure: "wait for the failover"},
		"a bad client name":            {o: valkey.ClientOption{InitAddress: []string{plain.Addr}, ClientName: "two words"}, cause: "does not accept the client name", cure: "leave out spaces"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			patience := time.Minute
			if c.passes {
				patience = 2 * time.Second
			}
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			s, err := tier.Open(ctx, tier.WithValkeyClient(c.o))
			if err == nil {
				_ = s.Close()
				t.Fatal("it opens")
			}
			t.Logf("| %s | `%s` |", name, strings.TrimPrefix(err.Error(), "tier: remote tier unavailable: open: "))
			require.ErrorIs(t, err, tier.ErrUnavailable)
			require.ErrorContains(t, err, c.cause)
			require.ErrorContains(t, err, c.cure)
			require.NotContains(t, err.Error(), "\n", "it is one line")
			require.Equal(t, c.passes, ctx.Err() != nil, "it waits where that may be of use, and only there")
			if c.passes {
				require.ErrorIs(t, err, context.DeadlineExceeded)
			}
		})
	}
}

// serverName returns a configuration that wants a certificate of that name.
func serverName(c *tls.Config, name string) *tls.Config {
	c.ServerName = name
	return c
}

// A context that ends before anything could be looked at gives the causes that there may be.
func TestABriefOpenSaysWhatItCan(t *testing.T) {
	guarded := valkeytest.Start(t, valkeytest.TLS())
	hangs := fakeServer(t, func(c net.Conn) { _, _ = io.Copy(io.Discard, c) })
	for name, c := range map[string]struct {
		o    valkey.ClientOption
		says string
	}{
		"silent": {valkey.ClientOption{InitAddress: []string{hangs}}, "nothing is answered"},
		"no TLS": {valkey.ClientOption{InitAddress: []string{valkeytest.Shared(t).Addr}, TLSConfig: guarded.TLSConfig()}, "no TLS handshake is answered"},
		"nobody": {valkey.ClientOption{InitAddress: []string{"127.0.0.1:1"}}, "no server listens"},
		"unreachable": {valkey.ClientOption{InitAddress: []string{"a:1"}, DialCtxFn: func(ctx context.Context, _ string, _ *net.Dialer, _ *tls.Config) (net.Conn, error) {
			<-ctx.Done()
			return nil, &net.OpError{Op: "dial", Net: "tcp", Err: ctx.Err()}
		}}, "no connection comes about"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), time.Second) // a busy machine dials within that
			defer cancel()
			_, err := tier.Open(ctx, tier.WithValkeyClient(c.o))
			require.ErrorContains(t, err, c.says)
			require.ErrorIs(t, err, context.DeadlineExceeded)
		})
	}
}
