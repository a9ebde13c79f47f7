package remote

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/valkey-io/valkey-go"

	"github.com/tiercache/tiercache/internal/backend"
	"github.com/tiercache/tiercache/internal/changelog"
	"github.com/tiercache/tiercache/internal/mono"
	"github.com/tiercache/tiercache/internal/valkeytest"
)

// What stands in the log is renewed in time, and told again to another log. A store that was
// silent for longer than it stands there hears of that as of a loss: stores of the
// other mode may have come and gone, whose writes nothing told of.
func TestAnEnrolmentIsRenewedAndItsEndIsALoss(t *testing.T) {
	s := valkeytest.Start(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var lost atomic.Int64
	nothing := func(string) {}
	opened, err := Valkey(valkey.ClientOption{InitAddress: []string{s.Addr}}).Connect(ctx, backend.Options{Prefix: "p", Timeout: 10 * time.Second,
		NoTracking: true, Events: backend.Events{Changed: func([]string) {}, Lost: func() { lost.Add(1) }, Published: nothing}})
	require.NoError(t, err)
	defer opened.Close()
	c := opened.(*valkeyConn)
	read := func() { // and returns when the store enrolled
		t.Helper()
		before := lost.Load()
		_, err := c.Delta(ctx, changelog.DeltaQuery{Limit: 1})
		require.NoError(t, err)
		lost.Add(-before)
	}
	ago := func(d time.Duration) mono.Time {
		c.enrolment.turn <- struct{}{}
		defer func() { <-c.enrolment.turn }()
		c.enrolment.sent = mono.Now().Add(-d)
		return c.enrolment.sent
	}
	read()
	require.Zero(t, c.enrolment.sent, "there is no log")
	require.NoError(t, c.Renew(ctx, changelog.Loss{}))
	read()
	require.NotZero(t, c.enrolment.sent)
	for _, x := range []struct {
		ago     time.Duration
		renewed bool
		lost    int64
	}{{enrolEvery - time.Second, false, 0}, {enrolEvery, true, 0}, {enrolledFor - time.Second, true, 0}, {enrolledFor + time.Second, true, 1}} {
		was := ago(x.ago)
		read()
		require.Equal(t, x.renewed, c.enrolment.sent != was, "%v ago", x.ago)
		require.Equal(t, x.lost, lost.Load(), "%v ago", x.ago)
	}
	was := c.enrolment
	require.NoError(t, c.Renew(ctx, changelog.Loss{Forked: was.incarnation}))
	read()
	require.NotEqual(t, was.incarnation, c.enrolment.incarnation)
	require.Zero(t, lost.Load())
}

// A server that takes no writes answers reads as before.
func TestAServerThatTakesNoWritesIsRead(t *testing.T) {
	s := valkeytest.Start(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	nothing := func() {}
	connect := func() *valkeyConn {
		opened, err := Valkey(valkey.ClientOption{InitAddress: []string{s.Addr}}).Connect(ctx, backend.Options{Prefix: "p", Timeout: 10 * time.Second,
			Events: backend.Events{Changed: func([]string) {}, Lost: nothing, Published: func(string) {}}})
		require.NoError(t, err)
		t.Cleanup(func() { opened.Close() })
		return opened.(*valkeyConn)
	}
	c := connect()
	require.NoError(t, c.Renew(ctx, changelog.Loss{}))
	_, err := c.Delta(ctx, changelog.DeltaQuery{Limit: 1})
	require.NoError(t, err)
	s.Do(t, "CONFIG", "SET", "min-replicas-to-write", "1")
	c.enrolment.sent = mono.Now().Add(-2 * enrolledFor)
	for range 2 {
		d, err := c.Delta(ctx, changelog.DeltaQuery{Limit: 1})
		require.NoError(t, err)
		require.NotZero(t, d.Incarnation)
	}
}
