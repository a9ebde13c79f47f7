package fleet

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"maps"
	mrand "math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/tiercache/tiercache/internal/backend"
)

// Conn is the part of a connection that reports need.
type Conn interface {
	GetUntracked(ctx context.Context, keys []string) ([]backend.Item, error)
	Write(ctx context.Context, writes []backend.Write) ([]backend.Written, error)
}

// Reporter writes the reports of a store.
type Reporter struct {
	conn    Conn
	prefix  string
	id      string
	timeout time.Duration
	// now is the server's time, and tell makes a report.
	now  func() time.Time
	tell func(span time.Duration) Report

	slot  int
	taken bool // slot is this reporter's
}

// NewReporter returns a reporter of a store with a prefix, whose requests have a time to be answered. now is the server's time; tell
// describes the store, and what it did in a span.
func NewReporter(conn Conn, prefix string, timeout time.Duration, now func() time.Time, tell func(span time.Duration) Report) *Reporter {
	var id [8]byte
	_, _ = rand.Read(id[:]) // never fails
	return &Reporter{conn: conn, prefix: prefix, timeout: timeout, now: now, tell: tell, id: hex.EncodeToString(id[:])}
}

// Run reports until ctx ends. What fails is left out: the next report says the same, and more.
func (r *Reporter) Run(ctx context.Context) {
	opened, last := r.now(), time.Now()
	wait := time.Duration(mrand.Int64N(int64(time.Second)))
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		now := time.Now()
		report := r.tell(max(now.Sub(last), time.Millisecond))
		last = now
		report.ID, report.At, report.Opened = r.id, r.now().UTC().Truncate(time.Millisecond), opened.UTC().Truncate(time.Second)
		rctx, cancel := context.WithTimeout(ctx, r.timeout)
		_ = r.write(rctx, report)
		cancel()
		wait = Every
	}
}

// tries is how many slots are looked at for a free one.
const tries = 16

// write writes a report in the reporter's slot. Where another process has that too, it takes another. Two that take one slot at the same
// time both write there, until the next report of either.
func (r *Reporter) write(ctx context.Context, report Report) error {
	slots := make([]int, tries)
	for i := range slots {
		slots[i] = mrand.IntN(Slots)
	}
	if r.taken {
		slots[0] = r.slot
	}
	names := make([]string, tries)
	for i, slot := range slots {
		names[i] = Key(r.prefix, slot)
	}
	items, err := r.conn.GetUntracked(ctx, names)
	if err != nil {
		return err
	}
	free := func(it backend.Item) bool {
		if it.Err != nil {
			return false
		}
		other, err := Parse(it.Raw)
		return err != nil || other.ID == r.id || r.now().Sub(other.At) > Lasts
	}
	at := slices.IndexFunc(items, free)
	if at < 0 {
		r.taken = false
		return errFull
	}
	r.slot, r.taken = slots[at], true
	written, err := r.conn.Write(ctx, []backend.Write{{Key: names[at], Envelope: report.Encode(), Expires: r.now().Add(Lasts)}})
	if err == nil {
		err = written[0].Err
	}
	return err
}

// errFull: nearly as many processes report as can.
var errFull = errors.New("all slots that were looked at are taken")

// Read returns the reports of all processes, by host and process id.
func Read(ctx context.Context, conn Conn, prefix string, now time.Time) ([]Report, error) {
	var reports []Report
	const piece = 128
	for from := 0; from < Slots; from += piece {
		names := make([]string, piece)
		for i := range names {
			names[i] = Key(prefix, from+i)
		}
		items, err := conn.GetUntracked(ctx, names)
		if err != nil {
			return nil, err
		}
		for _, it := range items {
			if r, err := Parse(it.Raw); err == nil && it.Err == nil {
				reports = append(reports, r)
			}
		}
	}
	return Sort(reports, now), nil
}

// Sort leaves out what is too old, and the older of two reports of one process, and sorts by host and process id.
func Sort(reports []Report, now time.Time) []Report {
	latest := make(map[string]Report)
	for _, r := range reports {
		if now.Sub(r.At) <= Lasts && r.At.Sub(now) < time.Minute && !r.At.Before(latest[r.ID].At) {
			latest[r.ID] = r
		}
	}
	return slices.SortedFunc(maps.Values(latest), func(a, b Report) int {
		return cmp.Or(strings.Compare(a.Host, b.Host), a.PID-b.PID, strings.Compare(a.ID, b.ID))
	})
}
