package tier_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/internal/interpose"
	"github.com/tiercache/tiercache/tier"
)

// A process that starts has what others read most, before it is asked for it, and hears of what changes.
func TestAStoreStartsWarm(t *testing.T) {
	inBubbles(t, func(t *testing.T, f *fleet) {
		warm := tier.WithWarmStart(100)
		a := f.process(warm)
		ca, other := view[string](t, a, "docs"), view[string](t, a, "docs:other")
		for i := range 60 {
			find(t, ca, fmt.Sprint("key", i), is(fmt.Sprint("value", i), "doc"))
		}
		find(t, other, "key0", is("other"))
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		left := f.read("test:{test}:warm")
		require.Equal(t, 1+61, strings.Count(left, "\n"))
		require.NotContains(t, left, "key")
		_, err := other.Invalidate(t.Context())
		require.NoError(t, err)

		b := f.process(warm)
		cb := view[string](t, b, "docs")
		synctest.Wait()
		for i := range 60 {
			r := find(t, cb, fmt.Sprint("key", i), unneeded)
			require.Equal(t, fmt.Sprint("value", i), r.Value)
			require.Equal(t, tier.Local, r.Origin)
			require.Equal(t, []string{"doc"}, r.Sources)
		}
		require.Equal(t, "new", find(t, view[string](t, b, "docs:other"), "key0", is("new")).Value)
		require.NoError(t, ca.Set(t.Context(), "key1", "set"))
		f.sync()
		require.Equal(t, "set", find(t, cb, "key1", unneeded).Value)
		_, err = a.InvalidateSource(t.Context(), "doc")
		require.NoError(t, err)
		f.sync()
		require.Equal(t, "new", find(t, cb, "key2", is("new")).Value)
	})
}

// What another program has left there harms nothing.
func TestAWarmStartBelievesNoName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := embeddedFleet(t, nil)
		a := f.process()
		ca := view[string](t, a, "docs")
		find(t, ca, "k", is("v"))
		synctest.Wait()
		name := strings.TrimPrefix(tier.RemoteName(ca, "k"), "test:d:")
		wrong := tier.RemoteName(ca, "wrong")
		f.put(wrong, f.read(tier.RemoteName(ca, "k")))
		for _, left := range []string{"", "2\n" + name, "1\n\n!\ndocs:{}\n" + strings.Repeat("x", 1<<16) + "\n" + name + "!\n" + strings.TrimPrefix(wrong, "test:d:") + "\n" + name} {
			f.put("test:{test}:warm", left)
			b := f.process(tier.WithWarmStart(100))
			cb := view[string](t, b, "docs")
			synctest.Wait()
			e, err := cb.Explain(t.Context(), "k")
			require.NoError(t, err)
			require.Equal(t, strings.HasPrefix(left, "1"), e.Local.Present)
			require.Equal(t, "own", find(t, cb, fmt.Sprint("wrong", len(left)), is("own")).Value)
			require.Equal(t, int64(1), b.Stats().Loads)
			require.NoError(t, b.Close())
		}
	})
}

// What was told of between the answer and its use is not kept, and what is here is not replaced.
func TestI2AWarmReadThatAnInvalidationOvertookIsNotKept(t *testing.T) {
	for name, overtake := range map[string]func(t *testing.T, ca, cb *tier.Cache[int64]){
		"set elsewhere": func(t *testing.T, ca, _ *tier.Cache[int64]) { require.NoError(t, ca.Set(bg, "k", 1)) },
		"read here": func(t *testing.T, ca, cb *tier.Cache[int64]) {
			require.NoError(t, ca.Set(bg, "k", 1))
			find(t, cb, "k", none)
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := embeddedWorld(t)
				a, _ := w.open(append(quiet, tier.WithWarmStart(10))...)
				ca := cacheOf[int64](t, a)
				find(t, ca, "k", is[int64](0))
				time.Sleep(2 * time.Minute)
				synctest.Wait()
				b, hooks := w.open(append(quiet, tier.WithWarmStart(10))...)
				read, goOn := stopAt(hooks.After, interpose.Get, 2) // the first is of the names
				cb := cacheOf[int64](t, b)
				<-read
				overtake(t, ca, cb)
				synctest.Wait()
				close(goOn)
				synctest.Wait()
				require.Equal(t, int64(1), find(t, cb, "k", none).Value)
			})
		})
	}
}
