package tierotel

import (
	"maps"
	"reflect"
	"slices"

	"github.com/tiercache/tiercache/tier"
)

// figure is one of the counters of a namespace, as one point of a metric.
type figure struct {
	metric     string
	attributes [][2]string
	of         func(*tier.Counts) int64
}

// causes are those of misses, as the values of an attribute.
var causes = map[tier.Cause]string{
	tier.Cold: "cold", tier.Expired: "expired", tier.Invalidated: "invalidated", tier.Unproven: "unproven",
	tier.Damaged: "damaged", tier.OtherType: "other_type", tier.OtherFormat: "other_format",
}

// figures are all of them.
var figures = func() []figure {
	answer := func(by, result string, of func(*counts) int64) figure {
		return figure{requests, [][2]string{{attrTier, by}, {attrResult, result}}, of}
	}
	all := []figure{
		answer("local", "hit", func(c *counts) int64 { return c.LocalHits }),
		answer("remote", "hit", func(c *counts) int64 { return c.RemoteHits }),
		answer("call", "shared", func(c *counts) int64 { return c.Shared }),
		answer("call", "cancelled", func(c *counts) int64 { return c.Cancelled }),
		answer("loader", "load", func(c *counts) int64 { return c.Loads - c.Refreshes }),
		answer("none", "refused", func(c *counts) int64 { return c.Refused }),
		answer("none", "absent", func(c *counts) int64 { return c.Absent }),
		{stale, [][2]string{{attrReason, "ttl"}}, func(c *counts) int64 { return c.Stale }},
		{stale, [][2]string{{attrReason, "outage"}}, func(c *counts) int64 { return c.OutageHits }},
		{loads, [][2]string{{attrKind, "foreground"}}, func(c *counts) int64 { return c.Loads - c.Refreshes }},
		{loads, [][2]string{{attrKind, "early_refresh"}}, func(c *counts) int64 { return c.EarlyRefreshes }},
		{loads, [][2]string{{attrKind, "stale_refresh"}}, func(c *counts) int64 { return c.Refreshes - c.EarlyRefreshes }},
		{loadFailures, [][2]string{{attrReason, "error"}}, func(c *counts) int64 { return c.LoadErrors }},
		{loadFailures, [][2]string{{attrReason, "not_found"}}, func(c *counts) int64 { return c.NotFound }},
		{loadFailures, [][2]string{{attrReason, "given_up"}}, func(c *counts) int64 { return c.GivenUp }},
		{loadUnleased, nil, func(c *counts) int64 { return c.Unleased }},
		{fills, [][2]string{{attrResult, "stored"}}, func(c *counts) int64 { return c.Fills }},
		{fills, [][2]string{{attrResult, "fenced"}}, func(c *counts) int64 { return c.Fenced }},
		{fills, [][2]string{{attrResult, "overtaken"}}, func(c *counts) int64 { return c.Overtaken }},
		{fills, [][2]string{{attrResult, "full"}}, func(c *counts) int64 { return c.Full }},
		{fills, [][2]string{{attrResult, "error"}}, func(c *counts) int64 { return c.FillErrors - c.Full }},
		{fills, [][2]string{{attrResult, "not_encodable"}}, func(c *counts) int64 { return c.EncodeErrors }},
		{remoteErrors, nil, func(c *counts) int64 { return c.RemoteErrors }},
	}
	for cause, name := range causes {
		all = append(all,
			figure{misses, [][2]string{{attrTier, "local"}, {attrCause, name}}, func(c *counts) int64 { return c.LocalMisses[cause] }},
			figure{misses, [][2]string{{attrTier, "remote"}, {attrCause, name}}, func(c *counts) int64 { return c.RemoteMisses[cause] }})
	}
	return all
}()

type counts = tier.Counts

// raw returns the counters of c, none of which falls, in one order.
func raw(c *counts) []int64 {
	out := make([]int64, 0, 64)
	v := reflect.ValueOf(c).Elem()
	for i := range v.NumField() {
		if f := v.Field(i); f.Kind() == reflect.Int64 {
			out = append(out, f.Int())
		}
	}
	for _, misses := range []map[tier.Cause]int64{c.LocalMisses, c.RemoteMisses} {
		for _, cause := range inOrder {
			out = append(out, misses[cause])
		}
	}
	return out
}

// cooked is the inverse of raw.
func cooked(from []int64) *counts {
	c := &counts{LocalMisses: make(map[tier.Cause]int64), RemoteMisses: make(map[tier.Cause]int64)}
	for i, v := 0, reflect.ValueOf(c).Elem(); i < v.NumField(); i++ {
		if f := v.Field(i); f.Kind() == reflect.Int64 {
			f.SetInt(from[0])
			from = from[1:]
		}
	}
	for _, misses := range []map[tier.Cause]int64{c.LocalMisses, c.RemoteMisses} {
		for _, cause := range inOrder {
			misses[cause] = from[0]
			from = from[1:]
		}
	}
	return c
}

// inOrder are the causes.
var inOrder = slices.Sorted(maps.Keys(causes))

// sums are the figures by the attribute of their namespaces. They never fall, though namespaces come and go: what a
// namespace counted that is not listed any more goes on to count.
type sums struct {
	names  *names
	latest map[string][]int64 // raw, by namespace
	total  map[string][]int64 // raw, by attribute
	told   map[string][]int64 // figures, by attribute
}

func newSums(n *names) *sums {
	return &sums{names: n, latest: make(map[string][]int64), total: make(map[string][]int64), told: make(map[string][]int64)}
}

// add takes in the present counts.
func (s *sums) add(st *tier.Stats) {
	for path, c := range st.Namespaces {
		s.addOne(path, raw(&c))
	}
	for path := range s.latest {
		if _, there := st.Namespaces[path]; !there {
			delete(s.latest, path)
		}
	}
	// What the store has counted of namespaces that it does not list.
	for i, n := range raw(&st.Counts) {
		for _, sum := range s.total {
			n -= sum[i]
		}
		if n > 0 {
			s.of(other)[i] += n
		}
	}
	for name, sum := range s.total {
		if s.told[name] == nil {
			s.told[name] = make([]int64, len(figures))
		}
		c := cooked(sum)
		for i, told := range s.told[name] {
			// Those that are differences may fall for a moment, since counters are read one after the other.
			s.told[name][i] = max(told, figures[i].of(c))
		}
	}
}

func (s *sums) addOne(path string, now []int64) {
	to, was := s.of(s.names.name(path)), s.latest[path]
	s.latest[path] = now
	since := slices.Clone(now)
	for i := range was {
		since[i] -= was[i]
	}
	if slices.Min(since) < 0 { // it was released meanwhile, and counts anew
		since = now
	}
	for i := range since {
		to[i] += since[i]
	}
}

func (s *sums) of(name string) []int64 {
	if s.total[name] == nil {
		s.total[name] = make([]int64, len(raw(&counts{})))
	}
	return s.total[name]
}
