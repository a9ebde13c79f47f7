package remote

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/valkey-io/valkey-go"

	"github.com/tiercache/tiercache/internal/backend"
	"github.com/tiercache/tiercache/internal/changelog"
	"github.com/tiercache/tiercache/internal/valkeytest"
	"github.com/tiercache/tiercache/invalidation"
)

// fillConnections takes all connections that a server has to spare, but what its admin needs.
func fillConnections(t *testing.T, s *valkeytest.Server) (free func()) {
	admin := s.Client(t)
	require.NoError(t, admin.Do(t.Context(), admin.B().Ping().Build()).Error())
	do := func(words ...string) {
		require.NoError(t, admin.Do(t.Context(), admin.B().Arbitrary(words...).Build()).Error())
	}
	do("CONFIG", "SET", "maxclients", "1")
	do("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
	_ = admin.Do(t.Context(), admin.B().Arbitrary("CLIENT", "KILL", "TYPE", "pubsub").Build())
	return func() { do("CONFIG", "SET", "maxclients", "1000") }
}

// Opening says what the server says.
func TestAServerThatHasNoConnectionToSpareSaysSo(t *testing.T) {
	s := valkeytest.Start(t)
	defer fillConnections(t, s)()
	for range 20 {
		nothing := func() {}
		_, err := Valkey(valkey.ClientOption{InitAddress: []string{s.Addr}}).Connect(t.Context(), backend.Options{Prefix: "p", Timeout: time.Second,
			Events: backend.Events{Changed: func([]string) {}, Lost: nothing, Published: func(string) {}}})
		require.ErrorContains(t, err, "max number of clients reached")
	}
}

// A connection that the server refuses before it is greeted ends with an error, also if
// the request it was made for was called off between the two.
//
//	caller:           has the client dial
//	server:           says that it has no connection to spare, and closes
//	caller:           its context ends, so nothing is asked
//	reader goroutine: meets an answer that nothing was asked for
func TestAServerThatHasNoConnectionToSpareEndsNoProcess(t *testing.T) {
	c, s, _ := connectDirectly(t, valkey.ClientOption{})
	free := fillConnections(t, s)
	until := time.Now().Add(3 * time.Second)
	var all sync.WaitGroup
	for g := range 4 {
		all.Go(func() {
			for i := 0; time.Now().Before(until); i++ {
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(50+(37*i+11*g)%400)*time.Microsecond)
				_, _ = c.Append(ctx, changelog.Change{Scopes: []invalidation.Scope{"s:x"}, Retention: time.Hour})
				_, _ = c.GetOne(ctx, "p:k")
				cancel()
			}
		})
	}
	all.Wait()
	free()
	require.Eventually(t, func() bool {
		_, err := c.GetOne(t.Context(), "p:k")
		return err == nil
	}, time.Minute, time.Millisecond)
}
