package tier

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/tiercache/tiercache/internal/backend"
	"github.com/tiercache/tiercache/internal/changelog"
	"github.com/tiercache/tiercache/tier/internal/session"
)

// Health says what works now. A store that is not Healthy still answers every
// read that a loader can answer.
type Health struct {
	// Healthy: the remote tier answers, local copies are served or the store is Idle, no
	// change waits to be recorded, and no kind of request is refused. A stall is not told:
	// all but a refusal counts once it has lasted a second (and a heartbeat).
	Healthy bool
	// Idle: there was no read, Set or Delete for 60 s. The store reads the change log only every 20 s then
	// (or with every heartbeat, if those are further apart), so local copies are mostly not
	// proven, and Staleness may be as much. The next read proves them, in the request that it
	// sends anyhow; from then on heartbeats come as before.
	Idle bool
	// Staleness is the greatest age that this process's knowledge of changes can have
	// now. While it exceeds the maximum no local copies are served.
	Staleness time.Duration
	// ServesLocal: local copies are proven recent enough to be served.
	ServesLocal bool
	// Remote describes the backend, without secrets; Server what answered.
	Remote, Server string
	// Mode says in a few words how the store is connected: to one server or a cluster, by
	// which protocol, with or without tracking. What the store does without, since the
	// server withholds it, is in Warnings.
	Mode string
	// Refused are the kinds of requests that the server refuses while it performs others
	// (a right was revoked, a command is missing, its memory is full, it cannot save), each with what it
	// says: reading an entry, setting a value, and so on. In a cluster the error names the servers. A kind is refused until its
	// requests have been performed for a second; that memory is full, or a disk, is over when other kinds of writes show so.
	Refused map[string]error
	// RemoteErr is why the remote tier does not answer, or nil.
	RemoteErr error
	// AwaySince is since when the remote tier is taken to be away, so that reads
	// go to their loaders at once, and Set and Delete fail at once; zero if it is
	// not. Outages counts how often that has lasted a second since the store was opened.
	AwaySince time.Time
	Outages   int64
	// FailedHeartbeats counts those that have failed in a row.
	FailedHeartbeats int
	// Undelivered counts the scopes that this process has invalidated and the change
	// log has not recorded yet; UndeliveredAll is set if InvalidateAll is among them.
	Undelivered    int
	UndeliveredAll bool
	// Settling counts the scopes whose change has not settled yet (see [Settle]), as far as this process has heard, and
	// SettlesIn is how long the last of them takes: what is loaded from them until then is kept until then.
	Settling  int
	SettlesIn time.Duration
	// StuckLoads is how many loaders were given up and have not returned: see WithDetachedLoads.
	StuckLoads int
	// Policy, MaxMemory and UsedMemory are the server's maxmemory-policy and its
	// bytes; empty and 0 if the server did not tell them.
	Policy                string
	MaxMemory, UsedMemory int64
	// Warnings are conditions that cost hits or hide changes, in plain words.
	Warnings []string
}

