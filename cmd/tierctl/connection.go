package main

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"regexp"
	"strings"
	"time"

	"github.com/spf13/pflag"
	"github.com/valkey-io/valkey-go"

	"github.com/tiercache/tiercache/internal/valkeyurl"
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

// plainPrefix is what tier.WithPrefix takes.
var plainPrefix = regexp.MustCompile(`^[a-zA-Z0-9_.-]{1,64}$`)

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
	if !plainPrefix.MatchString(f.prefix) {
		return usagef("--prefix %q: must be 1 to 64 letters, digits, '-', '_' or '.', as WithPrefix of the stores", f.prefix)
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
		parsed, err := valkeyurl.Parse(f.url) // as a service's own is read
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
	o.Username = cmp.Or(f.user, o.Username)
	o.Password = cmp.Or(f.password, o.Password)
	f.password = o.Password
	o.SelectDB = cmp.Or(f.db, o.SelectDB)
	o.Sentinel.MasterSet = cmp.Or(f.sentinel, o.Sentinel.MasterSet)
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
	if o.TLSConfig == nil {
		if !f.tls && cmp.Or(f.ca, f.cert, f.key, f.serverName) == "" {
			return nil
		}
		o.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	o.TLSConfig.ServerName = cmp.Or(f.serverName, o.TLSConfig.ServerName)
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
