package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/valkey-io/valkey-go"
)

func (d *doctor) checkRESP3(ctx context.Context) {
	m, err := d.s.ask1(ctx, d.s.Client, "HELLO", "3").AsMap()
	if err == nil {
		if proto := m["proto"]; !d.tracks || proto.String() != "" {
			d.ok("RESP3", "spoken")
			return
		}
	}
	says := "HELLO 3 is refused"
	if err != nil {
		says += ": " + err.Error()
	}
	d.add(finding{Check: "RESP3", Level: levelWarning, Says: says + ": without RESP3 no invalidations come, and stores open as if WithoutTracking were given", Do: "use another server, or a proxy that speaks it", Link: pageTracking})
}

// errSilent says that no invalidation came.
var errSilent = errors.New("none")

// checkTracking has one connection read a key, and another one write it.
func (d *doctor) checkTracking(ctx context.Context) {
	if !d.tracks {
		d.ok("tracking", "not used: the stores are WithoutTracking")
		return
	}
	says, err := d.tryTracking(ctx)
	if err == nil {
		d.ok("tracking", "%s", says)
		return
	}
	text, _, _ := strings.Cut(err.Error(), "\n") // the client has advice of its own
	switch {
	case strings.HasPrefix(text, "OOM"):
		d.add(finding{Check: "tracking", Level: levelNote, Says: "not tried: memory is full, and the server refuses to write", Link: pageMemory})
		return
	case !errors.Is(err, errSilent) && !strings.Contains(text, "NOPERM") && !strings.Contains(text, "TRACKING"):
		d.add(finding{Check: "tracking", Level: levelWarning, Says: "not tried: " + text, Do: "call doctor again when the server answers", Link: pageAway})
		return
	}
	f := finding{Check: "tracking", Level: levelWarning, Says: "refused: " + text + ": stores open as if WithoutTracking were given, and changes of single keys go through the log",
		Do: "grant +client|tracking; where the provider has no CLIENT TRACKING, nothing is to be done", Link: pageTracking}
	if errors.Is(err, errSilent) {
		f.Level, f.Says, f.Do = levelError, "switched on, and no invalidation came: "+text+": local copies would not hear of changes",
			"look for a proxy between here and the server; until then use tier.WithoutTracking in all processes"
	}
	d.add(f)
}

func (d *doctor) tryTracking(ctx context.Context) (string, error) {
	name := d.ownKey()
	told := make(chan struct{}, 1)
	o := d.s.option
	o.DisableCache = false
	o.ClientTrackingOptions = []string{"OPTOUT"}
	o.PipelineMultiplex = -1
	o.DisableRetry = true
	o.OnInvalidations = func(keys []valkey.ValkeyMessage) {
		for i := range keys {
			if k, err := keys[i].ToString(); err == nil && k == name {
				select {
				case told <- struct{}{}:
				default:
				}
			}
		}
	}
	tracked, err := newClient(ctx, o, d.s.timeout)
	if err != nil {
		return "", err
	}
	defer tracked.Close()
	ctx, cancel := d.s.ask(ctx)
	defer cancel()
	if err := tracked.Do(ctx, tracked.B().Get().Key(name).Build()).Error(); err != nil && !valkey.IsValkeyNil(err) {
		return "", err
	}
	began := time.Now()
	if err := d.s.Do(ctx, d.s.B().Set().Key(name).Value("doctor").Px(10*time.Second).Build()).Error(); err != nil {
		return "", err
	}
	defer d.s.Do(ctx, d.s.B().Del().Key(name).Build())
	select {
	case <-told:
		return fmt.Sprintf("on; an invalidation came %v after the write was sent", time.Since(began).Round(10*time.Microsecond)), nil
	case <-ctx.Done():
		return "", fmt.Errorf("%w within %v", errSilent, d.s.timeout)
	}
}

// ownKey is a name for doctor's own use, in the manner of an entry's.
func (d *doctor) ownKey() string {
	return fmt.Sprintf("%s:d:tierctl-doctor:{%016x}", d.s.prefix, rand.Uint64())
}

func (d *doctor) checkTLS(ctx context.Context) {
	o := d.s.option
	if o.TLSConfig == nil {
		for _, n := range d.all {
			for addr := range strings.SplitSeq(n.addr, ", ") {
				if !isLocal(addr) {
					d.add(finding{Check: "TLS", Level: levelWarning, Says: "the connection is not encrypted, and goes to another machine: keys, values and the password can be read on the way",
						Do: "use valkeys:// or --tls", Link: pageTLS}, n)
					return
				}
			}
		}
		d.ok("TLS", "not used, on this machine alone")
		return
	}
	if o.TLSConfig.InsecureSkipVerify {
		d.add(finding{Check: "TLS", Level: levelWarning, Says: "the server's certificate is not verified (skip_verify)", Do: "trust its authority with --tls-ca instead", Link: pageTLS})
	}
	for _, n := range d.all {
		addr := n.addr
		if !d.s.isCluster() {
			addr = o.InitAddress[0]
		}
		until, err := certificateEnd(ctx, addr, o, d.s.timeout)
		switch left := time.Until(until); {
		case err != nil:
			d.add(finding{Check: "TLS", Level: levelWarning, Says: "the certificate could not be looked at: " + err.Error(), Link: pageTLS}, n)
		case left < 0:
			d.add(finding{Check: "TLS", Level: levelError, Says: "the certificate ended " + until.UTC().Format(time.DateOnly), Do: "renew it", Link: pageTLS}, n)
		case left < 21*24*time.Hour:
			d.add(finding{Check: "TLS", Level: levelWarning, Says: "the certificate ends " + until.UTC().Format(time.DateOnly), Do: "renew it", Link: pageTLS}, n)
		default:
			d.add(finding{Check: "TLS", Says: "the certificate is good until " + until.UTC().Format(time.DateOnly)}, n)
		}
	}
}

