package sweep_test

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/tiercache/tiercache/internal/changelog"
	"github.com/tiercache/tiercache/internal/mono"
	"github.com/tiercache/tiercache/local"
	"github.com/tiercache/tiercache/tier/internal/record"
	"github.com/tiercache/tiercache/tier/internal/sweep"
)

// A sweep of a million entries, none of which has gone.
func BenchmarkSweep(b *testing.B) {
	const n = 1_000_000
	l, err := local.New(local.Config[record.Item]{MaxEntries: n})
	if err != nil {
		b.Fatal(err)
	}
	k := record.NewKind[int](nil)
	for i := range n {
		it := record.NewItemOf(k, i)
		it.Meta().Expires = mono.Now().Add(time.Hour)
		l.PutEntry(local.Key{Lo: rand.Uint64(), Hi: rand.Uint64()}, it.Entry(), 0)
	}
	view := &changelog.View{}
	for b.Loop() {
		view.Seq++
		s := sweep.Sweeper{Local: l, View: func() *changelog.View { return view },
			Gone: func(it *record.Item, now mono.Time, _ *changelog.View) bool { return now >= it.Meta().Expires }}
		s.Sweep()
	}
}
