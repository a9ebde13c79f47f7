package wire

// debt is what a request is owed answers for.
type debt struct {
	r *request
	n int // answers
}

// debts are in the order in which they were asked for.
type debts struct {
	queue []debt // of which paid have been paid
	paid  int
	n     int // that have not
}

func (d *debts) push(x debt) {
	d.queue = append(d.queue, x)
	d.n++
}

// head is the oldest, or nil.
func (d *debts) head() *debt {
	if d.n == 0 {
		return nil
	}
	return &d.queue[d.paid]
}

// pay takes one answer off the oldest, and reports whether that was its last.
func (d *debts) pay() (last bool) {
	if d.head().n--; d.head().n > 0 {
		return false
	}
	d.drop()
	return true
}

// drop forgets the oldest, whatever it is owed.
func (d *debts) drop() {
	d.queue[d.paid] = debt{} // and its request
	d.paid++
	switch d.n--; {
	case d.n == 0:
		d.queue, d.paid = d.queue[:0], 0
	case d.paid >= 64 && d.paid >= d.n: // there is always something owed
		d.queue, d.paid = append(d.queue[:0], d.queue[d.paid:]...), 0
	}
}
