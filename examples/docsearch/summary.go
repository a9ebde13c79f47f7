package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// summary prints the hit rates by tier, as the stores counted them.
func (t *tour) summary(ctx context.Context) error {
	t.out.heading("Hit rates by tier")
	var rows [][]string
	for _, r := range t.replicas {
		s := ratesOf(r.Store.Stats())
		rows = append(rows, []string{r.Name, count(s.Reads), count(s.LocalHits), percent(s.LocalHitRate),
			count(s.RemoteHits), percent(s.RemoteHitRate), count(s.Loads), fmt.Sprintf("%d, %s", s.LocalEntries, size(s.LocalBytes))})
	}
	t.out.table([]string{"replica", ">reads", ">local hits", ">rate", ">remote hits", ">of the rest", ">loads", ">local entries"}, rows)
	t.out.gap()
	t.out.say("Done in %s. Next: -serve 127.0.0.1:8080, or the same on a server with -valkey.", latency(time.Since(t.started)))
	return nil
}

func count(n int64) string { return strconv.FormatInt(n, 10) }

func percent(share float64) string { return fmt.Sprintf("%.1f %%", 100*share) }

// health says how a replica's tiers do. The remote tier's least recently used entries give way to
// others by the server's maxmemory-policy, the local tier's by WithLocalBytes.
func health(ctx context.Context, r *Replica, out *terminal) {
	h := r.Store.Health(ctx)
	state := "healthy"
	if !h.Healthy {
		state = "NOT HEALTHY"
	}
	if h.RemoteErr != nil {
		state += fmt.Sprintf(" (%v)", h.RemoteErr)
	}
	where := h.Remote
	if !strings.Contains(where, h.Server) {
		where += ", " + h.Server
	}
	limit := "no limit"
	if h.MaxMemory > 0 {
		limit = "of " + size(h.MaxMemory)
	}
	out.say("Replica %s is %s. Its local copies are proven as of %s ago; the local tier holds up to %s.",
		r.Name, state, latency(h.Staleness), size(localBytes))
	out.say("Remote tier: %s; maxmemory-policy %s; %s used, %s.", where, h.Policy, size(h.UsedMemory), limit)
	for _, warning := range h.Warnings {
		out.say("Warning: %s.", warning)
	}
}

// introduce says what the service is made of and how its remote tier does.
func introduce(ctx context.Context, s *Service, out *terminal) {
	out.say("%d documents on %d packages, from the toolchain's own sources: read in %s, indexed in %s.",
		s.corpus.Len(), s.corpus.Packages(), latency(s.readTime), latency(s.indexTime))
	out.say("%d stores play the processes of a service. They share a remote tier and nothing else.", len(s.replicas))
	health(ctx, s.replicas[0], out)
}
