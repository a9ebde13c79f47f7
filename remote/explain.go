package remote

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/valkey-io/valkey-go"

	"github.com/tiercache/tiercache/internal/backend"
	"github.com/tiercache/tiercache/internal/remoteerr"
)

// connectError is why an attempt to connect has failed: the cause and the cure, and behind them what was said.
type connectError struct {
	says   string
	err    error
	passes bool
}

func (e *connectError) Error() string { return e.says + " (" + oneLine(e.err) + ")" }
func (e *connectError) Unwrap() error { return e.err }

// MayPass reports whether another attempt may succeed.
func (e *connectError) MayPass() bool { return e.passes }

// oneLine is the text of an error in one line that can be read.
func oneLine(err error) string {
	text := strings.Join(strings.Fields(err.Error()), " ")
	if len(text) > 300 {
		text = text[:300] + "…"
	}
	return text
}

// explanation is what one kind of failure means.
type explanation struct {
	part   string // of the error's text
	passes bool
	says   string // in which {…} stands for what was asked for
}

// explanations, the first that fits is meant. What a server says comes before what a network says.
var explanations = []explanation{
	{"max number of clients", true, "the server has no connection to spare: close other clients' connections, or raise its maxclients"},
	{"DENIED ", false, "the server is in protected mode, and serves only clients on its own machine: set a password (requirepass or ACL) there, or protected-mode no"},
	{"NOAUTH", false, "the server wants a password and was given none: put it into the URL, valkey://user:password@host, or into ClientOption.Password"},
	{"WRONGPASS", false, "the server does not accept the user {user} with this password: check both (in a URL special characters are written in percent-encoding), and that the user is on"},
	{"invalid password", false, "the server does not accept the password: check it (in a URL special characters are written in percent-encoding)"},
	{"LOADING", true, "the server has started and still reads its data: wait"},
	{"BUSY ", true, "a script blocks the server: wait, or end it with SCRIPT KILL"},
	{"MASTERDOWN", true, "the server is a replica that has lost its primary: wait for the failover, or address the primary"},
	{"CLUSTERDOWN", true, "the cluster has no majority, or a slot without a server: repair it (CLUSTER INFO, CLUSTER NODES)"},
	{"OOM ", true, "the server's memory is full and nothing can be evicted: raise maxmemory, or set maxmemory-policy volatile-lru"},
	{"only a primary knows", true, "the server is a replica: address the primary, the cluster, or the sentinels (master_set)"},
	{"and not the primary", true, "the sentinels name a server that is not the primary yet: wait for the failover"},
	{"READONLY", true, "the server is a replica: address the primary, the cluster, or the sentinels (master_set)"},
	{"SELECT is not allowed in cluster mode", false, "a cluster has database 0 alone: leave the database {db} out"},
	{"DB index is out of range", false, "the server has no database {db}: take a lower one, or raise its setting databases"},
	{"unknown command 'SENTINEL'", false, "a server answers where a sentinel is expected: leave the master set {set} out, or name the sentinels (their port is 26379 as a rule)"},
	{"No such master", false, "the sentinels know no master set {set}: SENTINEL MASTERS, sent to one, lists the names"},
	{errSentinel.Error(), false, "a sentinel answers where a server is expected: name the master set (master_set in the URL, Sentinel.MasterSet in ClientOption), or address the server"},
	{"cluster support disabled", false, "several addresses are those of one cluster, or of sentinels (with master_set), and this server is neither: name one server"},
	{"unknown command 'CLUSTER'", false, "several addresses are those of one cluster, and this server knows none: name one server, or if these are sentinels the master set (master_set)"},
	{"MOVED ", false, "the server is a node of a cluster and was asked as if it were alone: leave ForceSingleClient and Standalone out"},
	{"Client names cannot contain", false, "the server does not accept the client name: leave out spaces, line ends and other special characters"},
	{"certificate required", false, "the server wants a certificate of the client: set TLSConfig.Certificates (WithValkeyClient; a URL cannot name one)"},
	{"bad certificate", false, "the server does not accept the client's certificate: set TLSConfig.Certificates (WithValkeyClient) to one that its authority has signed"},
	{"unknown certificate", false, "the server does not accept the client's certificate: set TLSConfig.Certificates (WithValkeyClient) to one that its authority has signed"},
	{"signed by unknown authority", false, "the server's certificate is of an authority that is not trusted here: set TLSConfig.RootCAs (WithValkeyClient)"},
	{"certificate has expired or is not yet valid", false, "the server's certificate is out of date, or the clock of this machine is wrong: renew it"},
	{"x509: certificate is", false, "the server's certificate is for another name: address the server by a name that it has, or set TLSConfig.ServerName"},
	{"x509: cannot validate certificate for", false, "the server's certificate is for another name: address the server by a name that it has, or set TLSConfig.ServerName"},
	{"x509: ", false, "the server's certificate cannot be verified: see TLSConfig (WithValkeyClient)"},
	{"protocol version not supported", false, "server and client have no version of TLS in common: see TLSConfig.MinVersion, and the server's tls-protocols"},
	{"missing port in address", false, "an address has no port: write host:6379"},
	{"invalid port", false, "the port of an address is no number from 1 to 65535"},
	{"too many colons in address", false, "an IPv6 address is written in brackets: [::1]:6379"},
	{"no such host", true, "the name of the server is not known here: check it, and the name server (kubectl, resolv.conf)"},
	{"connection refused", true, "no server listens at this address: start it, or check address and port"},
	{"no route to host", true, "no way leads to the server: check address, network and firewall"},
	{"network is unreachable", true, "no way leads to the server: check address, network and firewall"},
	{"no such file or directory", true, "there is no such Unix socket: start the server, or check its setting unixsocket"},
	{"connect: not a directory", true, "there is no such Unix socket: start the server, or check its setting unixsocket"},
	{"permission denied", false, "this process may not use the Unix socket: see the server's setting unixsocketperm"},
	{"what is no RESP", false, "what listens at this address is no Valkey server: check address and port"},
}

