package stress

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/url"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/valkey-io/valkey-go"

	"github.com/tiercache/tiercache/internal/faultproxy"
	"github.com/tiercache/tiercache/internal/valkeytest"
)

// In a process started by a test, this variable holds the order.
const orderVar = "TIERCACHE_STRESS_ORDER"

const exitHung = 4

func TestMain(m *testing.M) {
	if text := os.Getenv(orderVar); text != "" {
		obey(text)
	}
	valkeytest.Main(m)
}

// obey drives, and exits.
func obey(text string) {
	var o order
	if err := json.Unmarshal([]byte(text), &o); err != nil {
		fmt.Fprintln(os.Stderr, "stress:", err)
		os.Exit(1)
	}
	go func() { // when the test has ended, however that came, so does this process
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(1)
	}()
	if err := json.NewEncoder(os.Stdout).Encode(drive(o)); err != nil {
		os.Exit(1)
	}
	os.Exit(0)
}

// TIERCACHE_STRESS=30m is for how long all targets together are driven; by default
// as long as a test may take. TIERCACHE_SEED=n repeats a plan, TIERCACHE_TARGETS=word
// only drives targets with that word in their names.
func duration(t *testing.T) time.Duration {
	text := os.Getenv("TIERCACHE_STRESS")
	if text == "" {
		return 15 * time.Second
	}
	d, err := time.ParseDuration(text)
	require.NoError(t, err, "TIERCACHE_STRESS")
	return d
}

func seed() uint64 {
	n, _ := strconv.ParseUint(os.Getenv("TIERCACHE_SEED"), 10, 64) // none is 0
	return n
}

// target is what is driven.
type target struct {
	name string
	// prepare starts the server, and returns where it is, and what is done to it all
	// the time: once each time it is called.
	prepare func(t *testing.T, rng *rand.Rand) (url string, trouble func())
}

var targets = []target{
	{"a healthy server", func(t *testing.T, _ *rand.Rand) (string, func()) { return valkeytest.Start(t).URL(), nil }},
	{"a server at maxclients", func(t *testing.T, rng *rand.Rand) (string, func()) {
		s := valkeytest.Start(t)
		return s.URL(), full(t, rng, s)
	}},
	{"a proxy that speaks first", proxied(func(p *faultproxy.Proxy, rng *rand.Rand) {
		p.Greet(rng.Float64(), faultproxy.MaxClients, faultproxy.Denied, "+OK\r\n", ">2\r\n$10\r\ninvalidate\r\n_\r\n", "$3\r\nab")
		p.Cut()
	})},
	{"a proxy that cuts", proxied(func(p *faultproxy.Proxy, rng *rand.Rand) { p.CutWithin(1 << (4 + rng.IntN(12))) })},
	{"a proxy that duplicates", proxied(func(p *faultproxy.Proxy, rng *rand.Rand) {
		p.Apply(faultproxy.Rule{Class: faultproxy.Reply, Action: faultproxy.Duplicate, Share: rng.Float64() / 20},
			faultproxy.Rule{Class: faultproxy.Push, Action: faultproxy.Duplicate, Share: rng.Float64()})
	})},
	{"a proxy that delays", proxied(func(p *faultproxy.Proxy, rng *rand.Rand) {
		p.Latency(faultproxy.ToServer, time.Duration(1+rng.IntN(20))*time.Millisecond)
		p.Latency(faultproxy.ToClient, time.Duration(1+rng.IntN(20))*time.Millisecond)
		if rng.IntN(4) == 0 {
			p.Reset()
		}
	})},
	{"a cluster at maxclients", func(t *testing.T, rng *rand.Rand) (string, func()) {
		c := valkeytest.SharedCluster(t)
		u := url.URL{Scheme: "valkey", Host: c.Primaries[0].Addr}
		q := url.Values{}
		for _, s := range c.Primaries[1:] {
			q.Add("addr", s.Addr)
		}
		u.RawQuery = q.Encode()
		return u.String(), full(t, rng, c.Primaries...)
	}},
	{"sentinels, their primary at maxclients", func(t *testing.T, rng *rand.Rand) (string, func()) {
		set := valkeytest.StartSentinels(t)
		u := url.URL{Scheme: "valkey", Host: set.Addrs()[0]}
		q := url.Values{"addr": set.Addrs()[1:], "master_set": {set.Name}}
		u.RawQuery = q.Encode()
		return u.String(), full(t, rng, set.Primary)
	}},
}

// proxied is a server behind a proxy to which something is done, undone, and done.
func proxied(f func(p *faultproxy.Proxy, rng *rand.Rand)) func(*testing.T, *rand.Rand) (string, func()) {
	return func(t *testing.T, rng *rand.Rand) (string, func()) {
		s := valkeytest.Start(t)
		p, err := faultproxy.Start(s.Addr, rng.Uint64())
		require.NoError(t, err)
		t.Cleanup(p.Close)
		return "valkey://" + p.Addr(), func() {
			if rng.IntN(3) == 0 {
				p.Heal()
				return
			}
			f(p, rng)
		}
	}
}

