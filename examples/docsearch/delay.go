package main

import (
	"context"
	"errors"
	"runtime"
	"time"
)

// Delay is how long a replica went on believing its copy of an answer after another one had
// invalidated it.
type Delay struct {
	FromCall time.Duration // since InvalidateSource was called
	FromAck  time.Duration // since it returned: negative if the copy was gone before that
}

// measureDelay invalidates a source on one replica while another is asked, over and over, whether it
// still believes its answer. The delay ends where the first read that got no answer began: the time
// that this read itself took is not part of it. The reads before it took about a microsecond each,
// and that is how exact the measurement is, as long as there is a core for each side.
func measureDelay(ctx context.Context, from, to *Replica, q Question, source string) (Delay, error) {
	polling := make(chan struct{})
	type end struct {
		at  time.Time
		err error
	}
	dropped := make(chan end, 1)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // ends the polling if the invalidation fails
	go func() {
		for polls := 0; ; polls++ {
			at := time.Now()
			believed, err := to.Believes(ctx, q)
			if polls == 0 {
				if err == nil && !believed {
					err = errors.New("nothing to measure: the replica had no copy")
				}
				close(polling)
			}
			if err = errors.Join(err, ctx.Err()); err != nil || !believed {
				dropped <- end{at, err}
				return
			}
			runtime.Gosched()
		}
	}()
	<-polling
	called := time.Now()
	_, err := from.Store.InvalidateSource(ctx, source)
	acknowledged := time.Now()
	if err != nil {
		return Delay{}, err
	}
	e := <-dropped
	return Delay{e.at.Sub(called), e.at.Sub(acknowledged)}, e.err
}
