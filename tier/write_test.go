package tier_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/tier"
)

func TestSetIsSeenByEveryProcess(t *testing.T) {
	onEachRemote(t, func(t *testing.T, f *fleet) {
		sa, sb := f.process(), f.process()
		a, b := view[int](t, sa, "docs"), view[int](t, sb, "docs")
		for i := range 20 {
			require.NoError(t, a.Set(t.Context(), "k", i))
			r := find(t, a, "k", unneeded)
			assert.Equal(t, i, r.Value)
			if f.tracked { // else it is not known whose write came last
				assert.Equal(t, tier.Local, r.Origin)
			}
			f.sync()
			assert.Equal(t, i, find(t, b, "k", unneeded).Value)
			assert.Equal(t, tier.Local, find(t, b, "k", unneeded).Origin)
		}
	})
}

func TestDeleteIsSeenByEveryProcess(t *testing.T) {
	onEachRemote(t, func(t *testing.T, f *fleet) {
		sa, sb := f.process(), f.process()
		a, b := view[int](t, sa, "docs"), view[int](t, sb, "docs")
		require.NoError(t, a.SetMany(t.Context(), map[string]int{"x": 1, "y": 2, "z": 3}))
		f.sync()
		for _, k := range []string{"x", "y", "z"} {
			find(t, b, k, unneeded)
		}
		require.NoError(t, a.Delete(t.Context(), "x", "y", "never there"))
		f.sync()
		for _, c := range []*tier.Cache[int]{a, b} {
			for _, k := range []string{"x", "y"} {
				_, ok, err := c.Peek(t.Context(), k)
				require.NoError(t, err)
				assert.False(t, ok)
			}
			assert.Equal(t, 3, find(t, c, "z", unneeded).Value)
		}
		require.NoError(t, a.Delete(t.Context()))
	})
}

func TestSetManyStoresAllItCan(t *testing.T) {
	onEachRemote(t, func(t *testing.T, f *fleet) {
		sa, sb := f.process(), f.process()
		a, b := view[string](t, sa, "docs", tier.WithCodec(picky{})), view[string](t, sb, "docs", tier.WithCodec(picky{}))
		require.NoError(t, a.SetMany(t.Context(), nil))
		values := map[string]string{}
		for i := range 100 {
			values[fmt.Sprint(i)] = "v"
		}
		values["unencodable"], values["too"] = "bad", "bad"
		err := a.SetMany(t.Context(), values, tier.WithSources("doc"), tier.WithTTL(time.Minute))
		f.sync()
		assert.ErrorIs(t, err, errPicky)
		for _, c := range []*tier.Cache[string]{a, b} {
			for i := range 100 {
				r := find(t, c, fmt.Sprint(i), unneeded)
				assert.Equal(t, "v", r.Value)
				assert.Equal(t, []string{"doc"}, r.Sources)
				assert.LessOrEqual(t, r.TTL, time.Minute)
			}
		}
		assert.Equal(t, int64(2), sa.Stats().EncodeErrors)
		_, ok, err := a.Peek(t.Context(), "too")
		require.NoError(t, err)
		assert.False(t, ok)
		_, err = sb.InvalidateSource(t.Context(), "doc")
		require.NoError(t, err)
		f.sync()
		assert.Equal(t, "w", find(t, a, "7", is("w")).Value)
	})
}

func TestAValueThatCannotBeEncodedIsAnErrorOfSetAndAnAnswerOfGet(t *testing.T) {
	onEachRemote(t, func(t *testing.T, f *fleet) {
		var seen events
		s := f.process(tier.WithObserver(seen.observe))
		for name, c := range map[string]*tier.Cache[any]{
			"channel":  view[any](t, s, "json"),
			"panicker": view[any](t, s, "panics", tier.WithCodec(panicker{})),
		} {
			var value any = make(chan int)
			assert.ErrorContains(t, c.Set(t.Context(), "k", value), "encoding a value of namespace", name)
			assert.Equal(t, value, find(t, c, "k", is(value)).Value)
			assert.Equal(t, value, find(t, c, "k", is(value)).Value)
			many, err := c.GetMany(t.Context(), []string{"k"}, func(context.Context, []string, tier.Entries) (map[string]any, error) {
				return map[string]any{"k": value}, nil
			})
			require.NoError(t, err)
			assert.Equal(t, map[string]any{"k": value}, many)
		}
		assert.Equal(t, int64(8), s.Stats().EncodeErrors)
		eventually(t, "neither value nor lease is left", func() bool { return len(f.keys()) == 0 })
		eventually(t, "it is observed", func() bool { return len(seen.of(tier.EventFill)) > 0 })
		assert.Error(t, seen.of(tier.EventFill)[0].Err)
	})
}

// panicker panics both ways.
type panicker struct{}

func (panicker) Marshal(any) ([]byte, error) { panic("no") }
func (panicker) Unmarshal([]byte, any) error { panic("no") }

