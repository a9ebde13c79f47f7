package main

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/internal/faultproxy"
	"github.com/tiercache/tiercache/internal/valkeytest"
	"github.com/tiercache/tiercache/tier"
)

// diagnose calls doctor and returns what it found, by check and level.
func diagnose(t *testing.T, want int, environment map[string]string, args ...string) report {
	t.Helper()
	got := tierctl(t, environment, append([]string{"doctor", "--json"}, args...)...)
	require.Contains(t, []int{exitDone, exitFindings}, got.status, got.out+got.err)
	r := decode[report](t, got.out)
	if r.slow() {
		return r
	}
	require.Equal(t, want, got.status, got.out)
	for _, f := range r.Findings {
		if f.Level == "warning" || f.Level == "error" {
			assert.NotEmpty(t, f.Link, "%+v", f)
			assert.True(t, strings.HasPrefix(f.Link, docsURL), f.Link)
		}
	}
	return r
}

// slow reports whether doctor finds that this machine is too slow, or stood still: that says nothing of doctor.
func (r report) slow() bool {
	for _, f := range r.Findings {
		if (f.Check == "latency" || f.Check == "clock") && f.Level != "ok" {
			return true
		}
	}
	return false
}

func (r report) all() string {
	var b strings.Builder
	for _, f := range r.Findings {
		b.WriteString(f.Check + " " + f.Level + ": " + f.Says + " -> " + f.Do + "\n")
	}
	return b.String()
}

func TestDoctorSaysWhatToDoAboutABadlyConfiguredServer(t *testing.T) {
	s := valkeytest.Start(t, valkeytest.Config("maxmemory", "20mb"), valkeytest.Config("maxmemory-policy", "allkeys-random"),
		valkeytest.Config("client-output-buffer-limit", "normal 1mb 512kb 60"), valkeytest.Config("timeout", "10"),
		valkeytest.Config("tracking-table-max-keys", "10"))
	store, err := tier.Open(t.Context(), tier.WithValkey(s.URL()), tier.WithLogger(quiet), tier.WithRemoteTimeout(10*time.Second))
	require.NoError(t, err)
	defer store.Close()
	docs := view(t, store, "docs")
	for _, key := range strings.Split("abcdefghijklmno", "") {
		load(t, docs, key)
	}
	r := diagnose(t, exitFindings, nil, "--addr", s.Addr)
	assert.Equal(t, "error", r.Worst)
	for _, want := range []string{
		"memory error: policy allkeys-random evicts the change log",
		"-> CONFIG SET maxmemory-policy volatile-lru",
		"buffers warning: client-output-buffer-limit is small: normal 1.0 MiB at once",
		"buffers warning: timeout is 10 s",
		"table warning: the server tracks 1",
	} {
		assert.Contains(t, r.all(), want)
	}

	s.Do(t, "CONFIG", "SET", "maxmemory-policy", "noeviction")
	r = diagnose(t, exitDone, nil, "--addr", s.Addr)
	assert.True(t, r.Worst == "warning" || r.slow(), r.all())
	assert.Contains(t, r.all(), "memory warning: policy noeviction")
	diagnose(t, exitFindings, nil, "--addr", s.Addr, "--strict")
	assert.Contains(t, r.all(), "writes ok: are performed")
	s.Do(t, "CONFIG", "SET", "maxmemory", "100kb") // far below what a server takes
	r = diagnose(t, exitFindings, nil, "--addr", s.Addr)
	assert.Contains(t, r.all(), "memory error: memory is full")
	assert.Contains(t, r.all(), "writes error: are refused: OOM ")
	s.Do(t, "CONFIG", "SET", "maxmemory", "0", "min-replicas-to-write", "1")
	r = diagnose(t, exitFindings, nil, "--addr", s.Addr)
	assert.Contains(t, r.all(), "writes error: are refused: NOREPLICAS ")
	assert.Contains(t, r.all(), "-> start its replicas, or lower min-replicas-to-write")
	assert.Contains(t, r.all(), "tracking note: not tried: NOREPLICAS ")
	s.Do(t, "CONFIG", "SET", "min-replicas-to-write", "0")
	assert.Contains(t, diagnose(t, exitDone, nil, "--addr", s.Addr).all(), "memory warning: maxmemory is not set")
}

func TestDoctorFindsADamagedLogAndAReplica(t *testing.T) {
	s := valkeytest.Start(t)
	store, err := tier.Open(t.Context(), tier.WithValkey(s.URL()), tier.WithLogger(quiet), tier.WithRemoteTimeout(10*time.Second))
	require.NoError(t, err)
	_, err = store.InvalidateAll(t.Context())
	require.NoError(t, err)
	require.NoError(t, store.Close())
	s.Do(t, "ZADD", "tiercache:{tiercache}:log", "-1", "junk")
	assert.Contains(t, diagnose(t, exitFindings, nil, "--addr", s.Addr).all(), "log error: the change log holds members that no store writes")

	r := valkeytest.Start(t, valkeytest.ReplicaOf(s.Addr))
	r.AwaitReplica(t, s)
	assert.Contains(t, diagnose(t, exitFindings, nil, "--addr", r.Addr).all(), "mode error: the server is a replica")
}

