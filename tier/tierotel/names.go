package tierotel

import (
	"strings"
	"sync"
)

// mostNames bounds the values of the attribute tiercache.namespace.
const mostNames = 200

// other is the value of those beyond the bound.
const other = "other"

func firstSegment(namespace string) string {
	first, _, _ := strings.Cut(namespace, ":")
	return first
}

// names gives the attribute of a namespace. The first 200 values that come stay for the life of the store, so that none of
// the sums that are reported ever falls.
type names struct {
	of func(string) string

	mu     sync.RWMutex // guards what follows
	values map[string]bool
}

func newNames(of func(string) string) *names { return &names{of: of, values: make(map[string]bool)} }

func (n *names) name(namespace string) string {
	if namespace == "" {
		return ""
	}
	v := n.of(namespace)
	n.mu.RLock()
	known, full := n.values[v], len(n.values) >= mostNames
	n.mu.RUnlock()
	switch {
	case known:
		return v
	case full:
		return other
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.values) >= mostNames && !n.values[v] {
		return other
	}
	n.values[v] = true
	return v
}
