package tier_test

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/internal/valkeytest"
	"github.com/tiercache/tiercache/tier"
)

// Nobody waits for the answer to a fill, and so whoever reads the connection hears it;
// what is told of it then may need the connection.
func TestWhoIsToldOfAFillMayAskTheServer(t *testing.T) {
	srv := valkeytest.Shared(t)
	var s *tier.Store
	told := make(chan error, 1)
	s, err := tier.Open(t.Context(), tier.WithValkey(srv.URL()), tier.WithPrefix(valkeytest.Prefix(t)), tier.WithRemoteTimeout(time.Second),
		tier.WithObserver(func(e tier.Event) {
			if e.Kind == tier.EventFill {
				told <- s.Sync(context.Background())
			}
		}))
	require.NoError(t, err)
	defer s.Close()
	c := view[string](t, s, "docs")
	for _, key := range []string{"a", "b"} { // the second finds the connection
		require.Equal(t, "v", find(t, c, key, is("v")).Value)
		require.NoError(t, <-told)
	}
}

// Nor does whoever reads delete what is older than a value that there is no room for.
func TestAFillThatTheServerHasNoRoomForDoesNotHoldUpTheConnection(t *testing.T) {
	srv := valkeytest.Start(t, valkeytest.Config("maxmemory-policy", "noeviction"))
	s, err := tier.Open(t.Context(), tier.WithValkey(srv.URL()), tier.WithRemoteTimeout(10*time.Second))
	require.NoError(t, err)
	defer s.Close()
	c := view[string](t, s, "docs")
	find(t, c, "first", is("v")) // finds the connection
	r := find(t, c, "k", func(context.Context, *tier.Entry) (string, error) {
		srv.Do(t, "CONFIG", "SET", "maxmemory", "1")
		return "v", nil
	})
	require.Equal(t, "v", r.Value)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	require.NoError(t, s.Sync(ctx))
	eventually(t, "it was refused", func() bool { return s.Stats().Full == 1 })
	srv.Do(t, "CONFIG", "SET", "maxmemory", "0")
}

// blocking is a log that is slow: it waits for goOn.
type blocking struct {
	slog.Handler
	goOn chan struct{}
}

func (b blocking) Handle(context.Context, slog.Record) error {
	<-b.goOn
	return nil
}

// Whoever reads may be the one who finds that the server is away, or back.
func TestALogThatIsSlowHoldsUpNobody(t *testing.T) {
	log := blocking{slog.NewTextHandler(&journal{}, nil), make(chan struct{})}
	s, err := tier.Open(t.Context(), tier.WithLogger(slog.New(log)))
	require.NoError(t, err)
	tier.GoesAndComes(s)
	close(log.goOn)
	require.NoError(t, s.Close())
}
