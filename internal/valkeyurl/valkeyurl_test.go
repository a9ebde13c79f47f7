package valkeyurl

import (
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/valkey-io/valkey-go"
)

func TestAURLIsReadWhollyOrRefusedWithOneLine(t *testing.T) {
	type want struct {
		addresses      []string
		user, password string
		db             int
		tls            bool
		name           string // that certificates are checked for
		err            string // a part of it
	}
	to := func(addresses ...string) want { return want{addresses: addresses} }
	refused := func(part string) want { return want{err: part} }
	for text, want := range map[string]want{
		"valkey://127.0.0.1:6379":            to("127.0.0.1:6379"),
		"redis://example.com":                to("example.com:6379"),
		"VALKEY://example.com":               to("example.com:6379"),
		"valkey://example.com/":              to("example.com:6379"),
		"valkey://example.com:1/3":           {addresses: []string{"example.com:1"}, db: 3},
		"valkey://example.com:1/3/":          {addresses: []string{"example.com:1"}, db: 3},
		"valkey://example.com?db=3":          {addresses: []string{"example.com:6379"}, db: 3},
		"valkey://example.com/3?db=3":        {addresses: []string{"example.com:6379"}, db: 3},
		"valkey://a_b.c:7,d:8":               to("a_b.c:7", "d:8"),
		"valkey://a,d/":                      to("a:6379", "d:6379"),
		"valkey://a?addr=b:1&addr=c":         to("a:6379", "b:1", "c:6379"),
		"valkey://[::1]:6380":                to("[::1]:6380"),
		"valkey://[::1]":                     to("[::1]:6379"),
		"valkey://[fe80::1%25eth0]:1":        to("[fe80::1%eth0]:1"),
		"valkey://[::1]:1,[::2]:3":           to("[::1]:1", "[::2]:3"),
		"valkeys://example.com":              {addresses: []string{"example.com:6379"}, tls: true, name: "example.com"},
		"rediss://[::1]:1":                   {addresses: []string{"[::1]:1"}, tls: true, name: "::1"},
		"valkeys://a,b":                      {addresses: []string{"a:6379", "b:6379"}, tls: true},
		"valkey://app:s3cret@h":              {addresses: []string{"h:6379"}, user: "app", password: "s3cret"},
		"valkey://:s3cret@h":                 {addresses: []string{"h:6379"}, password: "s3cret"},
		"valkey://:a@b:c@h:1":                {addresses: []string{"h:1"}, password: "a@b:c"},
		"valkey://:a%2Fb%23%3F%25@h":         {addresses: []string{"h:6379"}, password: "a/b#?%"},
		"unix:///run/valkey.sock?db=1":       {addresses: []string{"/run/valkey.sock"}, db: 1},
		"unix://:s3cret@/run/valkey.sock":    {addresses: []string{"/run/valkey.sock"}, password: "s3cret"},
		"":                                   refused("no scheme"),
		"localhost:6379":                     refused("no scheme"),
		"localhost":                          refused("no scheme"),
		"user:s3cret@host:6379":              refused("no scheme"),
		"nonsense://x":                       refused("not a URL like valkey://"),
		"http://h:1":                         refused("the scheme is none of"),
		"valkey+tls://h":                     refused("the scheme is none of"),
		"valkey:host:6379":                   refused("two slashes"),
		"valkey:/host:6379":                  refused("two slashes"),
		"redis:host":                         refused("two slashes"),
		"unix:/run/valkey.sock":              refused("two slashes"),
		"valkey://":                          refused("names no host"),
		"valkey:///3":                        refused("names no host"),
		"valkey://:6379":                     refused("a host is empty"),
		"valkey://h,":                        refused("a host is empty"),
		"valkey://:s3cret":                   refused("a host is empty"),
		"valkey://h:":                        refused("no number from 1 to 65535"),
		"valkey://h:0":                       refused("no number from 1 to 65535"),
		"valkey://h:65536":                   refused("no number from 1 to 65535"),
		"valkey://h:-1":                      refused("no number from 1 to 65535"),
		"valkey://h:port":                    refused("no number from 1 to 65535"),
		"valkey://::1:6379":                  refused("IPv6 address is written in brackets"),
		"valkey://fe80::1":                   refused("IPv6 address is written in brackets"),
		"valkey://[::1:6379":                 refused("bracket"),
		"valkey://::1]:6379":                 refused("bracket"),
		"valkey://[host]:6379":               refused("no IPv6 address"),
		"valkey://[10.0.0.1]:6379":           refused("no IPv6 address"),
		"valkey://[::1]6379":                 refused("behind the brackets"),
		"valkey://[::1][::1]:6379":           refused("behind the brackets"),
		"valkey://[fe80::1%eth0][::1]":       refused("behind the brackets"),
		"valkey://u:s3cret@h,u:s3cret@g":     refused("stand once, before the first host"),
		"valkey://u:s3c,ret@h,g":             {addresses: []string{"h:6379", "g:6379"}, user: "u", password: "s3c,ret"},
		"valkey://h/0?db=2":                  refused("different databases"),
		"valkey://h/2?db=0":                  refused("different databases"),
		"\"valkey://h\"":                     refused("quotation mark"),
		"'valkey://:s3cret@h'":               refused("quotation mark"),
		"valkey://h\u00a0":                   refused("cannot be seen"),
		"\ufeffvalkey://h":                   refused("cannot be seen"),
		"unix:///run/valkey.sock/":           to("/run/valkey.sock"),
		"unix:///s?master_set=m":             refused("Unix socket"),
		"valkey://h:1;g:2":                   refused("several colons"),
		"valkey://h;g":                       refused("a character that no host has"),
		"valkey://$HOST:6379":                refused("a character that no host has"),
		"valkey://{{.Host}}:6379":            refused("a character that no host has"),
		"valkey://h%20:1":                    refused("a character that no host has"),
		"valkey://h:1\n":                     refused("a line end"),
		" valkey://h:1":                      refused("a space"),
		"valkey://h/db":                      refused("the path is no number"),
		"valkey://h/-1":                      refused("the path is no number"),
		"valkey://h/+1":                      refused("the path is no number"),
		"valkey://h/0x1":                     refused("the path is no number"),
		"valkey://h/1/2":                     refused("the path is no number"),
		"valkey://h/99999999999999999999":    refused("the path is no number"),
		"valkey://h?db=x":                    refused("the parameter db is no number"),
		"valkey://h/1?db=2":                  refused("different databases"),
		"valkey://h?db=1&db=2":               refused("2 times"),
		"valkey://h?ssl=true":                refused("TLS is asked for by the scheme, valkeys://"),
		"valkey://h?tls=true":                refused("TLS is asked for by the scheme, valkeys://"),
		"valkey://h?TLS=1":                   refused("TLS is asked for by the scheme, valkeys://"),
		"redis://h?ssl_cert_reqs=none":       refused("TLS is asked for by the scheme, valkeys://"),
		"valkeys://h?insecure_skip_verify=1": refused("?skip_verify=true"),
		"valkey://h?skip_verify=true":        refused("is for TLS"),
		"valkeys://h?skip_verify=maybe":      refused("neither true nor false"),
		"valkey://h?timeout=1s":              refused(`"timeout" is not known: those that are known are addr, client_cache`),
		"valkey://h?password=s3cret":         refused(`"password" is not known`),
		"valkey://h?DB=1":                    refused(`"DB" is not known`),
		"valkey://h?db":                      refused("db is empty"),
		"valkey://h?master_set=":             refused("master_set is empty"),
		"valkey://h?dial_timeout=5":          refused("no time with a unit"),
		"valkey://h?write_timeout=-5s":       refused("no time with a unit"),
		"valkey://h?protocol=4":              refused("3 or 2"),
		"valkey://h?client_cache=no":         refused("1 or 0"),
		"valkey://h?max_retries=3":           refused("can be 0"),
		"valkey://h?a=1;b=2":                 refused("parameters cannot be read"),
		"valkey://h?addr=::1":                refused("IPv6 address is written in brackets"),
		"valkey://h#x":                       refused("%23"),
		"valkey://:s3#cret@h":                refused("percent-encoding"),
		"valkey://:s3/cret@h":                refused("percent-encoding"),
		"valkey://:s3?cret@h":                refused("percent-encoding"),
		"valkey://:s3%cret@h":                refused("%25"),
		"unix://":                            refused("names no Unix socket"),
		"unix:///":                           refused("names no Unix socket"),
		"unix://run/valkey.sock":             refused("begins with a slash"),
		"unix:///s?addr=h":                   refused("Unix socket"),
	} {
		t.Run(text, func(t *testing.T) {
			o, err := Parse(text)
			if want.err != "" {
				require.ErrorContains(t, err, want.err)
				require.NotContains(t, err.Error(), "\n")
				require.NotContains(t, err.Error(), "cret")
				return
			}
			require.NoError(t, err)
			require.Equal(t, want.addresses, o.InitAddress)
			require.Equal(t, want.user, o.Username)
			require.Equal(t, want.password, o.Password)
			require.Equal(t, want.db, o.SelectDB)
			require.Equal(t, want.tls, o.TLSConfig != nil)
			if want.tls {
				require.Equal(t, want.name, o.TLSConfig.ServerName)
			}
		})
	}
}

