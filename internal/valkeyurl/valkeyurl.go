// Package valkeyurl reads the address of a server, or says in one line why it cannot.
//
// The client's own parser takes what it does not know for something else: TLS that a
// parameter asks for is not used, an address that it cannot split is that of localhost. This
// one refuses whatever it does not understand wholly.
package valkeyurl

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/valkey-io/valkey-go"
)

const (
	form        = "valkey://[user:password@]host[:port][/db]"
	defaultPort = "6379"
)

// Parse returns the options that a URL stands for:
//
//	valkey://[user:password@]host[:port][,host[:port]…][/db][?parameters]
//
// The schemes are valkey and redis, and with TLS valkeys and rediss; also
// unix://[user:password@]/path[?parameters]. Several hosts are nodes of one cluster, or with
// the parameter master_set sentinels, which may have a sentinel_user and a sentinel_password of their own. With TLS a single host is the name that the certificates
// of all servers are checked for; of several hosts each is checked for its own.
//
// An error is one line, and holds no part of the URL that could be of a password.
func Parse(text string) (valkey.ClientOption, error) {
	if strings.ContainsFunc(text, func(r rune) bool { return r == ' ' || !unicode.IsPrint(r) }) {
		return valkey.ClientOption{}, errors.New("there is a space, a line end or a character that cannot be seen in the URL: remove it, or write it in percent-encoding")
	}
	if strings.HasPrefix(text, `"`) || strings.HasPrefix(text, "'") {
		return valkey.ClientOption{}, errors.New("the URL begins with a quotation mark: remove it, and the one behind it")
	}
	scheme, rest, ok := strings.Cut(text, "://")
	scheme = strings.ToLower(scheme)
	known := slices.Contains([]string{"valkey", "redis", "valkeys", "rediss", "unix"}, scheme)
	switch {
	case !ok && hasScheme(text):
		return valkey.ClientOption{}, errors.New("after the scheme come two slashes: not a URL like " + form)
	case !ok:
		return valkey.ClientOption{}, errors.New("there is no scheme: not a URL like " + form + "; with TLS it begins with valkeys://")
	case !known:
		return valkey.ClientOption{}, errors.New("the scheme is none of valkey, redis, valkeys, rediss and unix: not a URL like " + form)
	}
	authority, path, query, err := split(rest)
	if err != nil {
		return valkey.ClientOption{}, err
	}
	p := parser{scheme: scheme}
	if scheme == "valkeys" || scheme == "rediss" {
		p.o.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	p.user(&authority)
	if scheme == "unix" {
		p.socket(authority, path)
	} else {
		p.hosts(authority)
		p.path(path)
	}
	p.parameters(query)
	p.sentinels()
	if p.verify(); p.err != nil {
		return valkey.ClientOption{}, p.err
	}
	return p.o, nil
}

func hasScheme(text string) bool {
	scheme, _, ok := strings.Cut(strings.ToLower(text), ":")
	return ok && slices.Contains([]string{"valkey", "redis", "valkeys", "rediss", "unix"}, scheme)
}

// split takes what follows the scheme apart. Where a password holds one of the characters that end an
// authority, the rest of it and the host would be taken for something else.
func split(rest string) (authority, path, query string, err error) {
	end := strings.IndexAny(rest, "/?#")
	if end < 0 {
		return rest, "", "", nil
	}
	authority, rest = rest[:end], rest[end:]
	if strings.Contains(rest, "@") {
		return "", "", "", errors.New("there is an @ behind the first /, ? or # of the URL: write these characters in percent-encoding (%2F, %3F, %23, %40) where they are part of a user, a password or a parameter")
	}
	if strings.Contains(rest, "#") {
		return "", "", "", errors.New("a # has no meaning in the URL: write it as %23")
	}
	path, query, _ = strings.Cut(rest, "?")
	return authority, path, query, nil
}

// parser keeps the first error.
type parser struct {
	scheme string
	o      valkey.ClientOption
	names  []string // of the hosts
	db     string   // as the path names it
	err    error
}

func (p *parser) fail(format string, args ...any) {
	if p.err == nil {
		p.err = fmt.Errorf(format, args...)
	}
}

// user takes the user and the password off the authority.
func (p *parser) user(authority *string) {
	at := strings.LastIndexByte(*authority, '@')
	if at < 0 {
		return
	}
	before := (*authority)[:at]
	user, password, _ := strings.Cut(before, ":")
	*authority = (*authority)[at+1:]
	if strings.Contains(before, "@") && strings.Contains(before, ",") { // it would be sent with the first host as a part of it
		p.fail("user and password stand once, before the first host; where an @ and a comma are part of them, write %%40 and %%2C")
	}
	var err error
	if p.o.Username, err = url.PathUnescape(user); err == nil {
		p.o.Password, err = url.PathUnescape(password)
	}
	if err != nil {
		p.fail("the user or the password holds a %% that begins no percent-encoding: write it as %%25")
	}
}

func (p *parser) hosts(list string) {
	if list == "" {
		p.fail("it names no host: not a URL like %s", form)
		return
	}
	for host := range strings.SplitSeq(list, ",") {
		p.host(host)
	}
}

// host adds a server. Nothing of it is told: where a password is not followed by an @, it stands here.
func (p *parser) host(text string) {
	host, port := text, defaultPort
	bracketed := strings.HasPrefix(text, "[")
	end := strings.IndexByte(text, ']')
	colons := strings.Count(text, ":")
	switch {
	case bracketed && end < 0, !bracketed && strings.ContainsAny(text, "[]"):
		p.fail("a bracket of the host has no other: an IPv6 address is written as valkey://[::1]:6379")
		return
	case bracketed:
		host = strings.Replace(text[1:end], "%25", "%", 1) // before a zone
		address, _, _ := strings.Cut(host, "%")
		if ip := net.ParseIP(address); ip == nil || !strings.Contains(address, ":") {
			p.fail("in brackets stands what is no IPv6 address: other hosts are written without")
			return
		}
		if after := text[end+1:]; after != "" {
			if after[0] != ':' {
				p.fail("behind the brackets of an IPv6 address comes a port: valkey://[::1]:6379")
				return
			}
			port = after[1:]
		}
	case colons > 1:
		p.fail("the host holds several colons: an IPv6 address is written in brackets, valkey://[::1]:6379, and several hosts with a comma between them")
		return
	case colons == 1:
		host, port, _ = strings.Cut(text, ":")
	}
	if strings.ContainsAny(host, `\"<>^|{}*()'!$&;=`+"`") || !bracketed && strings.Contains(host, "%") {
		p.fail("the host holds a character that no host has")
	}
	if host == "" {
		p.fail("a host is empty: not a URL like %s", form)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		p.fail("a port is no number from 1 to 65535 (leave the colon out for %s; special characters of a password are written in percent-encoding)", defaultPort)
	}
	p.names = append(p.names, host)
	p.o.InitAddress = append(p.o.InitAddress, net.JoinHostPort(host, port))
}

func (p *parser) path(path string) {
	path = strings.TrimSuffix(strings.TrimPrefix(path, "/"), "/")
	if p.db = path; path != "" {
		p.database("the path", path)
	}
}

func (p *parser) database(where, text string) {
	n, err := strconv.ParseUint(text, 10, 31)
	if err != nil {
		p.fail("%s is no number of a database: not a URL like %s", where, form)
		return
	}
	p.o.SelectDB = int(n)
}

func (p *parser) socket(authority, path string) {
	if authority != "" {
		p.fail("the path of a Unix socket begins with a slash: unix:///run/valkey.sock")
	}
	path, err := url.PathUnescape(strings.TrimSuffix(path, "/"))
	if err != nil || path == "" {
		p.fail("it names no Unix socket: not a URL like unix:///run/valkey.sock")
	}
	p.o.InitAddress = []string{path}
	p.o.DialCtxFn = func(ctx context.Context, path string, d *net.Dialer, _ *tls.Config) (net.Conn, error) {
		return d.DialContext(ctx, "unix", path)
	}
}

// parameters, each with what reads it.
var parameters = map[string]func(p *parser, name, value string){
	"db": func(p *parser, name, value string) {
		before := p.o.SelectDB
		p.database("the parameter "+name, value)
		if p.db != "" && p.o.SelectDB != before {
			p.fail("the path and the parameter db name different databases")
		}
	},
	"addr": func(p *parser, name, value string) {
		if p.scheme == "unix" {
			p.fail("the parameter %s is no use beside a Unix socket", name)
		}
		p.host(value)
	},
	"dial_timeout":  func(p *parser, name, value string) { p.o.Dialer.Timeout = p.duration(name, value) },
	"write_timeout": func(p *parser, name, value string) { p.o.ConnWriteTimeout = p.duration(name, value) },
	"client_name":   func(p *parser, _, value string) { p.o.ClientName = value },
	"master_set": func(p *parser, name, value string) {
		if p.scheme == "unix" {
			p.fail("the parameter %s is no use beside a Unix socket", name)
		}
		p.o.Sentinel.MasterSet = value
	},
	"sentinel_user":     func(p *parser, _, value string) { p.o.Sentinel.Username = value },
	"sentinel_password": func(p *parser, _, value string) { p.o.Sentinel.Password = value },
	"skip_verify": func(p *parser, name, value string) {
		skip, err := strconv.ParseBool(cmp.Or(value, "true"))
		switch {
		case p.o.TLSConfig == nil:
			p.fail("the parameter %s is for TLS, which the schemes valkeys and rediss stand for", name)
		case err != nil:
			p.fail("the parameter %s is neither true nor false", name)
		default:
			p.o.TLSConfig.InsecureSkipVerify = skip
		}
	},
	"protocol":     func(p *parser, name, value string) { p.o.AlwaysRESP2 = p.isSecond(name, value, "3", "2") },
	"client_cache": func(p *parser, name, value string) { p.o.DisableCache = p.isSecond(name, value, "1", "0") },
	"max_retries":  func(p *parser, name, value string) { p.o.DisableRetry = p.isSecond(name, value, "0", "0") },
}

// forTLS are what other clients ask for TLS with.
var forTLS = []string{"tls", "ssl", "use_tls", "use_ssl", "usetls", "usessl", "sslmode", "tlsmode", "secure", "ssl_cert_reqs", "ssl_ca_certs", "tls_skip_verify", "insecure_skip_verify", "skipverify"}

func (p *parser) parameters(query string) {
	values, err := url.ParseQuery(query)
	if err != nil {
		p.fail("its parameters cannot be read: they are written as ?name=value&name=value, in percent-encoding")
		return
	}
	for _, name := range slices.Sorted(maps.Keys(values)) {
		all := values[name]
		read := parameters[name]
		switch {
		case slices.Contains(forTLS, strings.ToLower(name)):
			p.fail("the parameter %s is not known: TLS is asked for by the scheme, valkeys:// (without the check of the certificate: valkeys://…?skip_verify=true)", name)
		case read == nil:
			p.fail("the parameter %.40q is not known: those that are known are %s", name, strings.Join(slices.Sorted(maps.Keys(parameters)), ", "))
		case len(all) > 1 && name != "addr":
			p.fail("the parameter %s stands there %d times", name, len(all))
		case all[0] == "" && name != "skip_verify":
			p.fail("the parameter %s is empty", name)
		default:
			for _, value := range all {
				read(p, name, value)
			}
		}
	}
}

// sentinels are asked as the servers are: over TLS if it is asked for. They have passwords of their own.
func (p *parser) sentinels() {
	switch s := &p.o.Sentinel; {
	case s.MasterSet != "":
		s.TLSConfig = p.o.TLSConfig
	case s.Username != "" || s.Password != "":
		p.fail("the parameters sentinel_user and sentinel_password are for sentinels, which the parameter master_set stands for")
	}
}

func (p *parser) duration(name, value string) time.Duration {
	d, err := time.ParseDuration(value)
	if err != nil || d <= 0 {
		p.fail("the parameter %s is no time with a unit, like 500ms or 2s", name)
	}
	return d
}

// isSecond reports which of two values the parameter has.
func (p *parser) isSecond(name, value, first, second string) bool {
	if value != first && value != second {
		p.fail("the parameter %s can be %s, and nothing else", name, strings.Join(slices.Compact([]string{first, second}), " or "))
	}
	return value == second
}

// verify has the certificate of a single host checked for its name: nodes of a cluster may tell addresses that
// certificates do not have.
func (p *parser) verify() {
	if p.o.TLSConfig != nil && len(p.names) == 1 {
		p.o.TLSConfig.ServerName = p.names[0]
	}
}
