package remote

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/valkey-io/valkey-go"

	"github.com/tiercache/tiercache/internal/backend"
	"github.com/tiercache/tiercache/internal/changelog"
	"github.com/tiercache/tiercache/internal/valkeytest"
)

// Guard: admits compares places.
//
//	Sync:      reads the log of a server that was not known
//	heartbeat: has read it as well, and has the server admitted: all in the
//	           namespaces in which keys are written changes
//	Sync:      finds the server admitted, and is not to take what it has read
func TestWhatWasReadBeforeAServerWasAdmittedIsReadAgain(t *testing.T) {
	s := valkeytest.Start(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	nothing := func() {}
	events := backend.Events{Changed: func([]string) {}, Lost: nothing, Published: func(string) {}}
	opened, err := Valkey(valkey.ClientOption{InitAddress: []string{s.Addr}}).Connect(ctx, backend.Options{Prefix: "p", Timeout: 10 * time.Second, Events: events})
	require.NoError(t, err)
	defer opened.Close()
	c := opened.(*valkeyConn)
	require.NoError(t, c.Renew(ctx, changelog.Loss{}))
	before := c.histories.ask(c.dials.Load())
	d, err := c.Delta(ctx, changelog.DeltaQuery{})
	require.NoError(t, err)
	another := origin{history: "another", counters: counters{commands: untold}}
	unheard, ok := c.histories.judge(before, another)
	require.False(t, ok)
	logged, err := c.admit(ctx, c.tracked, unheard)
	require.True(t, logged)
	require.NoError(t, err)
	for _, x := range []struct {
		before question
		admits bool
	}{{before, false}, {c.histories.ask(c.dials.Load()), true}} {
		admits, err := c.admits(ctx, c.tracked, another, &d, x.before)
		require.NoError(t, err)
		require.Equal(t, x.admits, admits)
	}
}
