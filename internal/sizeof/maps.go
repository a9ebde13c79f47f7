package sizeof

import (
	"math"
	"reflect"
)

// These numbers are those of Go's maps (Swiss tables, Go 1.24 and later): up to 8 entries are one group of 8 slots; more
// are tables of up to 1024 slots, each at most 7/8 full, which double and then split in two. With a future layout the
// estimate would be coarser but still an estimate: nothing here reads a map's memory.
const (
	groupSlots    = 8
	tableSlots    = 1024
	tableMost     = tableSlots / 8 * 7
	mapHeader     = 16 + 4*word
	tableHeader   = 16 + 2*word
	directorySlot = word
	maxInline     = 128 // larger keys and elements are stored by pointer
)

// mapSize returns the heap bytes of a map of type t with n entries, without the objects that keys and elements refer to.
func mapSize(t reflect.Type, n int) int64 {
	if n == 0 {
		return mapHeader
	}
	group, pointers := groupSize(t)
	if n <= groupSlots {
		return mapHeader + class(group, pointers)
	}
	tables, slots := 1.0, tableSlots
	if n <= tableMost {
		slots = 2 * groupSlots
		for slots/8*7 < n {
			slots *= 2
		}
	} else {
		tables = expectedTables(n)
	}
	table := tableHeader + class(slots/groupSlots*group, pointers)
	directory := class(int(math.Exp2(math.Ceil(math.Log2(tables))))*directorySlot, true)
	return mapHeader + directory + int64(tables*float64(table))
}

// expectedTables returns how many tables n entries are likely to need. Entries are spread evenly, so all tables split at
// about the same n; near that n, some have split and some have not. The number of entries in one of several tables is
// close to normally distributed, with a variance equal to its mean. n is more than a single table holds.
func expectedTables(n int) float64 {
	tables := 2.0
	for float64(n)/tables > 1.25*tableMost {
		tables *= 2
	}
	mean := float64(n) / tables
	split := math.Erfc((tableMost-mean)/math.Sqrt(2*mean)) / 2
	return tables * (1 + split)
}

// groupSize returns the size of 8 slots and their control word, and whether there are pointers in it.
func groupSize(t reflect.Type) (size int, pointers bool) {
	keySize, keyAlign := slotPart(t.Key())
	elemSize, elemAlign := slotPart(t.Elem())
	slot := roundUp(keySize, elemAlign) + max(elemSize, 1) // an empty last field is padded
	slot = roundUp(slot, max(keyAlign, elemAlign))
	pointers = hasPointers(t.Key()) || hasPointers(t.Elem()) || indirect(t.Key()) > 0 || indirect(t.Elem()) > 0
	return 8 + groupSlots*slot, pointers
}

func slotPart(t reflect.Type) (size, align int) {
	if indirect(t) > 0 {
		return word, word
	}
	return int(t.Size()), t.Align()
}

// indirect returns the heap bytes of a key or element of type t outside its slot.
func indirect(t reflect.Type) int64 {
	if t.Size() <= maxInline {
		return 0
	}
	return classOf(t, 1)
}

func roundUp(n, align int) int { return (n + align - 1) / align * align }
