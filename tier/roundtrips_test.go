package tier_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/valkey-io/valkey-go"

	"github.com/tiercache/tiercache/internal/valkeytest"
	"github.com/tiercache/tiercache/tier"
)

// What each operation sends, as a proxy before the server sees it. Requests that are sent together are one round trip. The fills of
// loaded values are among them, though their callers do not wait for those.
func TestRoundTripsOfEachOperation(t *testing.T) {
	srv := valkeytest.Shared(t)
	addr, trips := countTrips(t, srv.Addr)
	// A connection that is idle is asked no question in between, however long a busy machine takes.
	client := valkey.ClientOption{InitAddress: []string{addr}, Dialer: net.Dialer{KeepAlive: time.Hour}}
	s, err := tier.Open(t.Context(), tier.WithValkeyClient(client), tier.WithPrefix(valkeytest.Prefix(t)),
		tier.WithHeartbeat(time.Hour), tier.WithMaxStaleness(3*time.Hour), tier.WithRemoteTimeout(time.Minute))
	require.NoError(t, err)
	defer s.Close()
	ctx := context.Background()
	c, misses := view[string](t, s, "docs"), view[string](t, s, "misses")
	require.NoError(t, c.Set(ctx, "first", "v")) // declares the namespace
	require.NoError(t, c.Delete(ctx, "first"))
	var keys, absent, small []string
	values := make(map[string]string)
	for i := range 100 {
		keys, absent = append(keys, fmt.Sprint(i)), append(absent, fmt.Sprint("absent", i))
		values[keys[i]] = "v"
	}
	require.NoError(t, c.SetMany(ctx, values))
	small = keys[:20]
	for i := range 20 { // until it is known that reads mostly miss
		find(t, misses, fmt.Sprint("m", i), is("v"))
	}
	filled(t, s, 20)
	batch := func(_ context.Context, keys []string, _ tier.Entries) (map[string]string, error) {
		out := make(map[string]string)
		for _, k := range keys {
			out[k] = "v"
		}
		return out, nil
	}
	fills := int64(20)
	for _, op := range []struct {
		name  string
		want  int64
		fills int64
		slack int64
		do    func() error
	}{
		{"Get, a local hit", 0, 0, 0, func() error { _, err := c.Get(ctx, "0", unneeded); return err }},
		{"Get, a remote hit", 1, 0, 0, func() error { _, err := c.Get(ctx, "0", unneeded, tier.NoLocal()); return err }},
		{"Get, a miss", 3, 1, 0, func() error { _, err := c.Get(ctx, "new", is("v")); return err }},
		{"Get, a miss where reads mostly miss", 2, 1, 0, func() error { _, err := misses.Get(ctx, "new", is("v")); return err }},
		{"Get, Fresh", 1, 0, 0, func() error { _, err := c.Get(ctx, "0", unneeded, tier.Fresh()); return err }},
		{"GetMany of 20, local hits", 0, 0, 0, func() error { _, err := c.GetMany(ctx, small, batch); return err }},
		{"GetMany of 100, remote hits", 1, 0, 1, func() error { _, err := c.GetMany(ctx, keys, batch, tier.NoLocal()); return err }},
		{"GetMany of 100, misses", 3, 100, 1, func() error { _, err := c.GetMany(ctx, absent, batch); return err }},
		{"Peek, in the local tier", 0, 0, 0, func() error { _, _, err := c.Peek(ctx, "0"); return err }},
		{"Peek, of what is nowhere", 1, 0, 0, func() error { _, _, err := c.Peek(ctx, "nowhere"); return err }},
		{"Set", 1, 0, 0, func() error { return c.Set(ctx, "k", "v") }},
		{"SetMany of 100", 1, 0, 1, func() error { return c.SetMany(ctx, values) }},
		{"Delete of 100", 1, 0, 1, func() error { return c.Delete(ctx, keys...) }},
		{"Refresh", 2, 1, 0, func() error { _, err := c.Refresh(ctx, "k", is("v")); return err }},
		{"InvalidateSource", 1, 0, 0, func() error { _, err := s.InvalidateSource(ctx, "doc"); return err }},
		{"InvalidateNamespace", 1, 0, 0, func() error { _, err := s.InvalidateNamespace(ctx, "other"); return err }},
		{"Sync", 1, 0, 0, func() error { return s.Sync(ctx) }},
		{"Explain", 3, 0, 0, func() error { _, err := c.Explain(ctx, "k"); return err }},
	} {
		before := trips.Load()
		require.NoError(t, op.do(), op.name)
		fills += op.fills
		filled(t, s, fills)
		got := trips.Load() - before
		t.Logf("%-40s %d", op.name, got)
		assert.GreaterOrEqual(t, got, op.want, op.name)
		most := op.want
		if most > 0 { // the server may tell of a key while a large request is being sent
			most += op.slack
		}
		assert.LessOrEqual(t, got, most, op.name)
	}
}

// countTrips forwards connections to a server, and counts how often a client sends after the server had sent.
func countTrips(t *testing.T, server string) (addr string, trips *atomic.Int64) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	trips = new(atomic.Int64)
	go func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			to, err := net.Dial("tcp", server)
			if err != nil {
				_ = client.Close()
				continue
			}
			var answered atomic.Bool
			answered.Store(true)
			pass := func(to, from net.Conn, passing func()) {
				defer to.Close()
				defer from.Close()
				_, _ = io.Copy(to, tapped{from, passing})
			}
			go pass(client, to, func() { answered.Store(true) })
			go pass(to, client, func() {
				if answered.Swap(false) {
					trips.Add(1)
				}
			})
		}
	}()
	return l.Addr().String(), trips
}

// tapped calls passing with each piece that is read.
type tapped struct {
	io.Reader
	passing func()
}

func (t tapped) Read(b []byte) (int, error) {
	n, err := t.Reader.Read(b)
	if n > 0 {
		t.passing()
	}
	return n, err
}
