package wire

import "unsafe"

// Room is memory for an answer, in place of some of its own: whoever uses it again has
// done with the answer before.
type Room struct {
	text    []byte
	replies []Reply
}

// roomMost bounds the messages that are put into a room, which may be kept for long.
const roomMost = 256 << 10

// fits returns r, or nil if there is none or the message is too long for it.
func (r *Room) fits(b []byte) *Room {
	if len(b) > roomMost {
		return nil
	}
	return r
}

// copy returns a copy of b, in the room if there is one.
func (r *Room) copy(b []byte) string {
	if r == nil {
		return string(b)
	}
	r.text = append(r.text[:0], b...)
	return unsafe.String(unsafe.SliceData(r.text), len(r.text))
}

// array returns n empty replies, in the room if there is one.
func (r *Room) array(n int) []Reply {
	if r == nil || n > roomMost {
		return make([]Reply, n)
	}
	if cap(r.replies) < n {
		r.replies = make([]Reply, n)
	}
	clear(r.replies[:cap(r.replies)])
	r.replies = r.replies[:n]
	return r.replies
}
