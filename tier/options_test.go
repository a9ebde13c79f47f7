package tier_test

import (
	"bytes"
	"context"
	"encoding/gob"
	"math"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/valkey-io/valkey-go"

	"github.com/tiercache/tiercache/internal/embedded"
	"github.com/tiercache/tiercache/internal/valkeytest"
	"github.com/tiercache/tiercache/tier"
)

func TestOpenNamesEveryBadOptionInOneError(t *testing.T) {
	s, err := tier.Open(t.Context(),
		tier.WithValkey("no url at all"), tier.WithPrefix("with space"), nil,
		tier.WithLocalBytes(-1), tier.WithLocalEntries(-2), tier.WithLocalPolicy(99), tier.WithHeartbeat(0), tier.WithMaxStaleness(-time.Second),
		tier.WithRemoteTimeout(0), tier.WithMaxTTL(time.Millisecond), tier.WithLogger(nil), tier.Settle(-time.Second), tier.WithRemote(nil))
	assert.Nil(t, s)
	for _, name := range []string{
		"WithValkey", "WithPrefix", "option 3 is nil", "WithLocalBytes", "WithLocalEntries", "WithLocalPolicy", "WithHeartbeat",
		"WithMaxStaleness", "WithRemoteTimeout", "WithMaxTTL", "WithLogger", "Settle", "WithRemote",
	} {
		assert.ErrorContains(t, err, name)
	}
	assert.NotErrorIs(t, err, tier.ErrUnavailable)
}

// Regression: options of the client that contradict the cache's were named after
// all others had been put right, and as if the server could not be reached.
func TestOpenNamesBadOptionsOfTheClientWithTheOthers(t *testing.T) {
	unusable := tier.WithValkeyClient(valkey.ClientOption{DisableCache: true, ConnLifetime: time.Hour})
	_, err := tier.Open(t.Context(), unusable, tier.WithHeartbeat(0), tier.WithMaxStaleness(0))
	for _, name := range []string{"InitAddress", "DisableCache", "ConnLifetime", "WithHeartbeat", "WithMaxStaleness"} {
		assert.ErrorContains(t, err, name)
	}
	assert.NotErrorIs(t, err, tier.ErrUnavailable)
	_, err = tier.Open(t.Context(), unusable, tier.WithoutTracking())
	assert.NotContains(t, err.Error(), "DisableCache", "without tracking there is nothing to silence")
}

func TestOpenRejectsWhatCannotWork(t *testing.T) {
	hub := embedded.New(0)
	for want, options := range map[string][]tier.Option{
		"WithValkey and WithRemote exclude":       {tier.WithValkey("valkey://127.0.0.1:1"), tier.WithRemote(hub)},
		"WithRemote and WithRemote exclude":       {tier.WithRemote(hub), tier.WithRemote(hub)},
		"WithValkeyClient and WithValkey exclude": {tier.WithValkeyClient(valkey.ClientOption{}), tier.WithValkey("valkey://127.0.0.1:1")},
		"WithRemote: backend is nil":              {tier.WithRemote((*embedded.Remote)(nil))},
		`WithPrefix ""`:                           {tier.WithPrefix("")},
		`WithPrefix "a{b}"`:                       {tier.WithPrefix("a{b}")},
		`WithPrefix "xxx`:                         {tier.WithPrefix(strings.Repeat("x", 65))},
		"WithLocalBytes 0 without WithLocalEnt":   {tier.WithLocalBytes(0)},
		"WithLocalBytes 100: ":                    {tier.WithLocalBytes(100)}, // holds nothing
		"twice the heartbeat":                     {tier.WithHeartbeat(time.Second), tier.WithMaxStaleness(time.Second)},
		"WithHeartbeat 1µs":                       {tier.WithHeartbeat(time.Microsecond)},
		"WithMaxTTL 1.0000001s":                   {tier.WithMaxTTL(time.Second + 100)},
		"WithMaxTTL 1314000h0m0s":                 {tier.WithMaxTTL(150 * 365 * 24 * time.Hour)}, // beyond what an entry can say
		"Settle 2h0m0s":                           {tier.Settle(2 * time.Hour)},
	} {
		s, err := tier.Open(t.Context(), options...)
		assert.Nil(t, s)
		assert.ErrorContains(t, err, want)
	}
	s, err := tier.Open(t.Context(), tier.WithObserver(nil), tier.WithMaxTTL(100*365*24*time.Hour))
	require.NoError(t, err, "no observer is fine")
	require.NoError(t, s.Close())
}

