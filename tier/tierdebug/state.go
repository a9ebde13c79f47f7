package tierdebug

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/tiercache/tiercache/internal/fleet"
	"github.com/tiercache/tiercache/tier"
	"github.com/tiercache/tiercache/tier/internal/inspect"
)

const (
	// mostNamespaces and mostHot are how many rows the page has.
	mostNamespaces = 100
	mostHot        = 12
	// mostShown is the longest name that is shown whole, in bytes, and mostSaid the longest sentence.
	mostShown = 200
	mostSaid  = 1000
	// mostExactly is the longest key that the page can ask to be explained, in bytes, where it is not shown as it is.
	mostExactly = 2000
)

// state is what the page shows, but for the changes.
type state struct {
	Time    time.Time `json:"time"`
	Healthy bool      `json:"healthy"`
	// Health says in plain words what works, the most important first.
	Health []sentence `json:"health"`
	// StalenessMs is the age that what this process knows of changes can have now; while it exceeds MaxStalenessMs no local copies are
	// served.
	StalenessMs    float64          `json:"stalenessMs"`
	MaxStalenessMs float64          `json:"maxStalenessMs"`
	ServesLocal    bool             `json:"servesLocal"`
	Position       string           `json:"position"`
	Local          localTier        `json:"local"`
	Remote         remoteTier       `json:"remote"`
	Point          *point           `json:"point"`
	History        []point          `json:"history,omitempty"`
	Namespaces     []namespaceState `json:"namespaces"`
	// NamespacesInAll is how many there are, if not all are in Namespaces.
	NamespacesInAll int     `json:"namespacesInAll"`
	SizesPartial    bool    `json:"sizesPartial"`
	Times           []times `json:"times"`
	Hottest         []hot   `json:"hottest"`
	OneIn           float64 `json:"oneIn"` // of so many reads one was looked at
	// Fleet are the processes that report.
	Fleet  []process `json:"fleet"`
	Totals []counter `json:"totals"`

	seen int64 // changes that there were when it was made
}

type localTier struct {
	Entries     int   `json:"entries"`
	Bytes       int64 `json:"bytes"`
	MaxBytes    int64 `json:"maxBytes"` // 0: none
	MaxEntries  int   `json:"maxEntries"`
	Evictions   int64 `json:"evictions"` // the bound was reached
	Expired     int64 `json:"expired"`
	Invalidated int64 `json:"invalidated"`
}

type remoteTier struct {
	Address  string `json:"address"`
	Server   string `json:"server"`
	Mode     string `json:"mode"`
	Policy   string `json:"policy"`
	Bytes    int64  `json:"bytes"`
	MaxBytes int64  `json:"maxBytes"` // 0: none
}

type namespaceState struct {
	Name string `json:"name"`
	rates
	Entries int64 `json:"entries"`
	Bytes   int64 `json:"bytes"`
}

// times are how long work of one kind took lately.
type times struct {
	What      string  `json:"what"`
	PerSecond float64 `json:"perSecond"`
	P50Ms     float64 `json:"p50Ms"`
	P99Ms     float64 `json:"p99Ms"`
	MaxMs     float64 `json:"maxMs"`
}

type hot struct {
	Namespace string  `json:"namespace"`
	Key       string  `json:"key"`
	PerSecond float64 `json:"perSecond"`
	// Exactly is the namespace and the key for Explain, where they are not shown as they are, and can be written in JSON.
	Exactly []string `json:"exactly,omitempty"`
}

// counter is a sum since the store was opened.
type counter struct {
	What string `json:"what"`
	N    int64  `json:"n"`
	Note string `json:"note"`
}

var kinds = [...]string{
	inspect.KindRemoteHit:  "read that the remote tier answered",
	inspect.KindLoadedRead: "read that waited for a loader",
	inspect.KindLoad:       "run of a loader",
	inspect.KindFill:       "storing what was loaded",
	inspect.KindWrite:      "Set, Delete",
	inspect.KindInvalidate: "invalidation",
}