func isLocal(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	if err != nil { // a socket's path
		return true
	}
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

func certificateEnd(ctx context.Context, addr string, o valkey.ClientOption, timeout time.Duration) (time.Time, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	t := o.TLSConfig.Clone()
	if host, _, err := net.SplitHostPort(addr); err == nil && t.ServerName == "" {
		t.ServerName = host
	}
	conn, err := (&tls.Dialer{NetDialer: &o.Dialer, Config: t}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return time.Time{}, err
	}
	defer conn.Close()
	end := time.Time{}
	for _, c := range conn.(*tls.Conn).ConnectionState().PeerCertificates {
		if end.IsZero() || c.NotAfter.Before(end) {
			end = c.NotAfter
		}
	}
	if end.IsZero() {
		return end, errors.New("the server showed none")
	}
	return end, nil
}

func (d *doctor) checkClock(ctx context.Context) {
	type reading struct {
		n     *node
		ahead time.Duration
	}
	var all []reading
	for _, n := range d.all {
		if unreachable(n.infoErr) {
			continue
		}
		before := time.Now()
		t, err := d.s.ask1(ctx, n.client, "TIME").AsIntSlice()
		if err != nil || len(t) != 2 {
			continue // a right that is missing is a finding already
		}
		here := before.Add(time.Since(before) / 2)
		all = append(all, reading{n, time.Unix(t[0], t[1]*1000).Sub(here)})
	}
	if len(all) == 0 {
		return
	}
	slices.SortFunc(all, func(a, b reading) int { return int(max(min(a.ahead-b.ahead, 1), -1)) })
	first, last := all[0], all[len(all)-1]
	if spread := last.ahead - first.ahead; spread > time.Second {
		d.add(finding{Check: "clock", Level: levelWarning, Says: fmt.Sprintf("the servers' clocks differ by %v (%s, %s): after a failover entries end early or late by as much", spread.Round(time.Millisecond), first.n.addr, last.n.addr),
			Do: "synchronise them with NTP", Link: pageDoctor})
		return
	}
	if ahead := last.ahead.Abs(); ahead > time.Minute {
		d.add(finding{Check: "clock", Level: levelNote, Says: fmt.Sprintf("the server's clock and this machine's differ by %v: nothing compares them, but one of them is wrong", ahead.Round(time.Second)),
			Do: "synchronise them with NTP", Link: pageDoctor})
		return
	}
	d.ok("clock", "within %v of this machine's", max(first.ahead.Abs(), last.ahead.Abs(), time.Millisecond).Round(time.Millisecond))
}

// remoteTimeout is the default of tier.WithRemoteTimeout.
const remoteTimeout = 50 * time.Millisecond

func (d *doctor) checkLatency(ctx context.Context) {
	for _, n := range d.all {
		if unreachable(n.infoErr) || !n.primary() {
			continue
		}
		const rounds = 50
		var took []time.Duration
		for range rounds {
			began := time.Now()
			if unreachable(d.s.ask1(ctx, n.client, "PING").Error()) {
				break // it is counted as none
			}
			took = append(took, time.Since(began))
		}
		if len(took) < rounds {
			d.add(finding{Check: "latency", Level: levelError, Says: fmt.Sprintf("only %d of %d requests were answered", len(took), rounds), Do: "see the server and the network", Link: pageAway}, n)
			continue
		}
		slices.Sort(took)
		median, worst := took[rounds/2], took[rounds-1]
		says := fmt.Sprintf("median %v, worst of %d %v", median.Round(10*time.Microsecond), rounds, worst.Round(10*time.Microsecond))
		switch {
		case median > remoteTimeout/2:
			d.add(finding{Check: "latency", Level: levelError, Says: says + ": with the default of WithRemoteTimeout (50ms) the server counts as away",
				Do: "run the services nearer to it, or raise tier.WithRemoteTimeout", Link: pageAway}, n)
		case worst > remoteTimeout/2:
			d.add(finding{Check: "latency", Level: levelWarning, Says: says + ": some requests come near the default of WithRemoteTimeout (50ms)",
				Do: "look for slow commands (SLOWLOG GET) and for a busy machine", Link: pageAway}, n)
		default:
			d.ok("latency", "%s%s", says, d.at(n))
		}
	}
}

// at names a node where there are several.
func (d *doctor) at(n *node) string {
	if len(d.all) < 2 {
		return ""
	}
	return " at " + n.addr
}
