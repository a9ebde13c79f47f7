package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/fatih/color"
	"github.com/spf13/cobra"
	"github.com/valkey-io/valkey-go"
)

// statistics are what tierctl stats prints.
type statistics struct {
	Log        logStats         `json:"log"`
	Servers    []serverStats    `json:"servers"`
	Namespaces []namespaceStats `json:"namespaces"`
	Sample     sampleStats      `json:"sample"`
}

type logStats struct {
	Present     bool         `json:"present"`
	Incarnation string       `json:"incarnation,omitempty"`
	Tick        int64        `json:"tick"`
	TickTime    time.Time    `json:"tickTime"`
	Age         milliseconds `json:"ageMs"` // since the latest change, by the server's clock
	Floor       int64        `json:"floor"`
	FloorTime   *time.Time   `json:"floorTime,omitempty"`
	Scopes      int64        `json:"scopes"`
	Format      int          `json:"format"`
	Declared    []string     `json:"writtenByKey,omitempty"` // namespaces with Set or Delete
	DeclaredAll bool         `json:"allWrittenByKey,omitempty"`
	Histories   int          `json:"histories"` // of servers that have written
	// OpenMode is tracking or untracked: that of the stores that are open, or were within 75 s.
	OpenMode string       `json:"openMode,omitempty"`
	LongestT milliseconds `json:"longestLifeMs,omitempty"` // their longest WithMaxTTL
}

type serverStats struct {
	Addr      string `json:"addr"`
	Version   string `json:"version,omitempty"`
	Role      string `json:"role,omitempty"`
	Keys      int64  `json:"keys"`
	Used      int64  `json:"usedMemory"`
	Max       int64  `json:"maxMemory"`
	Policy    string `json:"policy,omitempty"`
	Evicted   int64  `json:"evictedKeys"`
	Tracked   int64  `json:"trackedKeys"`
	Error     string `json:"error,omitempty"`
	reachable bool
}

// namespaceStats are estimates from a sample, or exact if the sample is everything.
type namespaceStats struct {
	Namespace string `json:"namespace"`
	Entries   int64  `json:"entries"`
	Bytes     int64  `json:"bytes"`
	Average   int64  `json:"bytesPerEntry"`
	Leases    int64  `json:"leases"`
	sampled   int64
}

type sampleStats struct {
	Scanned  int64   `json:"scannedKeys"`
	Share    float64 `json:"share"` // of all keys; 1: the figures are exact
	Others   int64   `json:"otherKeys"`
	Measured string  `json:"measured"` // MEMORY USAGE, or length: what it may not be asked for
}

func (c *command) statsCommand() *cobra.Command {
	var sample int64
	var all bool
	var depth, top int
	cmd := &cobra.Command{
		Use:   "stats",
		Short: "size and position of the change log, memory by namespace, leases",
		Long: `stats describes what the stores share. Memory and entries by namespace are estimated from the first keys of a SCAN,
which come in the order of their hashes; --all looks at every key.

What each process has done is not in the server: Store.Stats has it.`,
		Args: arguments(0, 0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if sample < 1 || depth < 0 || top < 0 {
				return usagef("--sample must be at least 1, --depth and --top at least 0")
			}
			if all {
				sample = 1 << 62
			}
			s, err := c.connect(cmd.Context())
			if err != nil {
				return err
			}
			defer s.Close()
			st, err := s.stats(cmd.Context(), sample, depth)
			if err != nil {
				return err
			}
			if c.json {
				return c.printJSON(st)
			}
			return c.printStats(st, top)
		},
	}
	f := cmd.Flags()
	f.Int64Var(&sample, "sample", 10_000, "look at about so many keys, over all servers")
	f.BoolVar(&all, "all", false, "look at every key")
	f.IntVar(&depth, "depth", 0, "sum namespaces up to so many segments; 0: all segments")
	f.IntVar(&top, "top", 20, "print so many namespaces, the largest; 0: all")
	return cmd
}

