package tier_test

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/internal/interpose"
	"github.com/tiercache/tiercache/internal/valkeytest"
	"github.com/tiercache/tiercache/remote"
	"github.com/tiercache/tiercache/tier"
)

// Guard: canJudge, in readUncoalesced.
//
//	A: invalidates; the message to B is lost, and B's proof grows too old
//	B: its uncoalesced read is judged by a delta as well, as in Get
func TestI2WhatIsReadPastCallsIsJudgedByAProof(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{t, remote.NewEmbedded(0), "test", nil}
		a, _ := w.open(quiet...)
		b, hooks := w.open(tier.WithHeartbeat(10*time.Minute), tier.WithMaxStaleness(20*time.Minute), tier.WithRemoteTimeout(time.Hour))
		o := &origin{}
		ca, cb := cacheOf[int64](t, a), cacheOf[int64](t, b)
		lookup(t, ca, o.load)
		synctest.Wait() // it is stored
		many := func() int64 {
			found, err := cb.GetMany(bg, []string{"k"}, func(ctx context.Context, _ []string, e tier.Entries) (map[string]int64, error) {
				v, err := o.load(ctx, e.For("k"))
				return map[string]int64{"k": v}, err
			}, tier.NoLocal())
			require.NoError(t, err)
			return found["k"]
		}
		hooks.Filter(func(e interpose.Event) bool { return e.Message == "" })
		o.version.Add(1)
		_, err := a.InvalidateSource(bg, "doc")
		require.NoError(t, err)
		answered := make(chan struct{})
		defer close(answered)
		hooks.Before(func(op interpose.Op) error {
			if op == interpose.Delta { // a heartbeat
				<-answered
			}
			return nil
		})
		time.Sleep(15 * time.Minute)
		require.Equal(t, int64(0), many(), "the change is not known yet")
		time.Sleep(10 * time.Minute)
		require.Equal(t, int64(1), many())
	})
}

// parts is a value in which what one key leaves out must not be another's.
type parts struct {
	Name string
	List []string          `json:",omitempty"`
	Map  map[string]string `json:",omitempty"`
}

// What the local tier is not to keep is read past calls.
func TestGetManyOfWhatIsNotKept(t *testing.T) {
	onEachRemote(t, func(t *testing.T, f *fleet) {
		sa, sb := f.process(), f.process()
		a := view[parts](t, sa, "docs", tier.WithNegativeTTL(time.Hour))
		b := view[parts](t, sb, "docs", tier.WithStaleWhileRevalidate(time.Hour))
		all := map[string]parts{
			"a": {Name: "a", List: []string{"1", "2"}, Map: map[string]string{"x": "y"}},
			"b": {Name: "b"},
			"c": {Name: "c", List: []string{"3"}},
			"d": {Name: "d", Map: map[string]string{"z": ""}},
		}
		require.NoError(t, a.SetMany(t.Context(), all))
		_, err := a.Get(t.Context(), "none", func(context.Context, *tier.Entry) (parts, error) { return parts{}, tier.ErrNotFound })
		require.ErrorIs(t, err, tier.ErrNotFound)
		require.NoError(t, a.Set(t.Context(), "changed", parts{Name: "old"}, tier.WithSources("doc")))
		filled(t, sa, 1)
		_, err = sa.InvalidateSource(t.Context(), "doc")
		require.NoError(t, err)
		others := f.keys()
		require.NoError(t, a.Set(t.Context(), "damaged", parts{}))
		for _, name := range f.keys() {
			if !slices.Contains(others, name) {
				f.put(name, "0000000000000 no entry")
			}
		}
		f.sync()

		var asked [][]string
		load := func(_ context.Context, keys []string, _ tier.Entries) (map[string]parts, error) {
			asked = append(asked, slices.Sorted(slices.Values(keys)))
			out := make(map[string]parts)
			for _, k := range keys {
				out[k] = parts{Name: "loaded " + k}
			}
			return out, nil
		}
		keys := []string{"a", "b", "none", "c", "changed", "d", "a", "missing", "damaged"}
		for _, k := range []string{"changed", "missing", "damaged"} {
			all[k] = parts{Name: "loaded " + k}
		}
		for range 2 {
			got, err := b.GetMany(t.Context(), keys, load, tier.NoLocal())
			require.NoError(t, err)
			require.Equal(t, all, got)
			got["a"].List[0] = "this caller's own"
			filled(t, sb, 3)
		}
		require.Equal(t, [][]string{{"changed", "damaged", "missing"}}, asked)
		st := sb.Stats()
		require.EqualValues(t, 6+9, st.RemoteHits)
		require.Zero(t, st.LocalEntries, "nothing is kept")
		require.EqualValues(t, 1, st.RemoteMisses[tier.Invalidated])
		require.EqualValues(t, 1, st.RemoteMisses[tier.Damaged])
		require.EqualValues(t, 1, st.RemoteMisses[tier.Cold])
	})
}

// A value past its TTL is served as Get does: the read that finds it renews it.
func TestGetManyOfWhatIsNotKeptServesStale(t *testing.T) {
	inBubbles(t, func(t *testing.T, f *fleet) {
		s := f.process()
		c := view[string](t, s, "docs", tier.WithTTL(time.Minute), tier.WithStaleWhileRevalidate(time.Hour))
		require.NoError(t, c.Set(t.Context(), "k", "old"))
		load := func(context.Context, []string, tier.Entries) (map[string]string, error) {
			return map[string]string{"k": "new"}, nil
		}
		time.Sleep(2 * time.Minute)
		require.NoError(t, s.Sync(t.Context()))
		got, err := c.GetMany(t.Context(), []string{"k"}, load, tier.NoLocal())
		require.NoError(t, err)
		require.Equal(t, "old", got["k"])
		require.EqualValues(t, 1, s.Stats().Stale)
		filled(t, s, 1)
		got, err = c.GetMany(t.Context(), []string{"k"}, load, tier.NoLocal())
		require.NoError(t, err)
		require.Equal(t, "new", got["k"])
	})
}

