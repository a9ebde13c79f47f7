package tier

import (
	"context"
	"errors"
	"time"
)

// loadContext is the context of a run of a loader: it has the values of the
// first caller's context and not its end.
//
// It is one object where the standard library's functions would make five, for
// the values, the deadline, the cause and the end of the store.
type loadContext struct {
	context.Context // ends by cancel
	cancelCause     context.CancelCauseFunc
	values          context.Context // for Value alone: it may have ended
	deadline        time.Time
	loading         loading
}

// init sets everything except the timer that ends the context at its deadline.
func (c *loadContext) init(values context.Context, deadline time.Time, l loading) {
	c.Context, c.cancelCause = context.WithCancelCause(context.Background())
	c.values, c.deadline, c.loading = values, deadline, l
	c.loading.outer, _ = values.Value(loadingKey{}).(*loading)
}

// Deadline implements [context.Context].
func (c *loadContext) Deadline() (time.Time, bool) { return c.deadline, true }

// Value implements [context.Context]. It asks the inner context first: contexts that
// are derived from this one look for that by Value.
func (c *loadContext) Value(key any) any {
	if key == (loadingKey{}) {
		return &c.loading
	}
	if v := c.Context.Value(key); v != nil {
		return v
	}
	return context.WithoutCancel(c.values).Value(key)
}

// Err implements [context.Context].
func (c *loadContext) Err() error {
	err := c.Context.Err()
	if err != nil && errors.Is(context.Cause(c.Context), context.DeadlineExceeded) {
		return context.DeadlineExceeded
	}
	return err
}
