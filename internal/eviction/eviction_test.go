package eviction

import (
	"slices"
	"testing"
)

func TestPoliciesHaveNames(t *testing.T) {
	var names []string
	for p := range Policy(Policies + 1) {
		names = append(names, p.String())
	}
	if want := []string{"LRU", "2Q", "TinyLFU", "adaptive", "policy(4)"}; !slices.Equal(names, want) {
		t.Error(names)
	}
}