func stateOf(c *collector, ctx context.Context, now time.Time, stats *tier.Stats) *state {
	h := c.store.Health(ctx)
	seen := c.inside.Watch.Now(mostHot)
	s := &state{
		Time: now, Healthy: h.Healthy, Health: inWords(&h, stats, c.inside.MaxStaleness, now),
		StalenessMs: ms(h.Staleness), MaxStalenessMs: ms(c.inside.MaxStaleness), ServesLocal: h.ServesLocal, Position: c.store.AsOf().String(),
		Local: localTier{stats.LocalEntries, stats.LocalBytes, c.inside.LocalBytes, c.inside.LocalEntries, stats.LocalEvictions, stats.LocalExpired, stats.LocalInvalidated},
		Remote: remoteTier{show(h.Remote), show(h.Server), show(h.Mode), show(h.Policy),
			h.UsedMemory, h.MaxMemory},
		History: slices.Clone(c.points), OneIn: seen.OneIn,
		Namespaces: []namespaceState{}, NamespacesInAll: len(stats.Namespaces), SizesPartial: c.sizes.Partial,
		Times: []times{}, Hottest: []hot{}, Totals: totalsOf(stats),
	}
	if n := len(c.points); n > 0 {
		s.Point = &c.points[n-1]
	}
	s.Namespaces = c.namespaces(stats)
	s.Fleet = append([]process{}, c.fleet...)
	for kind, t := range seen.Times {
		if t.Count > 0 {
			s.Times = append(s.Times, times{kinds[kind], float64(t.Count) / seen.Span.Seconds(), ms(t.P50), ms(t.P99), ms(t.Max)})
		}
	}
	for _, k := range seen.Hottest {
		one := hot{Namespace: show(k.Namespace), Key: show(k.Name), PerSecond: k.PerSecond}
		if (one.Namespace != k.Namespace || one.Key != k.Name) && utf8.ValidString(k.Namespace) && utf8.ValidString(k.Name) && len(k.Name) <= mostExactly {
			one.Exactly = []string{k.Namespace, k.Name}
		}
		s.Hottest = append(s.Hottest, one)
	}
	return s
}

// namespaces returns those that are read most lately, and then those that are largest.
func (c *collector) namespaces(stats *tier.Stats) []namespaceState {
	var latest map[string]rates
	if n := len(c.points); n > 0 {
		latest = c.points[n-1].Of
	}
	all := make([]namespaceState, 0, len(stats.Namespaces))
	for path := range stats.Namespaces {
		size := c.sizes.Of[path]
		all = append(all, namespaceState{Name: show(path), rates: latest[show(path)], Entries: size.Entries, Bytes: size.Bytes})
	}
	slices.SortFunc(all, func(a, b namespaceState) int {
		return cmp.Or(cmp.Compare(b.Reads, a.Reads), cmp.Compare(b.Bytes, a.Bytes), strings.Compare(a.Name, b.Name))
	})
	return all[:min(mostNamespaces, len(all))]
}

func totalsOf(s *tier.Stats) []counter {
	return []counter{
		{"reads", s.Reads(), ""},
		{"answered by the local tier", s.LocalHits, ""},
		{"answered by the remote tier", s.RemoteHits, ""},
		{"shared with another caller", s.Shared, "left to the call of another caller of the same key"},
		{"runs of a loader", s.Loads, ""},
		{"of those in the background", s.Refreshes, ""},
		{"of those failed", s.LoadErrors, ""},
		{"stale values served", s.Stale, "past their TTL; nothing they depend on had changed"},
		{"loaded and not kept: changed meanwhile", s.Overtaken + s.Fenced, "a source, the namespace or the key changed while the loader ran"},
		{"loads without the fleet's lease", s.Unleased, "another process may have loaded the same key"},
		{"requests to the remote tier that failed", s.RemoteErrors, ""},
		{"invalidations of this process", s.Changes, ""},
		{"evictions from the local tier", s.LocalEvictions, ""},
		{"panics in the library", s.Panics, "should be 0: please report what is logged"},
	}
}

