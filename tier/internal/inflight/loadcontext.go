package inflight

import (
	"context"
	"errors"
	"time"
)

// LoadContext is the context of a run of a loader: it has the values of the
// first caller's context and not its end.
//
// It is one object where the standard library's functions would make five, for
// the values, the deadline, the cause and the end of the store.
type LoadContext struct {
	context.Context // ends by cancel
	CancelCause     context.CancelCauseFunc
	Values          context.Context // for Value alone: it may have ended
	deadline        time.Time
	loading         Loading
}

// Init sets everything except the timer that ends the context at its deadline.
func (c *LoadContext) Init(values context.Context, deadline time.Time, l Loading) {
	c.Context, c.CancelCause = context.WithCancelCause(context.Background())
	c.Values, c.deadline, c.loading = values, deadline, l
	c.loading.outer, _ = values.Value(loadingKey{}).(*Loading)
}

// Deadline implements [context.Context].
func (c *LoadContext) Deadline() (time.Time, bool) { return c.deadline, true }

// Value implements [context.Context]. It asks the inner context first: contexts that
// are derived from this one look for that by Value.
func (c *LoadContext) Value(key any) any {
	if key == (loadingKey{}) {
		return &c.loading
	}
	if v := c.Context.Value(key); v != nil {
		return v
	}
	return context.WithoutCancel(c.Values).Value(key)
}

// Err implements [context.Context].
func (c *LoadContext) Err() error {
	err := c.Context.Err()
	if err != nil && errors.Is(context.Cause(c.Context), context.DeadlineExceeded) {
		return context.DeadlineExceeded
	}
	return err
}
