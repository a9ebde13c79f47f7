package bench

import (
	"hash/fnv"
	"math"
	"slices"
	"testing"

	"github.com/tiercache/tiercache/internal/zipf"
)

func fingerprint(requests []Request) uint64 {
	h := fnv.New64a()
	for _, r := range requests {
		h.Write(binaryKey(r))
	}
	return h.Sum64()
}

func binaryKey(r Request) (b []byte) {
	for i := range 8 {
		b = append(b, byte(r.Key.Lo>>(8*i)))
	}
	return b
}

func TestASeedGivesTheSameRequestsAlways(t *testing.T) {
	for _, w := range Workloads() {
		a, b, other := w.Make(1, 5000), w.Make(1, 5000), w.Make(2, 5000)
		if !slices.Equal(a, b) {
			t.Errorf("%s: one seed, two sequences", w.Name)
		}
		if slices.Equal(a, other) {
			t.Errorf("%s: two seeds, one sequence", w.Name)
		}
		if more := w.Make(1, 6000); !slices.Equal(a, more[:5000]) {
			t.Errorf("%s: a longer sequence begins differently", w.Name)
		}
	}
}

// TestTheSequencesAreThoseOfEarlierReleases: figures published for a seed must be had again.
func TestTheSequencesAreThoseOfEarlierReleases(t *testing.T) {
	want := map[string]uint64{
		"zipf-0.7": 0x2242084414b6a06c,
		"zipf-0.9": 0x4d79afe898403cb8,
		"zipf-1.0": 0xb16001c113f3a311,
		"zipf-1.2": 0x7a390bbfd7322076,
		"scan":     0x3e5786871792a7ad,
		"loop-mix": 0xa05025fa009c7f93,
		"shift":    0x542ac2f118d4e6a9,
		"web":      0xc41a44a1c26efbcb,
	}
	for _, w := range Workloads() {
		if got := fingerprint(w.Make(1, 20_000)); got != want[w.Name] {
			t.Errorf("%s: %#x, was %#x", w.Name, got, want[w.Name])
		}
	}
}

func TestZipfDrawsInProportion(t *testing.T) {
	const n = 200_000
	r, z, count := source(3), zipf.New(1000, 1), make([]float64, 1000)
	for range n {
		count[z.Draw(r)]++
	}
	for _, i := range []int{1, 3, 9, 29} {
		got, want := count[0]/count[i], float64(i+1)
		if math.Abs(got-want) > 0.1*want {
			t.Errorf("the first is drawn %.2f times as often as the one of rank %d, want %.0f", got, i+1, want)
		}
	}
}
