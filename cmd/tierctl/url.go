package main

import (
	"errors"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/valkey-io/valkey-go"
)

// errURL is said of every URL that is not understood: its text may hold a password.
var errURL = errors.New("not a URL like valkey://[user[:password]@]host[:port][,host…][/db]; special characters of a password are written in percent-encoding")

// urlParameters are those that tier.WithValkey takes.
var urlParameters = strings.Fields("db addr dial_timeout write_timeout client_name master_set skip_verify protocol client_cache max_retries")

// parseURL reads a URL as tier.WithValkey does, so that a service's own can be used. The client's parser alone knows one
// host, and takes what it does not understand for something else: two hosts for localhost, which is not to be
// invalidated instead.
func parseURL(text string) (valkey.ClientOption, error) {
	bad := func() (valkey.ClientOption, error) { return valkey.ClientOption{}, errURL }
	scheme, rest, ok := strings.Cut(text, "://")
	scheme = strings.ToLower(scheme)
	if !ok || strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r == 0x7f }) ||
		!slices.Contains([]string{"valkey", "redis", "valkeys", "rediss", "unix"}, scheme) {
		return bad()
	}
	authority, after := rest, ""
	if end := strings.IndexAny(rest, "/?#"); end >= 0 {
		authority, after = rest[:end], rest[end:]
	}
	if strings.ContainsAny(after, "@#") {
		return bad() // a part of a password
	}
	_, query, _ := strings.Cut(after, "?")
	values, err := url.ParseQuery(query)
	if err != nil {
		return bad()
	}
	for name, all := range values {
		if !slices.Contains(urlParameters, name) || len(all) > 1 && name != "addr" {
			return bad()
		}
	}
	if values.Has("skip_verify") && scheme != "valkeys" && scheme != "rediss" {
		return bad()
	}
	credentials, hosts := "", authority
	if at := strings.LastIndexByte(authority, '@'); at >= 0 {
		credentials, hosts = authority[:at+1], authority[at+1:]
	}
	if scheme == "unix" {
		o, err := valkey.ParseURL(text)
		if err != nil || hosts != "" || len(o.InitAddress) != 1 || len(o.InitAddress[0]) < 2 {
			return bad()
		}
		return o, nil
	}
	var addresses []string
	for _, host := range append(strings.Split(hosts, ","), values["addr"]...) {
		address, ok := addressOf(host)
		if !ok {
			return bad()
		}
		addresses = append(addresses, address)
	}
	after = strings.TrimSuffix(after, "/")
	o, err := valkey.ParseURL(scheme + "://" + credentials + addresses[0] + after)
	if err != nil || o.SelectDB < 0 {
		return bad()
	}
	o.InitAddress = addresses
	if o.TLSConfig != nil && len(addresses) > 1 {
		o.TLSConfig.ServerName = "" // each is checked for its own
	}
	return o, nil
}

// addressOf is host:port of a host whose port may be left out.
func addressOf(text string) (address string, ok bool) {
	host, port, err := net.SplitHostPort(text)
	if err != nil {
		host, port, err = net.SplitHostPort(text + ":6379")
	}
	if err != nil || host == "" || strings.ContainsAny(host, "/@?#%, ") {
		return "", false
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return "", false
	}
	return net.JoinHostPort(host, port), true
}
