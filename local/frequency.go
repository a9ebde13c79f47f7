package local

// frequency estimates how often keys were used recently: a count-min sketch of four-bit counters in four rows, all
// halved after ten uses for each entry of the cache (TinyLFU's reset). Apart from the halving, the estimate is never too
// low; with as many counters as below, it is seldom too high.
type frequency struct {
	counters []uint64 // of 16 each; a power of two
	uses     int      // that raised a counter, since the last halving
}

const (
	countersPerEntry = 16
	usesPerEntry     = 10
	leastWords       = 64 // for 64 entries: a smaller cache, too, has to count the keys that it does not hold
)

// fit makes the sketch large enough for so many entries.
func (f *frequency) fit(entries int) {
	if len(f.counters) == 0 {
		f.counters = make([]uint64, leastWords)
	}
	for entries*countersPerEntry/16 > len(f.counters) {
		// A key's word is chosen by leading bits of its hash, so each word becomes two neighbours with the same counts.
		wider := make([]uint64, 2*len(f.counters))
		for i, w := range f.counters {
			wider[2*i], wider[2*i+1] = w, w
		}
		f.counters = wider
	}
}

// rows locates a key's counters: a word for each row, and the shift of one of its 16 counters.
//
// The rows use independent bits of the hash.
func (f *frequency) rows(k Key) (word, shift [4]uint64) {
	n := uint64(len(f.counters))
	for row, bits := range [4]uint64{k.Lo, k.Lo * 0x9e3779b97f4a7c15, k.Hi * 0xbf58476d1ce4e5b9, (k.Hi ^ k.Lo) * 0x94d049bb133111eb} {
		word[row] = (bits >> 32) * n >> 32
		shift[row] = (uint64(row)<<2 | bits&3) << 2 // four counters of each word for a row
	}
	return word, shift
}

// count records a use of k in a cache of so many entries. Only the lowest of a key's counters are raised: the others
// are shared with other keys already.
func (f *frequency) count(k Key, entries int) {
	f.fit(entries)
	word, shift := f.rows(k)
	least := f.least(word, shift)
	if least == 15 {
		return
	}
	for row, w := range word {
		if f.counters[w]>>shift[row]&15 == least {
			f.counters[w] += 1 << shift[row]
		}
	}
	if f.uses++; f.uses >= usesPerEntry*max(entries, leastWords) {
		f.halve()
	}
}

func (f *frequency) halve() {
	for i, w := range f.counters {
		f.counters[i] = w >> 1 & 0x7777777777777777
	}
	f.uses /= 2
}

// estimate returns how often k was used, up to 15.
func (f *frequency) estimate(k Key) uint64 {
	if len(f.counters) == 0 {
		return 0
	}
	return f.least(f.rows(k))
}

func (f *frequency) least(word, shift [4]uint64) uint64 {
	least := uint64(15)
	for row, w := range word {
		least = min(least, f.counters[w]>>shift[row]&15)
	}
	return least
}