// keeping is a codec that keeps what it is not to keep.
type keeping struct{ kept *[][]byte }

func (k keeping) Marshal(v any) ([]byte, error) { return []byte(v.(string)), nil }

func (k keeping) Unmarshal(b []byte, v any) error {
	*k.kept = append(*k.kept, b)
	*v.(*string) = string(b)
	return nil
}

// The bytes that a user's codec was given are not written to later, although it must not
// keep them.
func TestWhatACodecKeepsIsNotUsedAgain(t *testing.T) {
	onEachRemote(t, func(t *testing.T, f *fleet) {
		var kept [][]byte
		c := view[string](t, f.process(), "docs", tier.WithCodec(keeping{&kept}))
		var expected []string
		for i := range 20 {
			key, value := strconv.Itoa(i), fmt.Sprintf("the value of %d", i)
			require.NoError(t, c.Set(t.Context(), key, value))
			got, err := c.GetMany(t.Context(), []string{key, "none"}, noneLoaded[string], tier.NoLocal())
			require.NoError(t, err)
			require.Equal(t, map[string]string{key: value}, got)
			expected = append(expected, value)
		}
		require.Len(t, kept, len(expected))
		for i, b := range kept {
			require.Equal(t, expected[i], string(b))
		}
	})
}

// keepingPlaces is a codec that keeps where it has decoded into.
type keepingPlaces struct{ kept *[]*string }

func (k keepingPlaces) Marshal(v any) ([]byte, error) { return []byte(v.(string)), nil }

func (k keepingPlaces) Unmarshal(b []byte, v any) error {
	*k.kept = append(*k.kept, v.(*string))
	*v.(*string) = string(b)
	return nil
}

// A value that refers to itself, as one does whose UnmarshalJSON keeps its receiver, or that a codec refers to, stays what
// it is, although values that are not kept are decoded one after another.
func TestWhereACodecHasDecodedIsNotUsedAgain(t *testing.T) {
	onEachRemote(t, func(t *testing.T, f *fleet) {
		var kept []*string
		c := view[string](t, f.process(), "docs", tier.WithCodec(keepingPlaces{&kept}))
		all, keys := make(map[string]string), []string(nil)
		for i := range 20 {
			keys = append(keys, strconv.Itoa(i))
			all[keys[i]] = fmt.Sprintf("the value of %d", i)
		}
		require.NoError(t, c.SetMany(t.Context(), all))
		got, err := c.GetMany(t.Context(), keys, noneLoaded[string], tier.NoLocal())
		require.NoError(t, err)
		require.Equal(t, all, got)
		require.Len(t, kept, len(keys))
		for i, key := range keys {
			require.Equal(t, all[key], *kept[i])
		}
	})
}

// noneLoaded finds nothing.
func noneLoaded[V any](context.Context, []string, tier.Entries) (map[string]V, error) {
	return nil, nil
}

// Callers give up reads of many keys at any time, and what others read meanwhile is
// theirs: the answer to a read that was given up comes into memory that nothing else uses.
//
//	A:                asks for many keys, and gives up
//	B:                asks for others
//	reader goroutine: decodes the answer to A, beside B's
func TestReadsThatAreGivenUpMixNothingUp(t *testing.T) {
	srv := valkeytest.Shared(t)
	s, err := tier.Open(t.Context(), tier.WithValkey(srv.URL()), tier.WithPrefix(valkeytest.Prefix(t)), tier.WithRemoteTimeout(10*time.Second))
	require.NoError(t, err)
	defer s.Close()
	c := view[string](t, s, "docs", tier.WithRemoteOnly())
	value := func(key string) string { return key + strings.Repeat(" of "+key, 60) }
	const n = 100
	all := make(map[string]string, n)
	for i := range n {
		key := fmt.Sprint("k", i)
		all[key] = value(key)
	}
	require.NoError(t, c.SetMany(t.Context(), all))
	load := func(_ context.Context, keys []string, _ tier.Entries) (map[string]string, error) {
		out := make(map[string]string)
		for _, k := range keys {
			out[k] = value(k)
		}
		return out, nil
	}
	until := time.Now().Add(3 * time.Second)
	var callers sync.WaitGroup
	for g := range 6 {
		callers.Go(func() {
			for i := 0; time.Now().Before(until); i++ {
				keys := make([]string, 1+(i*31+g*7)%n)
				for j := range keys {
					keys[j] = fmt.Sprint("k", (i*j+g)%n)
				}
				ctx, cancel := t.Context(), func() {}
				if g%2 == 0 {
					ctx, cancel = context.WithTimeout(ctx, time.Duration(100+(i*37+g*11)%900)*time.Microsecond)
				}
				got, err := c.GetMany(ctx, keys, load)
				cancel()
				if err != nil && g%2 != 0 {
					t.Error(err)
				}
				for k, v := range got {
					if v != value(k) {
						t.Errorf("%s is %.40q", k, v)
					}
				}
			}
		})
	}
	callers.Wait()
}