func (s *server) stats(ctx context.Context, sample int64, depth int) (*statistics, error) {
	log, err := s.readLog(ctx)
	if err != nil {
		return nil, err
	}
	st := &statistics{Log: logStatsOf(log)}
	var primaries []*node
	var keys int64
	for _, n := range s.nodes(ctx) {
		one := n.stats(s.option.SelectDB)
		st.Servers = append(st.Servers, one)
		if one.reachable && n.primary() {
			primaries = append(primaries, n)
			keys += one.Keys
		}
	}
	if len(primaries) == 0 {
		return nil, fmt.Errorf("no primary answers: %s", st.Servers[0].Error)
	}
	sampler := &sampler{s: s, depth: depth, byName: make(map[string]*namespaceStats)}
	finished := true
	for _, n := range primaries {
		all, err := sampler.scan(ctx, n, (sample+int64(len(primaries))-1)/int64(len(primaries)))
		if err != nil {
			return nil, err
		}
		finished = finished && all
	}
	st.Namespaces, st.Sample = sampler.estimate(keys, finished)
	return st, nil
}

func logStatsOf(l *changeLog) logStats {
	st := logStats{Present: l.Incarnation != 0, Tick: l.Tick, Floor: l.Floor, Scopes: l.Scopes, Format: l.Newest,
		Declared: l.Declared, DeclaredAll: l.DeclaredAll, Histories: l.Histories, TickTime: timeOf(l.Tick)}
	if !st.Present {
		return st
	}
	st.Incarnation = fmt.Sprintf("%016x", l.Incarnation)
	st.Age = milliseconds(max(l.Now.Sub(st.TickTime), 0))
	if l.Floor > 0 {
		at := timeOf(l.Floor)
		st.FloorTime = &at
	}
	for _, m := range l.open() {
		st.OpenMode = "tracking"
		if m.untracked {
			st.OpenMode = "untracked"
		}
		st.LongestT = max(st.LongestT, milliseconds(m.life))
	}
	return st
}

func (n *node) number(field string) int64 {
	v, _ := strconv.ParseInt(n.info[field], 10, 64) // absent is 0
	return v
}

// versionOf is kind and version of a server.
func versionOf(info map[string]string) string {
	if v := info["valkey_version"]; v != "" {
		return "valkey " + v
	}
	if v := info["redis_version"]; v != "" {
		return "redis " + v
	}
	return ""
}

func (n *node) stats(db int) serverStats {
	st := serverStats{Addr: n.addr, Version: versionOf(n.info), Role: n.info["role"], Used: n.number("used_memory"), Max: n.number("maxmemory"),
		Policy: n.info["maxmemory_policy"], Evicted: n.number("evicted_keys"), Tracked: n.number("tracking_total_keys"), reachable: !unreachable(n.infoErr)}
	st.Keys, _ = n.keys(db)
	if n.infoErr != nil {
		st.Error = n.infoErr.Error()
	}
	return st
}

// sampler counts keys by namespace.
type sampler struct {
	s       *server
	depth   int
	byName  map[string]*namespaceStats
	scanned int64
	others  int64
	byLen   bool // MEMORY USAGE is not permitted
}

// scan looks at about most keys of a node, and reports whether those were all.
func (p *sampler) scan(ctx context.Context, n *node, most int64) (all bool, err error) {
	var cursor uint64
	for seen := int64(0); seen < most; {
		page, err := p.page(ctx, n, cursor)
		if err != nil {
			return false, fmt.Errorf("scanning %s: %w", n.addr, err)
		}
		seen += int64(len(page.Elements))
		p.scanned += int64(len(page.Elements))
		if err := p.count(ctx, n, page.Elements); err != nil {
			return false, err
		}
		if cursor = page.Cursor; cursor == 0 {
			return true, nil
		}
	}
	return false, nil
}

