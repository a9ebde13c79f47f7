package values

import (
	"bytes"
	"encoding/json"
	"sync"

	"github.com/zeebo/xxh3"

	"github.com/tiercache/tiercache/tier/internal/compare"
	"github.com/tiercache/tiercache/tier/internal/record"
)

// Comparison compares what a view gives out with what it was when it was first given out: see
// tiertest.FindModified.
type Comparison struct {
	report compare.Report
	encode func(it *record.Item) ([]byte, error)

	mu   sync.Mutex // guards seen
	seen map[*record.Item]uint64
}

// NewComparison returns nil unless a test compares values.
func NewComparison[V any](ty *Type) *Comparison {
	report := compare.Present()
	if report == nil {
		return nil
	}
	c := &Comparison{report: report, encode: ty.Encode, seen: make(map[*record.Item]uint64)}
	if c.encode == nil { // local only
		c.encode = func(it *record.Item) ([]byte, error) { return json.Marshal(record.ValueIn[V](it)) }
	}
	return c
}

// Look compares an item's value with what it was.
func (c *Comparison) Look(path string, it *record.Item) {
	if it.Negative {
		return
	}
	b, err := c.encode(it)
	if err != nil {
		return // it is not stored either
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	now := max(xxh3.Hash(b), 1)
	was, known := c.seen[it]
	switch {
	case !known:
		if again, err := c.encode(it); err != nil || !bytes.Equal(b, again) {
			now = 0 // the codec does not give the same bytes twice
		}
		c.seen[it] = now
	case was != 0 && was != now:
		c.seen[it] = now // one report of each modification
		c.report(path, it.Key)
	}
}
