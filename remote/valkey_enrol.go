package remote

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/tiercache/tiercache/internal/backend"
	"github.com/tiercache/tiercache/internal/changelog"
	"github.com/tiercache/tiercache/internal/mono"
	"github.com/tiercache/tiercache/internal/remoteerr"
)

// enrolment is the entry of this store's options in the change log: whether it has
// client tracking, and for how long its entries can live. Stores of both modes on one
// prefix would not learn of each other's writes, so the second mode is refused while
// stores of the first are open. The options of a store are forgotten within 75 s after
// it has ended, so that a process that was killed does not block the other mode for good.
type enrolment struct {
	turn        chan struct{} // held while the store enrols
	incarnation uint64        // of the log that it enrolled in
	sent        mono.Time     // when that request was sent
}

const (
	enrolledFor = time.Minute
	// enrolEvery is how often the enrolment is renewed, with a heartbeat. So after an
	// answered delta it lasts for at least enrolledFor-enrolEvery.
	enrolEvery = 20 * time.Second
)

// modeOf is the spelling of a store's mode in the log.
func modeOf(o *backend.Options) string {
	if o.NoTracking {
		return "u"
	}
	return "t"
}

// enrolAgain is called before the log is read, and renews the enrolment in time.
func (c *valkeyConn) enrolAgain(ctx context.Context, client asker) error {
	return c.enrol(ctx, client, func(e *enrolment) bool { return e.sent == 0 || mono.Now().Sub(e.sent) < enrolEvery })
}

// enrolIn is called when a log was read: it may be another one than the store enrolled in.
func (c *valkeyConn) enrolIn(ctx context.Context, client asker, incarnation uint64) error {
	return c.enrol(ctx, client, func(e *enrolment) bool { return e.sent != 0 && incarnation == e.incarnation })
}

// enrol puts the options into the log, on the server of client, unless stands reports that
// they are there.
func (c *valkeyConn) enrol(ctx context.Context, client asker, stands func(*enrolment) bool) error {
	e := &c.enrolment
	select {
	case e.turn <- struct{}{}:
		defer func() { <-e.turn }()
	case <-ctx.Done():
		return ctx.Err()
	}
	if stands(e) {
		return nil
	}
	now := mono.Now()
	b := newBatch()
	b.eval(scriptEnrol, c.log)
	b.more(modeOf(&c.o), millis(c.o.MaxTTL), strconv.FormatInt(enrolledFor.Microseconds(), 10))
	fields, err := runOne(ctx, client, b).texts()
	if writesNothing(err) {
		return nil // no process can write: a store of the other mode cannot open, nor this one set a key
	}
	if err != nil {
		return logFailure(err)
	}
	if len(fields) != 2 {
		return errAnswer
	}
	if fields[0] == "" {
		return nil // there is no log, and it will be asked again when there is
	}
	var p parser
	if fields[1] != "" {
		return remoteerr.UnusableLog(backend.OtherModeError(c.o, c.lacks.untracked, time.UnixMicro(p.number(fields[1]))))
	}
	// guard: I2-long-silence
	if e.sent != 0 && now.Sub(e.sent) > enrolledFor {
		// Stores of the other mode may have been open meanwhile:
		//
		//	B, without tracking: is suspended
		//	A, with tracking:    opens once B is forgotten, sets k and ends
		//	B:                   goes on, does not learn of the change of k, and has a copy
		c.deliver(c.o.Events.Lost)
	}
	e.incarnation, e.sent = p.incarnation(fields[0]), now
	return p.err
}

// writesNothing reports whether err says that the server refuses writes at present but
// answers reads: it has too few replicas, or cannot save.
func writesNothing(err error) bool {
	text, _ := remoteerr.RefusalOf(err)
	return strings.HasPrefix(text, "NOREPLICAS ") || strings.HasPrefix(text, "MISCONF ")
}

// logFailure is failure of a request about the log.
func logFailure(err error) error {
	text, refused := remoteerr.RefusalOf(err)
	if !refused || remoteerr.Away(err) || errors.Is(failure(err), backend.ErrFull) {
		return failure(err)
	}
	if rest, ok := strings.CutPrefix(text, "NEWERLOG "); ok {
		words := strings.Fields(rest)
		if len(words) > 1 {
			return remoteerr.UnusableLog(fmt.Errorf("the change log is of format %.9s and needs a version that reads formats up to %.9s; this version reads formats up to %d: use a later version, or delete the log, which makes every entry a miss",
				words[0], words[1], changelog.Format))
		}
	}
	return remoteerr.UnusableLog(failure(err))
}