// What was found out by looking. The texts are matched by no explanation.
var (
	sentinelNoAuth    = explanation{"", false, "the sentinels want a password of their own and were given none: sentinel_password in the URL, or Sentinel.Password in ClientOption"}
	sentinelWrongPass = explanation{"", false, "the sentinels do not accept the user {sentinel} with this password: check sentinel_user and sentinel_password in the URL, or Sentinel.Username and Sentinel.Password in ClientOption"}

	foundPlain  = explanation{"", false, "the server does not speak TLS at this port: begin the URL with valkey:// (TLSConfig nil), or address its tls-port"}
	foundTLS    = explanation{"", false, "the server speaks TLS at this port: begin the URL with valkeys:// (or set TLSConfig), or address its plain port"}
	foundClosed = explanation{"", true, "the connection is closed without a word: a proxy or load balancer that has no server behind it does that, and a firewall; see whether one is in between, and its log"}
	foundSilent = explanation{"", true, "a connection can be made and nothing is answered: the server hangs (paused, swapping, a long command), or what listens there is none"}
	foundMute   = explanation{"", true, "a connection can be made and no TLS handshake is answered: the port speaks no TLS (then begin the URL with valkey://), or the server hangs"}
	foundNoWay  = explanation{"", true, "no connection comes about in time: check address, network and firewall"}
)

// watched notes what becomes of dials.
type watched struct {
	mu      sync.Mutex // guards what follows
	address string     // the latest that was dialled
	made    bool       // there was a connection to it
	whole   bool       // with a TLS handshake, where there is to be one
	failed  error      // of the latest dial
}

// watch has the dials of o noted.
func (w *watched) watch(o *valkey.ClientOption) {
	given := *o
	o.DialFn, o.DialCtxFn = nil, func(ctx context.Context, address string, d *net.Dialer, t *tls.Config) (conn net.Conn, err error) {
		w.note(func() {
			if address != w.address {
				w.address, w.made, w.whole = address, false, false
			}
		})
		if t != nil && given.DialCtxFn == nil && given.DialFn == nil {
			conn, err = dialTLS(ctx, address, d, t, func() { w.note(func() { w.made = true }) })
		} else {
			conn, err = dial(ctx, &given, address, d, t)
		}
		w.note(func() {
			if w.failed = err; err == nil {
				w.made, w.whole = true, true
			}
		})
		return conn, err
	}
}

func (w *watched) note(f func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f()
}

// explain returns err with its cause and cure.
func (b valkeyBackend) explain(ctx context.Context, w *watched, o backend.Options, err error) error {
	var done *connectError
	if err == nil || errors.As(err, &done) || errors.Is(err, context.Canceled) {
		return err
	}
	w.mu.Lock()
	address, made, whole, failed := w.address, w.made, w.whole, w.failed
	w.mu.Unlock()
	text := err.Error()
	if failed != nil && gaveUp(err) {
		text += " " + failed.Error()
	}
	if found, ok := explained(text); ok {
		return b.told(b.ofSentinel(found, address), o, err)
	}
	if _, refused := remoteerr.RefusalOf(err); refused {
		return err
	}
	var header tls.RecordHeaderError
	late := gaveUp(err) || isTimeout(err)
	ended := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) ||
		strings.Contains(text, "EOF") || strings.Contains(text, "reset by peer") || strings.Contains(text, "broken pipe")
	if !late && !ended && !errors.As(err, &header) {
		return err
	}
	if !made {
		return b.told(foundNoWay, o, err)
	}
	if found, ok := b.look(ctx, address); ok {
		return b.told(found, o, err)
	}
	switch {
	case ended:
		return b.told(foundClosed, o, err)
	case b.option.TLSConfig != nil && !whole:
		return b.told(foundMute, o, err)
	}
	return b.told(foundSilent, o, err)
}