func TestParametersAreUsed(t *testing.T) {
	o, err := Parse("valkeys://h?dial_timeout=2s&write_timeout=3s&client_name=n&master_set=m&skip_verify&protocol=2&client_cache=0&max_retries=0")
	require.NoError(t, err)
	require.Equal(t, 2*time.Second, o.Dialer.Timeout)
	require.Equal(t, 3*time.Second, o.ConnWriteTimeout)
	require.Equal(t, "n", o.ClientName)
	require.Equal(t, "m", o.Sentinel.MasterSet)
	require.True(t, o.TLSConfig.InsecureSkipVerify)
	require.True(t, o.AlwaysRESP2 && o.DisableCache && o.DisableRetry)
	require.Same(t, o.TLSConfig, o.Sentinel.TLSConfig, "sentinels are asked over TLS as well")
	o, err = Parse("valkey://u:p@h?master_set=m&sentinel_user=su&sentinel_password=s%26p")
	require.NoError(t, err)
	require.Equal(t, valkey.SentinelOption{MasterSet: "m", Username: "su", Password: "s&p"}, o.Sentinel)
	require.Equal(t, "u", o.Username)
	for _, text := range []string{"valkey://h?sentinel_user=su", "valkey://h?sentinel_password=s3cret"} {
		_, err = Parse(text)
		require.ErrorContains(t, err, "master_set")
		require.NotContains(t, err.Error(), "s3cret")
	}
	o, err = Parse("valkeys://h?skip_verify=false&protocol=3&client_cache=1")
	require.NoError(t, err)
	require.False(t, o.TLSConfig.InsecureSkipVerify || o.AlwaysRESP2 || o.DisableCache || o.DisableRetry)
}