func TestASetOfWhatWasReadBeforeAnInvalidationIsNotBelieved(t *testing.T) {
	changes := map[string]func(s *tier.Store) error{
		"source":    func(s *tier.Store) error { _, err := s.InvalidateSource(context.Background(), "doc"); return err },
		"namespace": func(s *tier.Store) error { _, err := s.InvalidateNamespace(context.Background(), "docs"); return err },
		"version":   func(s *tier.Store) error { _, err := s.InvalidateAll(context.Background()); return err },
	}
	onEachRemote(t, func(t *testing.T, f *fleet) {
		for what, change := range changes {
			sa, sb := f.process(), f.process()
			a, b := view[int](t, sa, "docs:technical"), view[int](t, sb, "docs:technical")
			asOf := sa.AsOf()
			require.NoError(t, change(sb))
			f.sync()
			require.NoError(t, a.Set(t.Context(), what, 1, tier.WithAsOf(asOf), tier.WithSources("doc")))
			for _, c := range []*tier.Cache[int]{a, b} {
				_, ok, err := c.Peek(t.Context(), what)
				require.NoError(t, err)
				assert.False(t, ok, "%s", what)
			}
			// The position after it is a good one, and so is none at all.
			require.NoError(t, a.Set(t.Context(), what, 2, tier.WithAsOf(sa.AsOf()), tier.WithSources("doc")))
			f.sync()
			assert.Equal(t, 2, find(t, b, what, unneeded).Value)
			require.NoError(t, a.Set(t.Context(), what, 3, tier.WithSources("doc")))
			f.sync()
			assert.Equal(t, 3, find(t, b, what, unneeded).Value)
		}
	})
}

func TestAGetWithAnAsOfMakesAValueAsOfThen(t *testing.T) {
	onEachRemote(t, func(t *testing.T, f *fleet) {
		s := f.process()
		c := view[int](t, s, "docs")
		asOf := s.AsOf() // the caller reads the source, and only then asks
		_, err := s.InvalidateSource(t.Context(), "doc")
		require.NoError(t, err)
		assert.Equal(t, 1, find(t, c, "k", is(1, "doc"), tier.WithAsOf(asOf)).Value, "the caller's own")
		assert.Equal(t, 2, find(t, c, "k", is(2, "doc")).Value, "this caller's own")
		assert.Equal(t, int64(1), s.Stats().Overtaken)
	})
}

func TestRefreshLoadsWhateverTheTiersHold(t *testing.T) {
	onEachRemote(t, func(t *testing.T, f *fleet) {
		sa, sb := f.process(), f.process()
		a, b := view[int](t, sa, "docs"), view[int](t, sb, "docs")
		find(t, a, "k", is(0))
		filled(t, sa, 1)
		for i := 1; i < 10; i++ {
			find(t, b, "k", unneeded)
			v, err := a.Refresh(t.Context(), "k", is(i))
			require.NoError(t, err)
			assert.Equal(t, i, v)
			assert.Equal(t, i, find(t, a, "k", unneeded).Value)
			filled(t, sa, int64(1+i))
			f.sync()
			if f.tracked {
				assert.Equal(t, i, find(t, b, "k", unneeded).Value)
			}
		}
		_, err := a.Refresh(t.Context(), "k", fails[int](errOrigin))
		assert.ErrorIs(t, err, errOrigin)
		assert.Equal(t, 9, find(t, a, "k", unneeded).Value, "a refresh that failed leaves the value")
		_, err = a.Refresh(t.Context(), "k", fails[int](tier.ErrNotFound))
		assert.ErrorIs(t, err, tier.ErrNotFound)
		_, err = a.Get(t.Context(), "k", unneeded)
		assert.ErrorIs(t, err, tier.ErrNotFound)
	})
}

func TestRefreshWaitsForALoadThatIsUnderWay(t *testing.T) {
	inBubbles(t, func(t *testing.T, f *fleet) {
		a, b := view[int](t, f.process(), "docs"), view[int](t, f.process(), "docs")
		var running, most atomic.Int64
		slow := func(v int) tier.Loader[int] {
			return func(context.Context, *tier.Entry) (int, error) {
				most.Store(max(most.Load(), running.Add(1)))
				defer running.Add(-1)
				time.Sleep(time.Second)
				return v, nil
			}
		}
		go a.Get(t.Context(), "k", slow(1))
		synctest.Wait()
		results := make(chan int, 2)
		for i, c := range []*tier.Cache[int]{a, b} {
			go func() {
				v, err := c.Refresh(t.Context(), "k", slow(2+i))
				assert.NoError(t, err)
				results <- v
			}()
		}
		assert.ElementsMatch(t, []int{2, 3}, []int{<-results, <-results})
		assert.Equal(t, int64(1), most.Load(), "one at a time in the fleet")
	})
}

