package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"
	"github.com/valkey-io/valkey-go"

	"github.com/tiercache/tiercache/tier"
)

// connectionFlags say where the server is.
type connectionFlags struct {
	url           string
	addrs         []string
	user          string
	passwordFile  string
	db            int
	sentinel      string
	tls           bool
	ca, cert, key string
	serverName    string
	prefix        string
	timeout       time.Duration
	noTracking    bool

	password string
	option   valkey.ClientOption
}

func (f *connectionFlags) register(flags *pflag.FlagSet) {
	flags.StringVar(&f.url, "url", "", "valkey://[user@]host[:port][,host…][/db], or valkeys:// with TLS, as tier.WithValkey takes it; TIERCTL_URL")
	flags.StringSliceVar(&f.addrs, "addr", nil, "host:port of a server, of any node of a cluster, or of sentinels; default 127.0.0.1:6379")
	flags.StringVar(&f.user, "user", "", "ACL user; TIERCTL_USER")
	flags.StringVar(&f.passwordFile, "password-file", "", "a file with the password, else TIERCTL_PASSWORD")
	flags.IntVar(&f.db, "db", 0, "database number")
	flags.StringVar(&f.sentinel, "sentinel", "", "name of the set that the sentinels at --addr watch")
	flags.BoolVar(&f.tls, "tls", false, "speak TLS")
	flags.StringVar(&f.ca, "tls-ca", "", "file of the certificates to trust; default the system's")
	flags.StringVar(&f.cert, "tls-cert", "", "file of the client's certificate")
	flags.StringVar(&f.key, "tls-key", "", "file of its key")
	flags.StringVar(&f.serverName, "tls-server-name", "", "name that the server's certificate must have; default the host")
	flags.StringVar(&f.prefix, "prefix", "tiercache", "the stores' WithPrefix; TIERCTL_PREFIX")
	flags.DurationVar(&f.timeout, "timeout", 5*time.Second, "bounds each request")
	flags.BoolVar(&f.noTracking, "without-tracking", false, "the stores are WithoutTracking; default: as those that are open, or were last")
}

// resolve reads the environment and the files, and checks that the flags fit together. changed reports which flags
// were given.
func (f *connectionFlags) resolve(getenv func(string) string, changed func(string) bool) error {
	byEnvironment := func(field *string, flag, variable string) {
		if v := getenv(variable); v != "" && !changed(flag) {
			*field = v
		}
	}
	if len(f.addrs) == 0 {
		byEnvironment(&f.url, "url", "TIERCTL_URL")
	}
	byEnvironment(&f.user, "user", "TIERCTL_USER")
	byEnvironment(&f.prefix, "prefix", "TIERCTL_PREFIX")
	f.password = getenv("TIERCTL_PASSWORD")
	if f.passwordFile != "" {
		b, err := os.ReadFile(f.passwordFile)
		if err != nil {
			return usageError{fmt.Errorf("--password-file: %w", err)}
		}
		f.password = strings.TrimRight(string(b), "\r\n")
	}
	if changed("url") && len(f.addrs) > 0 {
		return usagef("--url and --addr exclude each other")
	}
	if f.timeout <= 0 {
		return usagef("--timeout %v: must be above 0", f.timeout)
	}
	if f.sentinel != "" && len(f.addrs) == 0 && f.url == "" {
		return usagef("--sentinel needs the sentinels' addresses: --addr host:26379,…")
	}
	return f.resolveOption()
}

