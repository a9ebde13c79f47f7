package bench

import (
	"math/rand/v2"

	"github.com/tiercache/tiercache/internal/zipf"
)

// Workload makes requests from a seed: the same ones for the same seed, on any machine.
type Workload struct {
	Name string
	Make func(seed uint64, n int) []Request
}

// Workloads returns the built-in ones, from a cache's best case to its worst:
//
//   - zipf-S: 50,000 items, the i-th most popular drawn in proportion to 1/i^S. Caches of web objects see exponents
//     of 0.6 to 0.9, key-value caches up to 1.2 (Breslau et al., "Web caching and Zipf-like distributions", INFOCOM
//     1999; Yang et al., "A large scale analysis of hundreds of in-memory cache clusters at Twitter", OSDI 2020).
//   - scan: zipf-1.0, and every tenth of the time a run of ever new keys.
//   - loop-mix: 5,000 keys over and over, which starves an LRU of any smaller size, mixed with as many from zipf-1.0.
//   - shift: zipf-1.0 whose ranks move on by one item every 20 requests.
//   - web: sessions of a Zipf-distributed length that read a profile, pages of Zipf popularity and what is next to
//     them, then never come back.
func Workloads() []Workload {
	return []Workload{
		{"zipf-0.7", zipfWorkload(0.7)}, {"zipf-0.9", zipfWorkload(0.9)},
		{"zipf-1.0", zipfWorkload(1)}, {"zipf-1.2", zipfWorkload(1.2)},
		{"scan", scanWorkload}, {"loop-mix", loopWorkload}, {"shift", shiftWorkload}, {"web", webWorkload},
	}
}

const items = 50_000 // of each generated workload

// Ranges of key numbers that must not meet.
const (
	scanned  = 1 << 32
	looped   = 1 << 33
	profiles = 1 << 34
)

// source returns the random numbers of a workload.
func source(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 0x7469657263616368)) }

// numbers makes requests of what next returns.
func numbers(n int, next func(i int) int) []Request {
	requests := make([]Request, n)
	for i := range requests {
		requests[i].Key = KeyNumber(next(i))
	}
	return requests
}

func zipfWorkload(s float64) func(uint64, int) []Request {
	return func(seed uint64, n int) []Request {
		r, z := source(seed), zipf.New(items, s)
		return numbers(n, func(int) int { return z.Draw(r) })
	}
}

func scanWorkload(seed uint64, n int) []Request {
	const run = 2000
	r, z := source(seed), zipf.New(items, 1)
	return numbers(n, func(i int) int {
		if i%(10*run) >= 9*run {
			return scanned + i
		}
		return z.Draw(r)
	})
}

func loopWorkload(seed uint64, n int) []Request {
	const length = 5000
	r, z := source(seed), zipf.New(items, 1)
	return numbers(n, func(i int) int {
		if i%2 == 0 {
			return looped + i/2%length
		}
		return z.Draw(r)
	})
}

func shiftWorkload(seed uint64, n int) []Request {
	r, z := source(seed), zipf.New(items, 1)
	return numbers(n, func(i int) int { return z.Draw(r) + i/20 })
}

// webWorkload interleaves 200 sessions.
func webWorkload(seed uint64, n int) []Request {
	type session struct{ user, page, left int }
	r, pages, lengths := source(seed), zipf.New(items, 0.9), zipf.New(100, 1)
	open, users := make([]session, 200), 0
	return numbers(n, func(int) int {
		s := &open[r.IntN(len(open))]
		if s.left == 0 {
			*s = session{user: users, page: pages.Draw(r), left: 2 + lengths.Draw(r)}
			users++
		}
		s.left--
		switch x := r.Float64(); {
		case x < 0.3:
			return profiles + s.user
		case x < 0.6:
			s.page = (s.page + 1) % items
		default:
			s.page = pages.Draw(r)
		}
		return s.page
	})
}