func (p *sampler) page(ctx context.Context, n *node, cursor uint64) (valkey.ScanEntry, error) {
	ctx, cancel := p.s.ask(ctx)
	defer cancel()
	return n.client.Do(ctx, n.client.B().Scan().Cursor(cursor).Count(1000).Build()).AsScanEntry()
}

func (p *sampler) count(ctx context.Context, n *node, names []string) error {
	var entries []string
	var of []*namespaceStats
	for _, name := range names {
		namespace, lease, ok := parseName(p.s.prefix, name)
		if !ok {
			p.others++
			continue
		}
		st := p.of(namespace)
		if lease {
			st.Leases++
			continue
		}
		st.sampled++
		entries, of = append(entries, name), append(of, st)
	}
	sizes, err := p.sizes(ctx, n, entries)
	for i, size := range sizes {
		of[i].Bytes += size
	}
	return err
}

func (p *sampler) of(namespace string) *namespaceStats {
	if p.depth > 0 {
		segments := strings.SplitN(namespace, ":", p.depth+1)
		namespace = strings.Join(segments[:min(len(segments), p.depth)], ":")
	}
	if p.byName[namespace] == nil {
		p.byName[namespace] = &namespaceStats{Namespace: namespace}
	}
	return p.byName[namespace]
}

// overheadGuess is what an entry takes beside its bytes: docs/operations.md, "Sizing".
const overheadGuess = 200

// sizes asks for the memory of entries; where the user has no right to that, for their lengths.
func (p *sampler) sizes(ctx context.Context, n *node, names []string) ([]int64, error) {
	if len(names) == 0 {
		return nil, nil
	}
	ctx, cancel := p.s.ask(ctx)
	defer cancel()
	out := make([]int64, len(names))
	cmds := make([]valkey.Completed, len(names))
	for i, name := range names {
		if p.byLen {
			cmds[i] = n.client.B().Eval().Script("return #(redis.call('GET',KEYS[1]) or '')").Numkeys(1).Key(name).Build()
		} else {
			cmds[i] = n.client.B().MemoryUsage().Key(name).Build()
		}
	}
	for i, r := range n.client.DoMulti(ctx, cmds...) {
		size, err := r.AsInt64()
		switch {
		case valkey.IsValkeyNil(err) || isWrongType(err): // gone meanwhile, or no entry
		case denied(err) && !p.byLen:
			p.byLen = true
			return p.sizes(ctx, n, names)
		case err != nil:
			return nil, fmt.Errorf("memory of entries: %w", err)
		case p.byLen:
			out[i] = size + int64(len(names[i])) + overheadGuess
		default:
			out[i] = size
		}
	}
	return out, nil
}

// estimate scales the sample to all keys.
func (p *sampler) estimate(keys int64, finished bool) (all []namespaceStats, sample sampleStats) {
	sample = sampleStats{Scanned: p.scanned, Share: 1, Measured: "MEMORY USAGE"}
	if p.byLen {
		sample.Measured = "length"
	}
	if !finished && keys > p.scanned && p.scanned > 0 {
		sample.Share = float64(p.scanned) / float64(keys)
	}
	scale := func(n int64) int64 { return int64(float64(n)/sample.Share + 0.5) }
	sample.Others = scale(p.others)
	for _, st := range p.byName {
		if st.sampled > 0 {
			st.Average = st.Bytes / st.sampled
		}
		st.Entries, st.Bytes, st.Leases = scale(st.sampled), scale(st.Bytes), scale(st.Leases)
		all = append(all, *st)
	}
	slices.SortFunc(all, func(a, b namespaceStats) int {
		return cmp.Or(cmp.Compare(b.Bytes, a.Bytes), strings.Compare(a.Namespace, b.Namespace))
	})
	return all, sample
}