// Health asks the server and returns the present state, in the longer of a second and twice the remote timeout. It is for a
// health endpoint, not for the path of a request. As JSON it has errors as texts, times as text, durations as "250ms", and null
// for what is not known.
func (s *Store) Health(ctx context.Context) Health {
	if s.core.Closed.Load() {
		return Health{Remote: s.core.Config.Backend.String(), RemoteErr: ErrClosed}
	}
	// Whatever the server does: a health endpoint has to answer.
	hctx, cancel := context.WithTimeout(ctx, max(2*s.core.Config.Timeout, time.Second))
	defer cancel()
	rctx := s.core.Session.Request(hctx)
	defer rctx.End()
	info, err := s.core.Session.Conn.Info(rctx)
	unanswered := err != nil
	t := s.core.Session.Tail.Health()
	h := Health{
		Idle:             t.Idle,
		Staleness:        t.ProofAge,
		ServesLocal:      t.ProofAge <= s.core.Config.MaxStaleness,
		Remote:           s.core.Config.Backend.String(),
		Server:           info.Server,
		FailedHeartbeats: t.Failures,
		Undelivered:      t.Undelivered,
		UndeliveredAll:   t.UndeliveredAll,
		Settling:         t.Settling,
		SettlesIn:        t.SettlesIn,
		StuckLoads:       s.core.Stuck.Count(),
		Policy:           info.Policy,
		MaxMemory:        info.MaxMemory,
		UsedMemory:       info.UsedMemory,
		Refused:          s.core.Session.Conn.Refusals.Now(),
	}
	mode := backend.ModeOf(s.core.Session.Conn.Conn, s.core.Config.Connection())
	h.Mode = mode.Kind
	if err == nil {
		err = t.Err
	}
	h.AwaySince, h.Outages = s.core.Session.Conn.AwaySince()
	if a := s.core.Session.Conn.OpenOutage(); err == nil && a != nil {
		err = a
	}
	away := s.core.Session.Conn.Away()
	if err == nil && len(away) > 0 {
		err = away[0].Cause
	}
	h.RemoteErr = s.core.RemoteError(ctx, "health", err)
	well := h.RemoteErr == nil && (h.ServesLocal || h.Idle) && h.Undelivered == 0 && !h.UndeliveredAll
	brief := s.core.Session.IsBrief(unanswered, &t)
	h.Healthy = (well || brief) && len(h.Refused) == 0
	for _, kind := range slices.Sorted(maps.Keys(h.Refused)) {
		h.Warnings = append(h.Warnings, fmt.Sprintf("the server refuses %s: %v", kind, h.Refused[kind]))
	}
	for _, a := range away {
		h.Warnings = append(h.Warnings, a.String())
	}
	// guard: loss-is-told
	if t.Losses > 0 && time.Since(t.LostAt) < time.Hour {
		h.Warnings = append(h.Warnings, fmt.Sprintf("the change log has lost history (%d times, last at %s): every entry from before is loaded again. A server that was restarted empty, a failover, a flush and eviction do that", t.Losses, t.LostAt.UTC().Format(time.DateTime+" UTC")))
	}
	if t.Stranger {
		h.Warnings = append(h.Warnings, changelog.StrangerWarning)
	}
	if h.StuckLoads > 0 {
		h.Warnings = append(h.Warnings, fmt.Sprintf("%d loaders have ignored the end of their context for another load timeout, and go on (WithDetachedLoads)", h.StuckLoads))
	}
	h.Warnings = append(append(h.Warnings, mode.Without...), s.core.Session.BypassWarnings()...)
	h.Warnings = slices.Concat(h.Warnings, session.Warnings(&info), s.core.EncodeWarnings(), s.core.SizeWarnings(), s.core.EncodingWarnings())
	return h
}

// MarshalJSON returns what a person and a program can read: see [Store.Health].
func (h Health) MarshalJSON() ([]byte, error) {
	type fields Health
	refused := make(map[string]string, len(h.Refused))
	for kind, err := range h.Refused {
		refused[kind] = err.Error()
	}
	known := func(is bool, v any) any {
		if is {
			return v
		}
		return nil
	}
	text := func(err error) any { return known(err != nil, fmt.Sprint(err)) }
	return json.Marshal(struct {
		fields
		Staleness, Server, Mode, RemoteErr, AwaySince, Policy, MaxMemory, UsedMemory, SettlesIn any
		Refused                                                                                 map[string]string
	}{
		fields:    fields(h),
		Staleness: known(h.Staleness != math.MaxInt64, h.Staleness.Round(time.Millisecond).String()),
		Server:    known(h.Server != "", h.Server), Mode: known(h.Mode != "", h.Mode),
		RemoteErr: text(h.RemoteErr), AwaySince: known(!h.AwaySince.IsZero(), h.AwaySince),
		Policy: known(h.Policy != "", h.Policy), MaxMemory: known(h.Policy != "", h.MaxMemory), UsedMemory: known(h.Policy != "", h.UsedMemory),
		SettlesIn: h.SettlesIn.Round(time.Millisecond).String(), Refused: refused,
	})
}
