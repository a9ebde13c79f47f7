package tier

import (
	"context"
	"os"
	"strings"
	"time"

	"github.com/tiercache/tiercache/internal/backend"
	"github.com/tiercache/tiercache/internal/fleet"
	"github.com/tiercache/tiercache/tier/internal/inspect"
	"github.com/tiercache/tiercache/tier/internal/keyspace"
)

// WithReport has the store write a report of at most 1 KiB into the remote tier every ten seconds, kept for 35 s, which tierctl fleet and
// top, and the page of tierdebug, show: host and process id, how it is connected, the age of what it knows of changes, its rates, the size of its
// local tier, and the keys that it reads most, as hashes. Up to about 500 processes of a prefix can. The hottest keys are found by samples, as for
// tierdebug. Default: no report.
func WithReport() Option { return storeOption(func(c *storeConfig) { c.report = true }) }

const mostReported = 10

// report begins to write reports.
func (s *Store) report() {
	inside := s.inspect()
	host, _ := os.Hostname() // or without
	before := s.Stats()
	tell := func(span time.Duration) fleet.Report {
		stats, t := s.Stats(), s.core.Session.Tail.Health()
		per := func(now, before int64) float64 { return float64(now-before) / span.Seconds() }
		r := fleet.Report{Host: host, PID: os.Getpid(), Mode: backend.ModeOf(s.core.Session.Conn.Conn, s.core.Config.Connection()).Kind,
			LagMs: t.ProofAge.Milliseconds(), MaxStalenessMs: s.core.Config.MaxStaleness.Milliseconds(), Idle: t.Idle,
			Away: !stats.AwaySince.IsZero(), Pending: t.Undelivered,
			Reads: per(stats.Reads(), before.Reads()), Local: per(stats.LocalHits, before.LocalHits),
			Remote: per(stats.RemoteHits+stats.Shared, before.RemoteHits+before.Shared), Loads: per(stats.Loads, before.Loads),
			Entries: stats.LocalEntries, Bytes: stats.LocalBytes}
		before = stats
		for _, k := range inside.Watch.Now(mostReported).Hottest {
			r.Top = append(r.Top, fleet.Hot{Namespace: k.Namespace, Hash: s.hashText(k.Key), PerSecond: k.PerSecond})
		}
		return r
	}
	r := fleet.NewReporter(s.core.Session.Conn, s.core.Config.Prefix, max(s.core.Config.Timeout, time.Second), func() time.Time { return s.core.Session.ServerTimeIn(0) }, tell)
	inside.Watch.Start()
	if !inside.Spawn(func(ctx context.Context) { defer inside.Watch.Stop(); r.Run(ctx) }) {
		inside.Watch.Stop()
	}
}

// hashText is the hash of a key as it stands between the braces of its remote name.
func (s *Store) hashText(k inspect.Key) string {
	ns := keyspace.New(s.core.Config.Prefix, k.Namespace)
	name := ns.RemoteName(ns.Hash(k.Name))
	return name[strings.LastIndexByte(name, '{')+1 : len(name)-1]
}