func (c *command) printStats(st *statistics, top int) error {
	bold := c.paint(color.Bold)
	t := tabwriter.NewWriter(c.out, 0, 0, 2, ' ', 0)
	if l := st.Log; l.Present {
		fmt.Fprintf(t, "change log\t%s\n", bold(plural(int(l.Scopes), "scope")))
		fmt.Fprintf(t, "position\t%s@%d, %s, %v ago\n", l.Incarnation, l.Tick, l.TickTime.Format(timeFormat), round(time.Duration(l.Age)))
		if l.FloorTime != nil {
			fmt.Fprintf(t, "floor\t%s: entries from before are not believed\n", l.FloorTime.Format(timeFormat))
		}
		switch l.OpenMode {
		case "":
			fmt.Fprintf(t, "stores\tnone is open, nor was within a minute\n")
		case "untracked":
			fmt.Fprintf(t, "stores\topen, WithoutTracking; entries live for up to %v\n", time.Duration(l.LongestT))
		default:
			fmt.Fprintf(t, "stores\topen, with client tracking; entries live for up to %v\n", time.Duration(l.LongestT))
		}
		if l.DeclaredAll {
			fmt.Fprintf(t, "set by key\tall namespaces\n")
		} else if len(l.Declared) > 0 {
			fmt.Fprintf(t, "set by key\t%s\n", firstOf(l.Declared, 5))
		}
	} else {
		fmt.Fprintf(t, "change log\tnone: no store of this prefix has used this server, or its log was lost\n")
	}
	if err := t.Flush(); err != nil {
		return err
	}
	t = tabwriter.NewWriter(c.out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "\nserver\tversion\trole\tkeys\tmemory\tmaxmemory\tpolicy\tevicted\ttracked keys\n")
	for _, s := range st.Servers {
		if s.Error != "" {
			fmt.Fprintf(t, "%s\t%s\n", s.Addr, c.connection.redact(s.Error))
			continue
		}
		limit := "none"
		if s.Max > 0 {
			limit = bytesOf(s.Max)
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%d\t%s\t%s\t%s\t%d\t%d\n", s.Addr, s.Version, s.Role, s.Keys, bytesOf(s.Used), limit, s.Policy, s.Evicted, s.Tracked)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(c.out)
	t = tabwriter.NewWriter(c.out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "namespace\tentries\tmemory\tan entry\tleases\n")
	shown := st.Namespaces
	if top > 0 && len(shown) > top {
		shown = shown[:top]
	}
	for _, n := range shown {
		fmt.Fprintf(t, "%s\t%d\t%s\t%s\t%d\n", printable(n.Namespace), n.Entries, bytesOf(n.Bytes), bytesOf(n.Average), n.Leases)
	}
	if more := len(st.Namespaces) - len(shown); more > 0 {
		fmt.Fprintf(t, "and %d more\n", more)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	return c.printSample(st.Sample)
}

func (c *command) printSample(s sampleStats) error {
	basis := "every key was looked at"
	if s.Share < 1 {
		basis = fmt.Sprintf("estimated from %d keys, %.1f %% of all", s.Scanned, 100*s.Share)
	}
	if s.Measured == "length" {
		basis += "; memory from lengths, since this user may not ask for MEMORY USAGE"
	}
	others := plural(int(s.Others), "key") + " are no entries"
	if s.Others == 1 {
		others = "1 key is no entry"
	}
	_, err := fmt.Fprintf(c.out, "(%s; %s of this prefix)\n", basis, others)
	return err
}

func firstOf(names []string, most int) string {
	quoted := make([]string, 0, most)
	for _, n := range names[:min(len(names), most)] {
		quoted = append(quoted, printable(n))
	}
	text := strings.Join(quoted, ", ")
	if more := len(names) - most; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}

func bytesOf(n int64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB"}
	v, i := float64(n), 0
	for v >= 1024 && i < len(units)-1 {
		v, i = v/1024, i+1
	}
	if i == 0 {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("%.1f %s", v, units[i])
}