func TestAWriteDuringALoadWins(t *testing.T) {
	for _, how := range []string{"set", "delete", "set elsewhere", "delete elsewhere"} {
		t.Run(how, func(t *testing.T) {
			inBubbles(t, func(t *testing.T, f *fleet) {
				sa, sb := f.process(), f.process()
				a, b := view[int](t, sa, "docs"), view[int](t, sb, "docs")
				goOn := make(chan struct{})
				first := make(chan int, 1)
				go func() {
					v, err := a.Get(t.Context(), "k", func(context.Context, *tier.Entry) (int, error) { <-goOn; return 1, nil })
					assert.NoError(t, err)
					first <- v
				}()
				synctest.Wait()
				switch how {
				case "set":
					require.NoError(t, a.Set(t.Context(), "k", 2))
				case "delete":
					require.NoError(t, a.Delete(t.Context(), "k"))
				case "set elsewhere":
					require.NoError(t, b.Set(t.Context(), "k", 2))
				case "delete elsewhere":
					require.NoError(t, b.Delete(t.Context(), "k"))
				}
				synctest.Wait()
				close(goOn)
				assert.Equal(t, 1, <-first, "the caller that asked before is answered")
				synctest.Wait()
				for _, c := range []*tier.Cache[int]{a, b} {
					assert.Equal(t, 2, find(t, c, "k", is(2)).Value)
				}
				assert.Equal(t, int64(1), sa.Stats().Fenced+sa.Stats().Overtaken)
			})
		})
	}
}

func TestInvalidationsReachWhatTheyNameAndNothingElse(t *testing.T) {
	onEachRemote(t, func(t *testing.T, f *fleet) {
		sa, sb := f.process(), f.process()
		paths := []string{"docs", "docs:technical", "docs:technical:go", "docsother", "users"}
		fill := func() {
			for i, path := range paths {
				find(t, view[string](t, sa, path), "k", is("v", "of "+path, "common", fmt.Sprint(i)))
				filled(t, sa, sa.Stats().Loads)
				require.NoError(t, view[string](t, sa, path).Set(t.Context(), "j", "v", tier.WithSources("of "+path, "common")))
				f.sync()
				filledKeys := view[string](t, sb, path)
				find(t, filledKeys, "k", unneeded)
				find(t, filledKeys, "j", unneeded)
			}
		}
		gone := func() (out []string) {
			f.sync()
			f.sync()
			for _, path := range paths {
				var believed [4]bool
				for i, s := range []*tier.Store{sa, sb} {
					for j, key := range []string{"k", "j"} {
						_, ok, err := view[string](t, s, path).Peek(t.Context(), key)
						require.NoError(t, err)
						believed[2*i+j] = ok
					}
				}
				if believed == [4]bool{} {
					out = append(out, path)
				} else {
					assert.Equal(t, [4]bool{true, true, true, true}, believed, path)
				}
			}
			return out
		}
		for _, c := range []struct {
			change func() (tier.AsOf, error)
			want   []string
		}{
			{func() (tier.AsOf, error) { return sa.InvalidateSource(t.Context(), "of docs:technical") }, []string{"docs:technical"}},
			{func() (tier.AsOf, error) { return sa.InvalidateSource(t.Context(), "of docs", "of users", "unknown") }, []string{"docs", "users"}},
			{func() (tier.AsOf, error) { return sb.InvalidateSource(t.Context(), "common") }, paths},
			{func() (tier.AsOf, error) { return sb.InvalidateSource(t.Context(), "docs") }, nil}, // no source of that name
			{func() (tier.AsOf, error) { return sa.InvalidateNamespace(t.Context(), "docs") }, paths[:3]},
			{func() (tier.AsOf, error) { return sa.InvalidateNamespace(t.Context(), "docs:technical:go", "users") }, []string{"docs:technical:go", "users"}},
			{func() (tier.AsOf, error) { return view[string](t, sb, "docs:technical").Invalidate(t.Context()) }, paths[1:3]},
			{func() (tier.AsOf, error) { return sa.InvalidateAll(t.Context()) }, paths},
			{func() (tier.AsOf, error) { return sa.InvalidateSource(t.Context()) }, nil},
		} {
			fill()
			asOf, err := c.change()
			require.NoError(t, err)
			assert.False(t, asOf.IsZero())
			assert.Equal(t, c.want, gone())
		}
		for _, id := range []string{"", string(make([]byte, 1<<20+1))} {
			_, err := sa.InvalidateSource(t.Context(), "fine", id)
			assert.ErrorContains(t, err, "source id")
		}
		// Ids may hold anything.
		for _, id := range []string{"with space", "{a}:b\n\x00\xff", string(make([]byte, 1<<20))} {
			c := view[string](t, sa, "docs")
			require.NoError(t, c.Set(t.Context(), "odd", "v", tier.WithSources(id)))
			_, err := sb.InvalidateSource(t.Context(), id)
			require.NoError(t, err)
			f.sync()
			_, ok, err := c.Peek(t.Context(), "odd")
			require.NoError(t, err)
			assert.False(t, ok)
		}
	})
}
