package bound_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/internal/bound"
)

var (
	errLimit  = errors.New("long enough")
	errCaller = errors.New("the caller's own")
)

type key struct{}

// ways to look at a context: with and without a goroutine that waits for its end.
var ways = map[string]func(context.Context){
	"without Done": func(context.Context) {},
	"with Done":    func(ctx context.Context) { ctx.Done() },
}

// inBubbles makes a context of a caller's and of a limit that ends after a second.
func inBubbles(t *testing.T, test func(t *testing.T, ctx *bound.Context, cancel context.CancelCauseFunc)) {
	for name, look := range ways {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				caller, cancel := context.WithCancelCause(context.WithValue(t.Context(), key{}, "value"))
				defer cancel(nil)
				limit, stop := context.WithTimeout(context.Background(), time.Second)
				defer stop()
				ctx := bound.New(caller, limit, errLimit)
				defer ctx.End()
				look(ctx)
				require.NoError(t, ctx.Err())
				require.NoError(t, bound.Cause(ctx))
				require.Equal(t, "value", ctx.Value(key{}))
				at, ok := ctx.Deadline()
				require.True(t, ok)
				require.Equal(t, time.Second, time.Until(at))
				test(t, ctx, cancel)
				require.Equal(t, ctx.Err(), context.Canceled, "it stays what it is")
			})
		})
	}
}

func TestItEndsWithItsLimit(t *testing.T) {
	for name, look := range ways {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				caller, cancel := context.WithCancel(t.Context())
				limit, stop := context.WithTimeout(context.Background(), time.Second)
				defer stop()
				ctx := bound.New(caller, limit, errLimit)
				defer ctx.End()
				look(ctx)
				own, by := ctx.Ends()
				begun := time.Now()
				<-by
				require.Equal(t, time.Second, time.Since(begun))
				synctest.Wait()
				require.Equal(t, context.DeadlineExceeded, ctx.Err())
				require.Equal(t, errLimit, bound.Cause(ctx))
				cancel()
				<-own
				require.Equal(t, context.DeadlineExceeded, ctx.Err(), "it stays what it is")
				require.Equal(t, errLimit, bound.Cause(ctx))
				<-ctx.Done()
			})
		})
	}
}

func TestItEndsWithItsCaller(t *testing.T) {
	inBubbles(t, func(t *testing.T, ctx *bound.Context, cancel context.CancelCauseFunc) {
		own, by := ctx.Ends()
		cancel(errCaller)
		<-own
		require.Equal(t, context.Canceled, ctx.Err())
		require.Equal(t, errCaller, bound.Cause(ctx))
		<-ctx.Done()
		<-by
		require.Equal(t, errCaller, bound.Cause(ctx), "it stays what it is")
	})
}

func TestACallersDeadlineMayBeEarlier(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		caller, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		limit, stop := context.WithTimeout(context.Background(), time.Second)
		defer stop()
		ctx := bound.New(caller, limit, errLimit)
		defer ctx.End()
		at, ok := ctx.Deadline()
		require.True(t, ok)
		require.Equal(t, time.Millisecond, time.Until(at))
		<-ctx.Done()
		require.Equal(t, context.DeadlineExceeded, ctx.Err())
		require.Equal(t, context.DeadlineExceeded, bound.Cause(ctx), "of the caller's, not of the limit's")
	})
}

// Contexts that are derived from it end with it, and End leaves nothing behind: a
// bubble in which a goroutine stayed would not end.
func TestWhatIsDerivedFromItEndsWithIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		limit, stop := context.WithTimeout(context.Background(), time.Second)
		defer stop()
		caller, cancel := context.WithCancel(t.Context())
		defer cancel()
		ctx := bound.New(caller, limit, errLimit)
		child, done := context.WithCancel(ctx)
		defer done()
		<-child.Done()
		require.Equal(t, context.DeadlineExceeded, child.Err())
		ctx.End()
		other := bound.New(caller, limit, errLimit)
		waits := other.Done()
		other.End()
		<-waits
	})
	require.NoError(t, bound.Cause(context.Background()))
}

// The limit may be told of its end before what was joined is, and so may a goroutine that waits for
// either.
func TestItHasEndedOnceEitherHas(t *testing.T) {
	for name, end := range map[string]func(caller, limit context.CancelFunc){
		"the caller": func(caller, _ context.CancelFunc) { caller() },
		"the limit":  func(_, limit context.CancelFunc) { limit() },
	} {
		t.Run(name, func(t *testing.T) {
			caller, cancel := context.WithCancel(t.Context())
			defer cancel()
			limit, stop := context.WithTimeout(context.Background(), time.Hour)
			defer stop()
			ctx := bound.New(caller, limit, errLimit)
			defer ctx.End()
			ctx.Done()
			end(cancel, stop)
			require.Equal(t, context.Canceled, ctx.Err())
			require.Error(t, bound.Cause(ctx))
		})
	}
}

func TestTheEarlierDeadlineIsTheCause(t *testing.T) {
	for own, cause := range map[time.Duration]error{time.Millisecond: context.DeadlineExceeded, time.Minute: errLimit} {
		synctest.Test(t, func(t *testing.T) {
			caller, cancel := context.WithTimeout(t.Context(), own)
			defer cancel()
			limit, stop := context.WithTimeout(context.Background(), time.Second)
			defer stop()
			ctx := bound.New(caller, limit, errLimit)
			time.Sleep(time.Hour)
			require.Equal(t, context.DeadlineExceeded, ctx.Err())
			require.Equal(t, cause, bound.Cause(ctx))
		})
	}
}