func TestNewNamesEveryBadOptionInOneError(t *testing.T) {
	s := embeddedFleet(t, nil).process()
	_, err := tier.New[string](s, "a::b", nil, tier.WithTTL(0), tier.WithLocalTTL(0), tier.WithJitter(1), tier.WithNegativeTTL(-1),
		tier.WithLoadTimeout(0), tier.WithSoftTimeout(0), tier.WithStaleWhileRevalidate(-1), tier.WithStaleOnError(-1),
		tier.WithEarlyRefresh(-1), tier.WithCodec(nil), tier.WithCompression(-5), tier.WithLocalOnly(), tier.WithRemoteOnly())
	for _, name := range []string{
		"a::b", "option 1 is nil", "WithTTL 0s", "WithLocalTTL 0s", "WithJitter 1", "WithNegativeTTL -1ns", "WithLoadTimeout 0s", "WithSoftTimeout 0s",
		"WithStaleWhileRevalidate -1ns", "WithStaleOnError -1ns", "WithEarlyRefresh -1", "WithCodec", "WithCompression -5",
		"WithLocalOnly and WithRemoteOnly",
	} {
		assert.ErrorContains(t, err, name)
	}
	assert.NotContains(t, err.Error(), "\n", "it is one line, as a log has it")
}

func TestNewRejectsWhatCannotWork(t *testing.T) {
	s := embeddedFleet(t, nil).process()
	for want, options := range map[string][]tier.CacheOption{
		"WithSoftTimeout without":                   {tier.WithSoftTimeout(time.Second)},
		"WithSoftTimeout 1µs":                       {tier.WithSoftTimeout(time.Microsecond), tier.WithStaleOnError(time.Second)},
		"WithSoftTimeout -1s":                       {tier.WithSoftTimeout(-time.Second), tier.WithStaleOnError(time.Second)},
		"WithLocalTTL -1ns":                         {tier.WithLocalTTL(-1)},
		"WithSoftTimeout -1ns":                      {tier.WithSoftTimeout(-1), tier.WithStaleOnError(time.Second)},
		"WithCompression -1":                        {tier.WithCompression(-1)},
		"WithLocalOnly excludes WithCodec":          {tier.WithLocalOnly(), tier.WithCodec(gobCodec{})},
		"WithLocalOnly excludes WithCodec and With": {tier.WithLocalOnly(), tier.WithCompression(1)},
		"WithRemoteOnly excludes WithLocalTTL":      {tier.WithRemoteOnly(), tier.WithLocalTTL(time.Second)},
		"WithRemoteOnly excludes WithOutageTTL":     {tier.WithRemoteOnly(), tier.WithOutageTTL(time.Second)},
		"WithOutageTTL -1s: must be at least":       {tier.WithOutageTTL(-time.Second)},
		"WithOutageTTL 1.0005s: must be a whole":    {tier.WithOutageTTL(time.Second + 500*time.Microsecond)},
		"WithOutageTTL 168h0m0.001s: exceeds":       {tier.WithOutageTTL(7*24*time.Hour + time.Millisecond)},
		"WithJitter -0.1":                           {tier.WithJitter(-0.1)},
		"WithJitter NaN":                            {tier.WithJitter(math.NaN())},
		"WithEarlyRefresh 1":                        {tier.WithEarlyRefresh(1)},
		"WithEarlyRefresh NaN":                      {tier.WithEarlyRefresh(math.NaN())},
		"WithCompression 0":                         {tier.WithCompression(0)},
		"WithTTL 168h0m0.001s: exceeds":             {tier.WithTTL(7*24*time.Hour + time.Millisecond)},
		"WithStaleOnError 1.0005s":                  {tier.WithStaleOnError(time.Second + 500*time.Microsecond)},
	} {
		c, err := tier.New[string](s, "docs", options...)
		assert.Nil(t, c)
		assert.ErrorContains(t, err, want)
	}
	_, err := tier.New[string](nil, "docs")
	assert.ErrorContains(t, err, "store is nil")
}

