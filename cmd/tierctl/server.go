package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/valkey-io/valkey-go"

	"github.com/tiercache/tiercache/internal/checkconn"
	"github.com/tiercache/tiercache/tier"
)

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
		return nil, fmt.Errorf("connecting to %s: %w", strings.Join(o.InitAddress, ", "), c.explain(ctx, err))
	}
	return &server{Client: client, option: o, prefix: f.prefix, timeout: f.timeout}, nil
}

// explain returns an error of connecting with its cause and cure, which a store finds out when it opens. The store's
// error tells no more than that: it is not opened where it can connect.
func (c *command) explain(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return err
	}
	f, patience := &c.connection, 4*time.Second
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "dial" && !op.Timeout() {
		patience = 300 * time.Millisecond // it is known at once, and a store would go on trying
	}
	ctx, cancel := context.WithTimeout(ctx, min(f.timeout, patience))
	defer cancel()
	s, told := tier.Open(ctx, tier.WithValkeyClient(f.option), tier.WithPrefix(f.prefix), tier.WithoutTracking(), tier.WithLogger(quiet))
	if told == nil {
		_ = s.Close()
		return err
	}
	_, says, found := strings.Cut(told.Error(), ": connecting to valkey at "+strings.Join(f.option.InitAddress, ", ")+": ")
	if !found {
		return err
	}
	return errors.New(byFlags.Replace(says))
}

// byFlags names flags where the library names its options.
var byFlags = strings.NewReplacer(
	"(or set TLSConfig)", "(or give --tls)",
	"(TLSConfig nil)", "(leave --tls out)",
	"put it into the URL, valkey://user:password@host, or into ClientOption.Password", "TIERCTL_PASSWORD or --password-file",
	"set TLSConfig.Certificates (WithValkeyClient; a URL cannot name one)", "--tls-cert and --tls-key",
	"set TLSConfig.Certificates (WithValkeyClient) to one that its authority has signed", "--tls-cert and --tls-key of one that its authority has signed",
	"set TLSConfig.RootCAs (WithValkeyClient)", "--tls-ca",
	"set TLSConfig.ServerName", "give --tls-server-name",
	"see TLSConfig (WithValkeyClient)", "--tls-ca and --tls-server-name",
	"(master_set in the URL, Sentinel.MasterSet in ClientOption)", "(--sentinel)",
	", or Sentinel.Password in ClientOption", "",
	", or Sentinel.Username and Sentinel.Password in ClientOption", "",
)

// checked has no connection hand the client what it did not ask for: it would panic, or make as much room as what listens there
// says that it sends.
func checked(o valkey.ClientOption) valkey.ClientOption {
	given := o.DialCtxFn
	o.DialCtxFn = func(ctx context.Context, address string, d *net.Dialer, t *tls.Config) (conn net.Conn, err error) {
		switch {
		case given != nil:
			conn, err = given(ctx, address, d, t)
		case t != nil:
			conn, err = (&tls.Dialer{NetDialer: d, Config: t}).DialContext(ctx, "tcp", address)
		default:
			conn, err = d.DialContext(ctx, "tcp", address)
		}
		if err != nil {
			return nil, err
		}
		return checkconn.New(conn, nil), nil
	}
	return o
}

// newClient is valkey.NewClient, which waits longer than ctx where a server accepts connections and does not answer.
func newClient(ctx context.Context, o valkey.ClientOption, timeout time.Duration) (valkey.Client, error) {
	type made struct {
		client valkey.Client
		err    error
	}
	done := make(chan made, 1)
	go func() { // ends with the dial, which o.Dialer bounds
		client, err := valkey.NewClient(checked(o))
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
	select {
	case m := <-done:
		return m.client, m.err
	case <-ctx.Done():
		return abandon(ctx.Err())
	case <-time.After(2 * timeout):
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

func (s *server) logKey() string { return s.prefix + ":{" + s.prefix + "}:log" }

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
func (c *command) openStore(ctx context.Context, more ...tier.Option) (*tier.Store, error) {
	f := &c.connection
	options := append(more, tier.WithValkeyClient(f.option), tier.WithPrefix(f.prefix), tier.WithRemoteTimeout(f.timeout), tier.WithLogger(quiet))
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