func (f *connectionFlags) resolveOption() error {
	o := valkey.ClientOption{InitAddress: f.addrs}
	if f.url != "" {
		parsed, err := parseURL(f.url)
		if err != nil {
			return usageError{fmt.Errorf("--url (or TIERCTL_URL): %w", err)}
		}
		o = parsed
	}
	if len(o.InitAddress) == 0 {
		o.InitAddress = []string{"127.0.0.1:6379"}
	}
	for _, a := range o.InitAddress {
		if _, _, err := net.SplitHostPort(a); err != nil && !strings.HasPrefix(a, "/") {
			return usagef("--addr %q: want host:port", a)
		}
	}
	if f.user != "" {
		o.Username = f.user
	}
	if f.password != "" {
		o.Password = f.password
	}
	f.password = o.Password
	if f.db != 0 {
		o.SelectDB = f.db
	}
	if f.sentinel != "" {
		o.Sentinel.MasterSet = f.sentinel
	}
	if err := f.resolveTLS(&o); err != nil {
		return err
	}
	if o.Sentinel.MasterSet != "" {
		o.Sentinel.TLSConfig = o.TLSConfig
	}
	o.ClientName = "tierctl"
	o.Dialer.Timeout = f.timeout
	o.ConnWriteTimeout = f.timeout
	f.option = o
	return nil
}

func (f *connectionFlags) resolveTLS(o *valkey.ClientOption) error {
	if f.tls || f.ca != "" || f.cert != "" || f.key != "" || f.serverName != "" {
		if o.TLSConfig == nil {
			o.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12}
		}
	}
	if o.TLSConfig == nil {
		return nil
	}
	if f.serverName != "" {
		o.TLSConfig.ServerName = f.serverName
	}
	if f.ca != "" {
		pem, err := os.ReadFile(f.ca)
		if err != nil {
			return usageError{fmt.Errorf("--tls-ca: %w", err)}
		}
		o.TLSConfig.RootCAs = x509.NewCertPool()
		if !o.TLSConfig.RootCAs.AppendCertsFromPEM(pem) {
			return usagef("--tls-ca %s: holds no certificate", f.ca)
		}
	}
	if (f.cert == "") != (f.key == "") {
		return usagef("--tls-cert and --tls-key need each other")
	}
	if f.cert != "" {
		pair, err := tls.LoadX509KeyPair(f.cert, f.key)
		if err != nil {
			return usageError{fmt.Errorf("--tls-cert: %w", err)}
		}
		o.TLSConfig.Certificates = []tls.Certificate{pair}
	}
	return nil
}

// redact takes the password out of a text.
func (f *connectionFlags) redact(text string) string {
	if f.password == "" {
		return text
	}
	return strings.ReplaceAll(text, f.password, "***")
}

// server is a connection to what the stores share.
type server struct {
	valkey.Client
	option  valkey.ClientOption
	prefix  string
	timeout time.Duration
}

// connect dials. The client is a plain one, that tracks nothing.
func (c *command) connect(ctx context.Context) (*server, error) {
	f := &c.connection
	o := f.option
	o.DisableCache = true
	o.DisableRetry = true
	o.BlockingPoolSize = 4
	client, err := newClient(ctx, o, f.timeout)
	if err != nil {
		return nil, fmt.Errorf("connecting to %s: %w", strings.Join(o.InitAddress, ", "), err)
	}
	return &server{Client: client, option: o, prefix: f.prefix, timeout: f.timeout}, nil
}

// newClient is valkey.NewClient, which waits longer than ctx where a server accepts connections and does not answer.
func newClient(ctx context.Context, o valkey.ClientOption, timeout time.Duration) (valkey.Client, error) {
	type made struct {
		client valkey.Client
		err    error
	}
	done := make(chan made, 1)
	go func() { // ends with the dial, which o.Dialer bounds
		client, err := valkey.NewClient(o)
		done <- made{client, err}
	}()
	abandon := func(err error) (valkey.Client, error) {
		go func() {
			if m := <-done; m.err == nil {
				m.client.Close()
			}
		}()
		return nil, err
	}
	wait := time.NewTimer(2 * timeout)
	defer wait.Stop()
	select {
	case m := <-done:
		return m.client, m.err
	case <-ctx.Done():
		return abandon(ctx.Err())
	case <-wait.C:
		return abandon(fmt.Errorf("no answer within %v", 2*timeout))
	}
}

// ask bounds one request.
func (s *server) ask(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, s.timeout)
}

// ask1 sends one command, which needs no key, and returns its answer.
func (s *server) ask1(ctx context.Context, client valkey.CoreClient, args ...string) valkey.ValkeyResult {
	ctx, cancel := s.ask(ctx)
	defer cancel()
	return client.Do(ctx, client.B().Arbitrary(args...).Build())
}