// ofSentinel returns what an explanation means where a sentinel has answered: it has users and passwords of its own.
func (b valkeyBackend) ofSentinel(e explanation, address string) explanation {
	if b.option.Sentinel.MasterSet != "" && slices.Contains(b.option.InitAddress, address) {
		switch e.part {
		case "NOAUTH":
			return sentinelNoAuth
		case "WRONGPASS":
			return sentinelWrongPass
		}
	}
	return e
}

func explained(text string) (explanation, bool) {
	for _, e := range explanations {
		if strings.Contains(text, e.part) {
			return e, true
		}
	}
	return explanation{}, false
}

// told puts what was asked for into an explanation.
func (b valkeyBackend) told(e explanation, o backend.Options, err error) error {
	user, sentinel := cmp.Or(b.option.Username, "default"), cmp.Or(b.option.Sentinel.Username, "default")
	says := strings.NewReplacer("{user}", strconv.Quote(user), "{sentinel}", strconv.Quote(sentinel), "{db}", strconv.Itoa(b.option.SelectDB),
		"{set}", strconv.Quote(b.option.Sentinel.MasterSet), "{prefix}", o.Prefix).Replace(e.says)
	return &connectError{says, err, e.passes}
}

// Each look is as brief.
const (
	lookFirst  = 150 * time.Millisecond // for what is said unasked
	lookAnswer = 500 * time.Millisecond
)

// look makes a connection of its own and looks what comes: what a server says before it closes a connection is lost to a client
// that writes meanwhile, and silence may be that of a server that waits for TLS, or that does not speak it. No secret is sent.
func (b valkeyBackend) look(ctx context.Context, address string) (explanation, bool) {
	ctx, cancel := context.WithTimeout(ctx, 3*lookAnswer)
	defer cancel()
	if b.option.TLSConfig == nil {
		said, state := b.listen(ctx, address, nil)
		if found, ok := explained(said); ok {
			return found, true
		}
		if state == lookedClosed && b.speaksTLS(ctx, address) {
			return foundTLS, true
		}
		return explanation{}, false
	}
	said, state := b.listen(ctx, address, nil)
	if found, ok := explained(said); ok {
		return found, true
	}
	if state == lookedRESP {
		return foundPlain, true
	}
	said, _ = b.listen(ctx, address, b.option.TLSConfig)
	return explained(said)
}

// looked is what became of a look.
type looked int

const (
	lookedNothing looked = iota
	lookedClosed         // the connection was ended
	lookedRESP           // a command was answered
)

// listen connects, and returns what the server says before it is asked, or why the connection has ended.
func (b valkeyBackend) listen(ctx context.Context, address string, t *tls.Config) (said string, state looked) {
	dialer := b.option.Dialer
	conn, err := dial(ctx, &b.option, address, &dialer, t)
	if err != nil {
		return err.Error(), lookedNothing
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	in := make([]byte, 512)
	_ = conn.SetReadDeadline(time.Now().Add(lookFirst))
	n, err := conn.Read(in)
	if isTimeout(err) && n == 0 {
		_ = conn.SetDeadline(time.Now().Add(lookAnswer))
		if _, err = io.WriteString(conn, "PING\r\n"); err == nil {
			n, err = conn.Read(in)
		}
	}
	switch {
	case n > 0 && strings.IndexByte("+-*$", in[0]) >= 0:
		return string(in[:n]), lookedRESP
	case n > 0:
		return fmt.Sprintf("the server sent what is no RESP: %.40q", in[:n]), lookedNothing
	case isTimeout(err) || err == nil:
		return "", lookedNothing
	}
	return err.Error(), lookedClosed
}

// speaksTLS reports whether a handshake is answered. Which program answers does not matter.
func (b valkeyBackend) speaksTLS(ctx context.Context, address string) bool {
	dialer := b.option.Dialer
	conn, err := dial(ctx, &b.option, address, &dialer, nil)
	if err != nil {
		return false
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(lookAnswer))
	err = tls.Client(conn, &tls.Config{InsecureSkipVerify: true}).HandshakeContext(ctx) // nothing is sent over it
	var alert tls.AlertError
	return err == nil || errors.As(err, &alert) || strings.Contains(err.Error(), "remote error: tls")
}

func isTimeout(err error) bool {
	var network net.Error
	return errors.As(err, &network) && network.Timeout()
}