func TestDoctorKnowsStoresWithoutTracking(t *testing.T) {
	s := valkeytest.Start(t)
	store, err := tier.Open(t.Context(), tier.WithValkey(s.URL()), tier.WithLogger(quiet), tier.WithRemoteTimeout(10*time.Second), tier.WithoutTracking())
	require.NoError(t, err)
	_, err = store.InvalidateAll(t.Context())
	require.NoError(t, err)
	assert.Contains(t, diagnose(t, exitDone, nil, "--addr", s.Addr).all(), "tracking ok: not used")
	// The command opens its own store in the same mode.
	got := tierctl(t, nil, "invalidate", "source", "doc-1", "--addr", s.Addr)
	assert.Zero(t, got.status, got.err)
	require.NoError(t, store.Close())
	got = tierctl(t, nil, "invalidate", "source", "doc-1", "--addr", s.Addr)
	assert.Zero(t, got.status, "nor does it shut out stores of the mode that was open last: %s", got.err)
	assert.Contains(t, tierctl(t, nil, "stats", "--addr", s.Addr).out, "WithoutTracking")
}

func TestDoctorLooksAtTheCertificate(t *testing.T) {
	s := valkeytest.Start(t, valkeytest.TLS())
	r := diagnose(t, exitDone, nil, "--url", "valkeys://"+s.Addr+"?skip_verify=1")
	assert.Contains(t, r.all(), "TLS warning: the server's certificate is not verified")
	assert.Regexp(t, `TLS (ok|warning): the certificate (is good until|ends) \d{4}-`, r.all())
	got := tierctl(t, nil, "doctor", "--addr", s.Addr, "--tls")
	assert.Equal(t, exitFailed, got.status)
	assert.Contains(t, got.err, "certificate")
}

// rightsInREADME are those of the user in the README.
func rightsInREADME(t *testing.T) (user []string) {
	t.Helper()
	b, err := os.ReadFile("../../README.md")
	require.NoError(t, err)
	m := regexp.MustCompile(`(?m)^ACL SETUSER tiercache on >PASSWORD (.*)$`).FindStringSubmatch(string(b))
	require.NotNil(t, m)
	return strings.Fields(m[1])
}

// Each right that the README asks for is taken away in turn: doctor names it, and no other.
func TestDoctorNamesEachRightThatIsMissing(t *testing.T) {
	s := valkeytest.Start(t, valkeytest.Config("maxmemory", "50mb"), valkeytest.Config("maxmemory-policy", "volatile-lru"))
	environment := map[string]string{"TIERCTL_USER": "tiercache", "TIERCTL_PASSWORD": "PASSWORD", "TIERCTL_URL": "valkey://" + s.Addr}
	all := rightsInREADME(t)
	set := func(rights []string) {
		s.Do(t, "ACL", "DELUSER", "tiercache")
		s.Do(t, append([]string{"ACL", "SETUSER", "tiercache", "on", ">PASSWORD"}, rights...)...)
	}
	set(all)
	r := diagnose(t, exitDone, environment)
	assert.NotContains(t, r.all(), "refused")
	assert.NotEqual(t, "error", r.Worst, r.all())
	stats := tierctl(t, environment, "stats")
	assert.Zero(t, stats.status, stats.err)
	for i, right := range all {
		name, ok := strings.CutPrefix(right, "+")
		if !ok || name == "cluster|shards" { // it is needed in a cluster alone
			continue
		}
		set(slices.Delete(slices.Clone(all), i, i+1))
		got := tierctl(t, environment, "doctor", "--json")
		if got.status == exitFailed {
			t.Errorf("without %s: %s", name, got.err)
			continue
		}
		var named []string
		for _, f := range decode[report](t, got.out).Findings {
			if refused, ok := strings.CutSuffix(strings.SplitN(f.Says, " refused", 2)[0], " is"); ok && f.Check == "rights" {
				named = append(named, refused)
			}
		}
		assert.Equal(t, []string{name}, named, got.out)
	}
}

// A proxy that swallows invalidations is worse than none: a store would believe that it hears of changes.
func TestDoctorFindsAProxyThatSwallowsInvalidations(t *testing.T) {
	s := valkeytest.Start(t)
	p, err := faultproxy.Start(s.Addr, 1)
	require.NoError(t, err)
	t.Cleanup(func() { p.Close() })
	p.Apply(faultproxy.Rule{Class: faultproxy.Push, Action: faultproxy.Drop, Only: "invalidate"})
	r := diagnose(t, exitFindings, nil, "--addr", p.Addr(), "--timeout", "3s")
	assert.Contains(t, r.all(), "tracking error: switched on, and no invalidation came: none within 3s")
}