// holding is what a tier has for a key.
type holding struct {
	Tier      string     `json:"tier"`
	Present   bool       `json:"present"`
	Valid     bool       `json:"valid"`
	Why       string     `json:"why,omitempty"`
	Changed   string     `json:"changed,omitempty"`
	ChangedAt *time.Time `json:"changedAt,omitempty"`
	Negative  bool       `json:"negative,omitempty"`
	AsOf      string     `json:"asOf,omitempty"`
	Age       string     `json:"age,omitempty"`
	TTL       string     `json:"ttl,omitempty"`
	Sources   []string   `json:"sources,omitempty"`
}

type explanation struct {
	Namespace string    `json:"namespace"`
	Key       string    `json:"key"`
	RemoteKey string    `json:"remoteKey"`
	Tiers     []holding `json:"tiers"`
	Error     string    `json:"error,omitempty"` // the remote tier did not answer
}

// mostSources is how many sources of an entry are shown.
const mostSources = 100

func explanationOf(e tier.Explanation, err error) explanation {
	out := explanation{Namespace: show(e.Namespace), Key: show(e.Key), RemoteKey: show(e.RemoteKey)}
	if err != nil {
		out.Error = showUpTo(mostSaid, err.Error())
	}
	for name, h := range map[string]tier.Holding{"local": e.Local, "remote": e.Remote} {
		one := holding{Tier: name, Present: h.Present, Valid: h.Valid, Why: showUpTo(mostSaid, h.Why), Changed: show(h.Changed), Negative: h.Negative}
		if h.Present {
			one.AsOf, one.Age, one.TTL = h.AsOf.String(), brief(h.Age), brief(h.TTL)
		}
		if !h.ChangedAt.IsZero() {
			at := time.UnixMicro(int64(h.ChangedAt.Tick)).UTC()
			one.ChangedAt = &at
		}
		for i, source := range h.Sources {
			if i == mostSources {
				one.Sources = append(one.Sources, fmt.Sprintf("and %d more", len(h.Sources)-i))
				break
			}
			one.Sources = append(one.Sources, show(source))
		}
		out.Tiers = append(out.Tiers, one)
	}
	slices.SortFunc(out.Tiers, func(a, b holding) int { return strings.Compare(a.Tier, b.Tier) })
	return out
}

// process is one of the fleet.
type process struct {
	Name   string  `json:"name"` // host and process id
	Up     string  `json:"up"`
	Mode   string  `json:"mode"`
	Says   string  `json:"says"` // what does not work for it; empty: all does
	LagMs  int64   `json:"lagMs"`
	Lag    string  `json:"lag"`
	Reads  float64 `json:"reads"`
	Local  float64 `json:"local"`
	Remote float64 `json:"remote"`
	Loads  float64 `json:"loads"`
	Bytes  int64   `json:"bytes"`
}

func processesOf(reports []fleet.Report, now time.Time) []process {
	all := make([]process, len(reports))
	for i, r := range reports {
		all[i] = process{Name: show(fmt.Sprintf("%s/%d", r.Host, r.PID)), Up: brief(max(0, now.Sub(r.Opened))), Mode: show(r.Mode), Says: r.Trouble(),
			LagMs: r.LagMs, Lag: r.Lag(), Reads: r.Reads, Local: r.Local, Remote: r.Remote, Loads: r.Loads, Bytes: r.Bytes}
	}
	return all
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// brief is a duration with about three digits.
func brief(d time.Duration) string {
	switch a := d.Abs(); {
	case a >= time.Minute:
		return d.Round(time.Second).String()
	case a >= time.Second:
		return d.Round(10 * time.Millisecond).String()
	case a >= time.Millisecond:
		return d.Round(10 * time.Microsecond).String()
	}
	return d.Round(100 * time.Nanosecond).String()
}

// show makes a name fit to be shown. Names are chosen by anyone: what is not printable (which could hide or reorder what stands beside
// it) makes the whole be quoted as in Go, and what is too long is cut.
func show(name string) string { return showUpTo(mostShown, name) }

func showUpTo(most int, name string) string {
	cut := ""
	if len(name) > most {
		at := most
		for at > 0 && !utf8.RuneStart(name[at]) {
			at--
		}
		name, cut = name[:at], fmt.Sprintf("… (%d bytes)", len(name))
	}
	for _, r := range name {
		if !strconv.IsPrint(r) || r == utf8.RuneError {
			return strconv.Quote(name) + cut
		}
	}
	return name + cut
}
