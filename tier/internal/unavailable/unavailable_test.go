package unavailable

import (
	"context"
	"errors"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var errSentinel = errors.New("unavailable")

func TestTheEndOfARequestIsNotTheEndOfItsCaller(t *testing.T) {
	r := Request{Doing: "set", Server: "valkey at 10.0.0.1:6379", Limit: 50 * time.Millisecond}
	cause := fmt.Errorf("no answer: %w", context.DeadlineExceeded)
	err := r.Error(errSentinel, nil, cause)
	require.ErrorIs(t, err, errSentinel)
	require.NotErrorIs(t, err, context.DeadlineExceeded)
	require.NotErrorIs(t, err, context.Canceled)
	require.ErrorIs(t, err, cause)
	require.EqualError(t, err, "unavailable: set: valkey at 10.0.0.1:6379 within 50ms: no answer: context deadline exceeded")

	err = r.Error(errSentinel, context.Canceled, cause)
	require.ErrorIs(t, err, context.Canceled)
	require.NotErrorIs(t, err, context.DeadlineExceeded)
	require.ErrorContains(t, err, "context canceled: no answer")

	var op *net.OpError
	require.ErrorAs(t, r.Error(errSentinel, nil, &net.OpError{Op: "dial", Err: errors.New("refused")}), &op)
}
