package wire

// debt is what somebody is owed answers for.
type debt struct {
	r *request // nil: the client
	n int      // answers
	// pushes: of a subscription, which only a refusal answers
	pushes bool
}

// debts are in the order in which they were asked for: a ring.
type debts struct {
	ring     []debt // its length is a power of 2
	first, n int
}

func (d *debts) push(x debt) {
	if d.n == len(d.ring) {
		grown := make([]debt, max(64, 2*len(d.ring)))
		for i := range d.n {
			grown[i] = *d.at(i)
		}
		d.ring, d.first = grown, 0
	}
	*d.at(d.n) = x
	d.n++
}

// at is the i-th, the oldest first.
func (d *debts) at(i int) *debt { return &d.ring[(d.first+i)&(len(d.ring)-1)] }

// head is the oldest, or nil.
func (d *debts) head() *debt {
	if d.n == 0 {
		return nil
	}
	return &d.ring[d.first]
}

// pay takes one answer off the oldest, and reports whether that was its last.
func (d *debts) pay() (last bool) {
	h := d.head()
	if h.n--; h.n > 0 {
		return false
	}
	*h = debt{}
	d.first = (d.first + 1) & (len(d.ring) - 1)
	d.n--
	return true
}

// drop forgets the oldest, whatever it was owed.
func (d *debts) drop() {
	d.head().n = 1
	d.pay()
}