// What is taken names servers that can be dialled, and what the client's parser takes as well is the same to it.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{"valkey://u:p@h:1/2?db=2", "valkeys://[::1]:1,h/", "unix:///s", "valkey:h:1", "redis://:a%2Fb@h?addr=x:1&master_set=m", "valkey://::1:6379", "valkey://h?ssl=true"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		o, err := Parse(text)
		if err != nil {
			require.NotContains(t, err.Error(), "\n")
			require.Less(t, len(err.Error()), 300)
			if _, rest, ok := strings.Cut(text, "://"); ok {
				if at := strings.LastIndexByte(rest, '@'); at > 12 {
					require.NotContains(t, err.Error(), rest[:at])
				}
			}
			return
		}
		require.NotEmpty(t, o.InitAddress)
		if o.DialCtxFn == nil {
			for _, address := range o.InitAddress {
				host, _, err := net.SplitHostPort(address)
				require.NoError(t, err)
				require.NotEmpty(t, host)
			}
		}
		theirs, err := valkey.ParseURL(text)
		if err != nil || strings.ContainsAny(text, ",%") || strings.Contains(text, "addr") { // of addr=host2 it makes the first host again
			return
		}
		if o.DialCtxFn != nil {
			theirs.InitAddress[0] = strings.TrimSuffix(theirs.InitAddress[0], "/")
		}
		require.Equal(t, theirs.InitAddress, o.InitAddress)
		require.Equal(t, theirs.Username, o.Username)
		require.Equal(t, theirs.Password, o.Password)
		require.Equal(t, theirs.SelectDB, o.SelectDB)
		require.Equal(t, theirs.Sentinel.MasterSet, o.Sentinel.MasterSet)
		require.Equal(t, theirs.TLSConfig != nil, o.TLSConfig != nil)
	})
}
