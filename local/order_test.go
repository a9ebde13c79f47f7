package local

import (
	"slices"
	"testing"
)

func values(o *order[int]) (v []int) {
	for _, e := range o.all() {
		v = append(v, e.Value)
	}
	return v
}

func filledOrder(n int) (*order[int], []*Entry[int]) {
	o := newOrder[int]()
	var all []*Entry[int]
	for i := range n {
		all = append(all, e(0, i))
		o.add(all[i])
	}
	return o, all
}

// TestAUseOfAnEntryThatLeftMovesNoOther: its place may have gone to another entry, which was not used.
func TestAUseOfAnEntryThatLeftMovesNoOther(t *testing.T) {
	o, all := filledOrder(3)
	o.remove(all[1])
	o.use(all[1])
	o.add(e(0, 3)) // takes the place of 1
	o.use(all[0])
	o.use(all[1])
	if got := values(o); !slices.Equal(got, []int{2, 3, 0}) {
		t.Error(got)
	}
	o.replace(all[2], e(0, 4))
	o.add(e(0, 5))
	o.use(all[2])
	if got := values(o); !slices.Equal(got, []int{3, 0, 4, 5}) {
		t.Error(got)
	}
}

func TestPlacesAreGivenOutAgain(t *testing.T) {
	o, all := filledOrder(10)
	for i := range 1000 {
		o.remove(all[i])
		all = append(all, e(0, 10+i))
		o.add(all[len(all)-1])
	}
	if len(o.at) != 10 {
		t.Errorf("%d places for 10 entries", len(o.at))
	}
}

func TestCompactingKeepsTheOrder(t *testing.T) {
	o, all := filledOrder(1000)
	for i, e := range all[:900] {
		if i%3 != 0 {
			o.remove(e)
		}
	}
	late := all[999]
	before := values(o)
	if !o.compact() || len(o.at) != len(before) || len(o.free) != 0 {
		t.Errorf("%d places for %d entries", len(o.at), len(before))
	}
	if got := values(o); !slices.Equal(got, before) {
		t.Error(got)
	}
	o.use(all[1]) // left long ago; its place does not exist any more, or is another's
	o.use(all[899])
	if got := values(o); !slices.Equal(got, before) {
		t.Error(got)
	}
	o.use(late)
	if o.compact() {
		t.Error("compacted again")
	}
}