// full ends the clients' connections and lets fewer of them come again than want
// to; or, now and then, all.
func full(t *testing.T, rng *rand.Rand, servers ...*valkeytest.Server) func() {
	var admins []valkey.Client
	for _, s := range servers {
		admins = append(admins, s.Client(t))
	}
	do := func(c valkey.Client, args ...string) {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = c.Do(ctx, c.B().Arbitrary(args...).Build()).Error() // it may have been killed itself, for once
	}
	all := func() {
		for _, c := range admins {
			do(c, "CONFIG", "SET", "maxclients", "10000")
		}
	}
	t.Cleanup(all) // the cluster is shared
	return func() {
		if rng.IntN(3) == 0 {
			all()
			return
		}
		for _, c := range admins {
			do(c, "CONFIG", "SET", "maxclients", strconv.Itoa(1+rng.IntN(8)))
			do(c, "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
			do(c, "CLIENT", "KILL", "TYPE", "pubsub")
		}
	}
}

// Nothing that a server, a network or a caller does ends the process, mixes up
// values, hangs a call or leaves anything behind.
func TestNothingEndsTheProcess(t *testing.T) {
	var chosen []target
	for _, target := range targets {
		if strings.Contains(target.name, os.Getenv("TIERCACHE_TARGETS")) {
			chosen = append(chosen, target)
		}
	}
	each := duration(t) / time.Duration(max(1, len(chosen)))
	for i, target := range chosen {
		t.Run(target.name, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed(), uint64(i)))
			url, trouble := target.prepare(t, rng)
			begun := time.Now()
			again := uint64(0)
			for left := each; left > 0 && !t.Failed(); left = each - time.Since(begun) {
				// A process a minute: what stays in memory would hide what a start meets.
				run(t, order{Name: target.name, URL: url, Seed: seed()<<8 | again, For: min(left, time.Minute)}, rng, trouble)
				again++
			}
		})
	}
}

// run has a process of its own obey, while there is trouble.
func run(t *testing.T, o order, rng *rand.Rand, trouble func()) {
	text, err := json.Marshal(o)
	require.NoError(t, err)
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), orderVar+"="+string(text), "GOTRACEBACK=all")
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	stdin, err := cmd.StdinPipe()
	require.NoError(t, err)
	defer stdin.Close()
	require.NoError(t, cmd.Start())
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()

	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(o.For + 4*patience)
	for {
		select {
		case err := <-ended:
			conclude(t, o, err, stdout.Bytes(), stderr.String())
			return
		case <-deadline:
			_ = cmd.Process.Kill()
			t.Errorf("%s, seed %d: the process does not end: %v", o.Name, o.Seed, <-ended)
			return
		case <-tick.C:
			if trouble != nil && rng.IntN(2) == 0 {
				trouble()
			}
		}
	}
}

// conclude judges what a process has left.
func conclude(t *testing.T, o order, err error, stdout []byte, stderr string) {
	t.Helper()
	if err != nil {
		t.Errorf("%s, seed %d: the process has ended: %v\n%s", o.Name, o.Seed, err, firstOf(stderr))
		return
	}
	var r report
	require.NoError(t, json.Unmarshal(stdout, &r), "%s", stderr)
	calls := int64(0)
	for _, op := range slices.Sorted(maps.Keys(r.Calls)) {
		calls += r.Calls[op]
	}
	t.Logf("%s: %d calls, %d with a context that had ended, %d failed, %d values, %d stores opened, %d not, at most %d goroutines and %.1f MB; %v",
		o.Name, calls, r.Ended, r.Failed, r.Values, r.Opened, r.NotOpened, r.Goroutines, r.HeapMB, r.Calls)
	for _, wrong := range r.Wrong {
		t.Errorf("%s, seed %d: %s", o.Name, o.Seed, wrong)
	}
	if calls >= 100 { // else the machine, or a server that takes no connections, left no time for more
		require.NotZero(t, r.Ended, "contexts that ended")
	}
	require.NotZero(t, r.Opened, "stores")
}

// firstOf is what a process said first of why it ends: up to the end of the first
// goroutine's stack.
func firstOf(stderr string) string {
	const lines = 60
	for _, mark := range []string{"panic: ", "fatal error: ", "WARNING: DATA RACE", "stress: "} {
		if i := strings.Index(stderr, mark); i >= 0 {
			stderr = stderr[i:]
			break
		}
	}
	paragraphs := strings.SplitN(stderr, "\n\n", 4)
	all := strings.SplitN(strings.Join(paragraphs[:min(len(paragraphs), 3)], "\n\n"), "\n", lines+1)
	return strings.Join(all[:min(len(all), lines)], "\n")
}