func TestANamespaceIsSegmentsJoinedByColons(t *testing.T) {
	s := embeddedFleet(t, nil).process()
	for _, bad := range []string{"", ":", "a:", ":a", "a::b", strings.Repeat("x", 513)} {
		_, err := tier.New[string](s, bad)
		assert.ErrorContains(t, err, "namespace", bad)
		assert.Less(t, len(err.Error()), 200, "long names are cut short")
		_, err = s.InvalidateNamespace(t.Context(), "fine", bad)
		assert.ErrorContains(t, err, "namespace", bad)
		_, err = s.Purge(t.Context(), bad, nil)
		assert.ErrorContains(t, err, "namespace", bad)
	}
	for _, good := range []string{"a", "a:b:c", "with space:and/slash", "{braces}:*?[x]", "\x00\xff", "é", strings.Repeat("x", 512)} {
		c := view[string](t, s, good)
		find(t, c, "k", is(good))
		_, err := s.InvalidateNamespace(t.Context(), good)
		require.NoError(t, err)
		assert.Equal(t, "new", find(t, c, "k", is("new")).Value)
	}
}

// A type of which JSON would lose something needs a codec.
func TestNewRejectsTypesThatTheDefaultCodecWouldLosePartsOf(t *testing.T) {
	type hidden struct {
		A      int
		secret int
	}
	_ = hidden{secret: 1}
	type deep struct{ M map[string][]*hidden }
	s := embeddedFleet(t, nil).process()
	_, err := tier.New[deep](s, "docs")
	assert.ErrorContains(t, err, "secret")
	assert.ErrorContains(t, err, "WithCodec")
	_, err = tier.New[func()](s, "docs")
	assert.ErrorContains(t, err, "func")
	_, err = tier.New[struct{ C chan int }](s, "docs")
	assert.ErrorContains(t, err, "chan")
	_, err = tier.New[complex128](s, "docs")
	assert.ErrorContains(t, err, "complex128")
	assert.Empty(t, s.Stats().Namespaces)
	_, err = tier.New[deep](s, "docs", tier.WithCodec(gobCodec{}))
	assert.NoError(t, err)
	_, err = tier.New[deep](s, "mine", tier.WithLocalOnly())
	assert.NoError(t, err)
}

const secret = "s3cr3t-PASSWORD"

