package stripe

import "encoding/binary"

// Past is numbers of which most are 0 or small, in few bytes. The empty Past is all zeros.
type Past string

// Of returns the numbers, of which there are at least len(all).
func (p Past) Of(all []int64) {
	clear(all)
	for b := []byte(p); len(b) > 0; {
		i, read := binary.Uvarint(b)
		n, more := binary.Varint(b[read:])
		all[i], b = n, b[read+more:]
	}
}

// PastOf returns numbers as a Past.
func PastOf(all []int64) Past {
	var b []byte
	for i, n := range all {
		if n != 0 {
			b = binary.AppendVarint(binary.AppendUvarint(b, uint64(i)), n)
		}
	}
	return Past(b)
}
