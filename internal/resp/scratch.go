package resp

import "unsafe"

// Scratch is for a caller that asks for one answer after another, each when it has copied what it needs of the one before:
// they are decoded into the same memory. An answer refers to that by short texts (see [OwnText]) and its array.
type Scratch struct{ memory *Memory }

// Memory is what one answer at a time is decoded into.
type Memory struct {
	text  []byte
	array []Reply
}

// Memory returns what the next answer is to be decoded into; nil if s is nil.
func (s *Scratch) Memory() *Memory {
	if s == nil {
		return nil
	}
	if s.memory == nil {
		s.memory = new(Memory)
	}
	return s.memory
}

// Abandon has later answers decoded into other memory, since an answer that was not waited for may still be decoded:
//
//	A:                asks, and gives up
//	reader goroutine: decodes the answer to A
//	A:                asks again; the answer to that must not come into the same memory
func (s *Scratch) Abandon() {
	if s != nil {
		s.memory = nil
	}
}

// copyOf returns a copy of an answer, which the answer's short texts are parts of.
func (m *Memory) copyOf(b []byte) string {
	if m == nil {
		return string(b)
	}
	m.text = append(m.text[:0], b...)
	return unsafe.String(unsafe.SliceData(m.text), len(m.text))
}

// arrayOf returns room for n elements, each of which is to be set.
func (m *Memory) arrayOf(n int64) []Reply {
	if m == nil {
		return make([]Reply, n)
	}
	if int64(cap(m.array)) < n {
		m.array = make([]Reply, n)
	}
	return m.array[:n]
}