func TestOpenFailsWhenNoServerAnswersAndTellsNoSecret(t *testing.T) {
	before := len(clientGoroutines())
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	silent := l.Addr().String() // accepts and never answers
	defer l.Close()
	gone, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	nobody := gone.Addr().String()
	gone.Close()
	locked := valkeytest.Start(t, valkeytest.Config("requirepass", "another"))
	var log journal
	for name, url := range map[string]string{
		"no server listens": "valkey://user:" + secret + "@" + nobody,
		"silent":            "valkey://user:" + secret + "@" + silent,
		"no TLS there":      "valkeys://user:" + secret + "@" + locked.Addr,
		"wrong password":    "valkey://:" + secret + "@" + locked.Addr,
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
			defer cancel()
			began := time.Now()
			s, err := tier.Open(ctx, tier.WithValkey(url), tier.WithLogger(log.logger()))
			assert.Nil(t, s)
			assert.ErrorIs(t, err, tier.ErrUnavailable)
			assert.NotContains(t, err.Error(), secret)
			assert.Less(t, time.Since(began), 5*time.Second)
		})
	}
	for _, url := range []string{"", "http://u:" + secret + "@h", "valkey://u:" + secret + "@h:port", "valkey://u:" + secret + "@h:1/db",
		"valkey://%zz:" + secret + "@h", "://" + secret, "valkey://u:" + secret + "@h:1?protocol=" + secret} {
		s, err := tier.Open(t.Context(), tier.WithValkey(url), tier.WithLogger(log.logger()))
		if s != nil {
			s.Close()
		}
		if assert.Error(t, err, url) {
			assert.NotContains(t, err.Error(), secret)
		}
	}
	assert.NotContains(t, log.String(), secret)
	// A dial that Open gave up on ends with its own timeout, and valkey-go, which
	// tries a cluster first, leaves a goroutine of that asleep for up to a second.
	var left []string
	defer func() {
		if t.Failed() {
			t.Log(strings.Join(left, "\n\n"))
		}
	}()
	require.Eventually(t, func() bool {
		left = clientGoroutines()
		return len(left) <= before
	}, 2*time.Minute, 10*time.Millisecond, "nothing is left of the client")
}

// clientGoroutines returns the stacks of the goroutines of valkey-go.
func clientGoroutines() (found []string) {
	stacks := make([]byte, 1<<20)
	for stack := range strings.SplitSeq(string(stacks[:runtime.Stack(stacks, true)]), "\n\n") {
		if strings.Contains(stack, "valkey-io/valkey-go") {
			found = append(found, stack)
		}
	}
	return found
}

func TestACallersDeadlineBoundsOpen(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	s, err := tier.Open(ctx)
	assert.Nil(t, s)
	assert.ErrorIs(t, err, context.Canceled)
}

func TestWithoutARemoteAStoreHasOneOfItsOwn(t *testing.T) {
	one, err := tier.Open(t.Context(), tier.WithRemoteTimeout(10*time.Second))
	require.NoError(t, err)
	defer one.Close()
	two, err := tier.Open(t.Context(), tier.WithRemoteTimeout(10*time.Second))
	require.NoError(t, err)
	defer two.Close()
	a, b := view[int](t, one, "docs", tier.WithRemoteOnly()), view[int](t, two, "docs")
	require.NoError(t, a.Set(t.Context(), "k", 1))
	assert.Equal(t, 1, find(t, a, "k", unneeded).Value)
	assert.Equal(t, 2, find(t, b, "k", is(2)).Value)
}

func TestAClientOptionWithCredentialsIsUsed(t *testing.T) {
	srv := valkeytest.Start(t, valkeytest.Config("requirepass", secret))
	s, err := tier.Open(t.Context(), tier.WithValkeyClient(valkey.ClientOption{InitAddress: []string{srv.Addr}, Password: secret}),
		tier.WithRemoteTimeout(10*time.Second))
	require.NoError(t, err)
	defer s.Close()
	c := view[int](t, s, "docs")
	require.NoError(t, c.Set(t.Context(), "k", 1))
	assert.Equal(t, 1, find(t, c, "k", unneeded, tier.NoLocal()).Value)
	assert.NotContains(t, s.Health(t.Context()).Remote, secret)

	_, err = tier.Open(t.Context(), tier.WithValkeyClient(valkey.ClientOption{InitAddress: []string{srv.Addr}, Password: secret, AlwaysRESP2: true, DisableCache: true}))
	assert.ErrorContains(t, err, "AlwaysRESP2")
	assert.ErrorContains(t, err, "DisableCache")
	assert.NotContains(t, err.Error(), secret)
}

// gobCodec is what a user might bring.
type gobCodec struct{}

func (gobCodec) Marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	err := gob.NewEncoder(&b).Encode(v)
	return b.Bytes(), err
}

func (gobCodec) Unmarshal(b []byte, v any) error { return gob.NewDecoder(bytes.NewReader(b)).Decode(v) }