func (s *server) logKey() string  { return s.prefix + ":{" + s.prefix + "}:log" }
func (s *server) channel() string { return s.prefix + ":{" + s.prefix + "}:changes" }

func (s *server) isCluster() bool { return s.Mode() == valkey.ClientModeCluster }

// node is one server.
type node struct {
	addr    string
	client  valkey.Client
	info    map[string]string // its INFO; empty if it may not be read
	infoErr error
}

// primary reports whether the node says so, or says nothing.
func (n *node) primary() bool { return n.info["role"] == "" || n.info["role"] == "master" }

// nodes returns all servers that the client knows, in the order of their addresses. A node that does not answer has an
// infoErr.
func (s *server) nodes(ctx context.Context) (all []*node) {
	if !s.isCluster() {
		n := &node{addr: strings.Join(s.option.InitAddress, ", "), client: s.Client}
		n.info, n.infoErr = s.info(ctx, s.Client)
		return []*node{n}
	}
	for addr, client := range s.Nodes() {
		n := &node{addr: addr, client: client}
		n.info, n.infoErr = s.info(ctx, client)
		all = append(all, n)
	}
	slices.SortFunc(all, func(a, b *node) int { return strings.Compare(a.addr, b.addr) })
	return all
}

// primaries are the nodes that have keys.
func (s *server) primaries(ctx context.Context) ([]*node, error) {
	all := s.nodes(ctx)
	out := slices.DeleteFunc(slices.Clone(all), func(n *node) bool { return !n.primary() || unreachable(n.infoErr) })
	if len(out) == 0 {
		for _, n := range all {
			if n.infoErr != nil {
				return nil, n.infoErr
			}
		}
		return nil, errors.New("no primary answers")
	}
	return out, nil
}

func (s *server) info(ctx context.Context, client valkey.Client) (map[string]string, error) {
	text, err := s.ask1(ctx, client, "INFO", "server", "replication", "memory", "stats", "keyspace", "clients", "persistence", "cluster").ToString()
	return fieldsOf(text), err
}

// fieldsOf reads the lines of an INFO.
func fieldsOf(text string) map[string]string {
	fields := make(map[string]string)
	text = strings.TrimPrefix(text, "txt:") // how RESP3 begins a text whose form it tells
	for line := range strings.SplitSeq(text, "\n") {
		if k, v, ok := strings.Cut(strings.TrimRight(line, "\r"), ":"); ok {
			fields[k] = v
		}
	}
	return fields
}

// unreachable reports whether err is not the server's answer.
func unreachable(err error) bool {
	if err == nil {
		return false
	}
	_, answered := valkey.IsValkeyErr(err)
	return !answered
}

// denied reports whether the server refuses a command to this user, or does not have it.
func denied(err error) bool {
	e, ok := valkey.IsValkeyErr(err)
	return ok && (strings.HasPrefix(e.Error(), "NOPERM") || strings.Contains(e.Error(), "unknown command"))
}

// openStore opens a store beside those of the fleet, in their mode.
func (c *command) openStore(ctx context.Context) (*tier.Store, error) {
	f := &c.connection
	options := []tier.Option{tier.WithValkeyClient(f.option), tier.WithPrefix(f.prefix), tier.WithRemoteTimeout(f.timeout), tier.WithLogger(quiet)}
	s, err := c.connect(ctx)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	log, err := s.readLog(ctx)
	if err != nil {
		return nil, err
	}
	latest := log.latestMode()
	if f.noTracking || latest.untracked {
		options = append(options, tier.WithoutTracking())
	}
	// With a shorter life than the fleet's, this store could forget changes that the fleet still needs.
	if life := latest.life.Truncate(time.Millisecond); life > tier.DefaultMaxTTL {
		options = append(options, tier.WithMaxTTL(life))
	}
	octx, cancel := context.WithTimeout(ctx, 2*f.timeout)
	defer cancel()
	return tier.Open(octx, options...)
}
