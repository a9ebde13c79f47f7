package tier_test

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/klauspost/compress/s2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/zeebo/xxh3"

	"github.com/tiercache/tiercache/internal/envelope"
	"github.com/tiercache/tiercache/tier"
)

func TestKeysMayHoldAnythingButNothing(t *testing.T) {
	onEachRemote(t, func(t *testing.T, f *fleet) {
		sa, sb := f.process(), f.process()
		spaces := []string{"a", "a:b", "{x}"}
		keys := []string{"k", "b:k", ":k", "{k}", "k}", "{", "{}", "k\n", "\r\n$3\r\nGET\r\n", "\x00", "\xff\xfe", "k ", "*", "?[x]", "é", "e\u0301",
			"k!", "test:{test}:log", strings.Repeat("x", 4096), strings.Repeat("x", 4097), strings.Repeat("k", tier.MaxKey)}
		for _, space := range spaces {
			for _, key := range keys {
				require.NoError(t, view[string](t, sa, space).Set(t.Context(), key, space+" "+key[:min(len(key), 10)]+fmt.Sprint(len(key))))
			}
		}
		f.sync()
		for _, space := range spaces {
			for i, key := range keys {
				want := space + " " + key[:min(len(key), 10)] + fmt.Sprint(len(key))
				assert.Equal(t, want, find(t, view[string](t, sa, space), key, unneeded).Value, "key %d", i)
				r := find(t, view[string](t, sb, space), key, unneeded)
				assert.Equal(t, want, r.Value, "key %d", i)
				assert.Equal(t, tier.Remote, r.Origin, "key %d", i)
			}
		}
		assert.Len(t, f.keys(), len(spaces)*len(keys))
		for _, k := range f.keys() {
			assert.Less(t, len(k), 100)
			assert.Equal(t, 1, strings.Count(k, "{"), "the key cannot choose a slot")
		}
		c := view[string](t, sa, "a")
		require.NoError(t, c.Delete(t.Context(), keys...))
		for _, key := range keys {
			_, ok, err := c.Peek(t.Context(), key)
			require.NoError(t, err)
			assert.False(t, ok)
		}
		for want, key := range map[string]string{"must not be empty": "", "the limit is 1048576": strings.Repeat("k", tier.MaxKey+1)} {
			_, get := c.Get(t.Context(), key, unneeded)
			_, _, peek := c.Peek(t.Context(), key)
			_, many := c.GetMany(t.Context(), []string{key}, noStrings)
			_, refresh := c.Refresh(t.Context(), key, unneeded)
			_, explained := c.Explain(t.Context(), key)
			for i, err := range []error{get, peek, many, refresh, explained, c.Set(t.Context(), key, "v"),
				c.SetMany(t.Context(), map[string]string{key: "v"}), c.Delete(t.Context(), "fine", key)} {
				assert.ErrorContains(t, err, want, "call %d", i)
				assert.Less(t, len(err.Error()), 500, "call %d", i)
			}
		}
	})
}

// Stored bytes may be anything. An invalid entry is a counted miss, reported to the
// observer, and replaced.
func TestAStoredValueThatIsNoEntryIsACountedMiss(t *testing.T) {
	random := make([]byte, 1000)
	for i := range random {
		random[i] = byte(rand.Uint32())
	}
	bad := map[string]func(raw string) string{
		"short":            func(string) string { return "x" },
		"a stamp alone":    func(raw string) string { return raw[:13] },
		"random":           func(string) string { return string(random) },
		"stamped random":   func(raw string) string { return raw[:13] + string(random) },
		"without a stamp":  func(raw string) string { return raw[13:] },
		"a bad stamp":      func(raw string) string { return "x" + raw[1:] },
		"a negative stamp": func(raw string) string { return "-" + raw[1:] },
		"text":             func(string) string { return strings.Repeat("hello, world. ", 100) },
		"JSON":             func(string) string { return `{"value":"v"}` },
		"gigantic":         func(raw string) string { return repack(raw, bomb()) },
		"a lying length":   func(raw string) string { return repack(raw, binary.AppendUvarint(nil, 1<<40)) },
		"a flipped bit": func(raw string) string {
			b := []byte(raw)
			b[rand.IntN(len(b))] ^= 1 << rand.IntN(8)
			return string(b)
		},
		"no time": func(raw string) string { return resealed("0000000000000" + raw[13:]) },
	}
	for i := range 10 {
		bad[fmt.Sprintf("truncated to %d/10", i)] = func(raw string) string { return raw[:max(1, len(raw)*i/10)] }
	}
	onEachRemote(t, func(t *testing.T, f *fleet) {
		var seen events
		sa, sb := f.process(), f.process(tier.WithObserver(seen.observe))
		a, b := view[string](t, sa, "docs"), view[string](t, sb, "docs")
		misses := int64(0)
		for name, damage := range bad {
			require.NoError(t, a.Set(t.Context(), name, "old", tier.WithSources("doc")))
			f.sync()
			key := explain(t, a, name).RemoteKey
			f.put(key, damage(f.read(key)))
			e := explain(t, b, name)
			assert.True(t, e.Remote.Present, name)
			assert.False(t, e.Remote.Valid, name)
			assert.NotEmpty(t, e.Remote.Why, name)
			_, ok, err := b.Peek(t.Context(), name)
			require.NoError(t, err, name)
			assert.False(t, ok, name)
			if misses%2 == 0 {
				r := find(t, b, name, is("new"))
				assert.Equal(t, "new", r.Value, name)
				assert.Equal(t, tier.Loaded, r.Origin, name)
			} else {
				got, err := b.GetMany(t.Context(), []string{name}, func(context.Context, []string, tier.Entries) (map[string]string, error) {
					return map[string]string{name: "new"}, nil
				})
				require.NoError(t, err)
				assert.Equal(t, map[string]string{name: "new"}, got)
			}
			misses++
			assert.Equal(t, 2*misses, sb.Stats().RemoteMisses[tier.Damaged], "%s: the Peek counts, too", name)
			filled(t, sb, misses)
			assert.Equal(t, "new", find(t, a, name, unneeded, tier.NoLocal()).Value, name)
		}
		eventually(t, "each is observed", func() bool { return len(seen.of(tier.EventBadEntry)) == 2*int(misses) })
		assert.ErrorIs(t, seen.of(tier.EventBadEntry)[0].Err, envelope.ErrDamaged)
	})
}

// An empty value is read as none: the server does not tell the two apart where it returns a range.
func TestAnEmptyStoredValueIsAMissAndReplaced(t *testing.T) {
	onEachRemote(t, func(t *testing.T, f *fleet) {
		sb := f.process()
		a, b := view[string](t, f.process(), "docs"), view[string](t, sb, "docs")
		for i, read := range []func(key string) string{
			func(key string) string { return find(t, b, key, is("new")).Value },
			func(key string) string {
				got, err := b.GetMany(t.Context(), []string{key}, func(context.Context, []string, tier.Entries) (map[string]string, error) {
					return map[string]string{key: "new"}, nil
				})
				require.NoError(t, err)
				return got[key]
			},
		} {
			key := fmt.Sprint(i)
			require.NoError(t, a.Set(t.Context(), key, "old"))
			f.sync()
			f.put(explain(t, a, key).RemoteKey, "")
			require.False(t, explain(t, b, key).Remote.Present)
			_, ok, err := b.Peek(t.Context(), key)
			require.NoError(t, err)
			require.False(t, ok)
			require.Equal(t, "new", read(key))
			filled(t, sb, int64(i)+1)
			require.Equal(t, "new", find(t, a, key, unneeded, tier.NoLocal()).Value)
		}
	})
}

// repack puts another payload into an envelope, flagged as compressed.
func repack(raw string, payload []byte) string {
	e, err := envelope.Decode(raw)
	if err != nil {
		panic(err)
	}
	e.Payload = payload
	b, err := envelope.Encode(&e, 0)
	if err != nil {
		panic(err)
	}
	b[flagsAt] |= 2
	return resealed(string(b))
}

// bomb is what decompresses to more than a value may be.
var bomb = sync.OnceValue(func() []byte { return s2.Encode(nil, make([]byte, envelope.MaxPayload+1)) })

// Where an entry has what; docs/format.md.
const stampLen, versionAt, flagsAt, incarnationAt, checkAt, sumLen = 13, 21, 22, 23, 47, 8

// resealed gives an entry the right check of its head and the right sum.
func resealed(raw string) string {
	b := []byte(raw)[:len(raw)-sumLen]
	binary.BigEndian.PutUint32(b[checkAt:], uint32(xxh3.Hash(b[:checkAt])))
	return string(binary.BigEndian.AppendUint64(b, xxh3.Hash(b[stampLen:])))
}

// A server only: what is in process has one type.
func TestAStoredValueOfAnotherKindIsACountedMiss(t *testing.T) {
	onEachRemote(t, func(t *testing.T, f *fleet) {
		if f.server == nil {
			t.Skip("the embedded remote has strings only")
		}
		s := f.process()
		c := view[string](t, s, "docs")
		for i, command := range [][]string{{"RPUSH", "", "x"}, {"HSET", "", "a", "b"}, {"ZADD", "", "1", "x"}, {"XADD", "", "*", "a", "b"}} {
			key := fmt.Sprint(i)
			for j, suffix := range []string{"", "!"} { // the entry, and its lease
				name := explain(t, c, key).RemoteKey + suffix
				f.server.Do(t, append([]string{command[0], name}, command[2:]...)...)
				_, err := c.Explain(t.Context(), key)
				require.NoError(t, err)
				if suffix == "" && i%2 == 0 {
					_, ok, err := c.Peek(t.Context(), key)
					require.NoError(t, err)
					assert.False(t, ok)
				}
				assert.Equal(t, "v", find(t, c, key, is("v")).Value)
				filled(t, s, int64(2*i+j+1))
				assert.Equal(t, "v", find(t, c, key, unneeded, tier.NoLocal()).Value)
				require.NoError(t, c.Delete(t.Context(), key))
			}
		}
	})
}

// An entry of another key or namespace under a key's name, which takes a
// collision of hashes, or a RENAME by another program.
func TestAnEntryUnderAnotherKeysNameIsNeverTakenForIt(t *testing.T) {
	onEachRemote(t, func(t *testing.T, f *fleet) {
		sa, sb := f.process(), f.process()
		a, b := view[string](t, sa, "docs"), view[string](t, sb, "docs")
		other := view[string](t, sa, "other")
		require.NoError(t, a.Set(t.Context(), "theirs", "of theirs"))
		f.sync()
		require.NoError(t, other.Set(t.Context(), "k", "of another namespace"))
		f.sync()
		for i, raw := range []string{f.read(explain(t, a, "theirs").RemoteKey), f.read(explain(t, other, "k").RemoteKey)} {
			f.put(explain(t, a, "k").RemoteKey, raw)
			e := explain(t, b, "k")
			assert.Contains(t, e.Remote.Why, "another key")
			_, ok, err := b.Peek(t.Context(), "k")
			require.NoError(t, err)
			assert.False(t, ok)
			assert.Equal(t, "mine", find(t, b, "k", is("mine"), tier.NoLocal()).Value)
			filled(t, sb, int64(i+1))
			require.NoError(t, b.Delete(t.Context(), "k"))
			f.sync()
		}
	})
}

type person struct {
	Name string
	Age  int
}

func TestAStoredValueOfAnotherTypeIsACountedMiss(t *testing.T) {
	onEachRemote(t, func(t *testing.T, f *fleet) {
		sa, sb := f.process(), f.process()
		a := view[string](t, sa, "docs")
		find(t, a, "k", is(`{"Name":"Ada","Age":36}`))
		filled(t, sa, 1)
		c := view[person](t, sb, "docs")
		_, ok, err := c.Peek(t.Context(), "k")
		require.NoError(t, err)
		assert.False(t, ok)
		e := explain(t, c, "k")
		assert.False(t, e.Local.Valid)
		assert.Contains(t, e.Remote.Why, "another type")
		r := find(t, c, "k", is(person{"Ada", 36}))
		assert.Equal(t, person{"Ada", 36}, r.Value)
		assert.Equal(t, tier.Loaded, r.Origin)
		st := sb.Stats()
		assert.Equal(t, int64(2), st.RemoteMisses[tier.OtherType], "the Peek counts, too")
		assert.Equal(t, int64(1), reads(st.Counts), "%+v", st.Counts)
		filled(t, sb, 1)
		f.sync()
		assert.Equal(t, tier.Remote, find(t, a, "k", unneeded[string], tier.Fresh()).Origin, "it is still there")
	})
}

// Two types of one structure are one to the remote tier, as after a rename in a
// deployment.
func TestTwoTypesOfOneStructureShareTheRemoteTier(t *testing.T) {
	type human person
	onEachRemote(t, func(t *testing.T, f *fleet) {
		sa, sb := f.process(), f.process()
		a := view[person](t, sa, "docs")
		find(t, a, "k", is(person{"Ada", 36}))
		filled(t, sa, 1)
		c := view[human](t, sb, "docs")
		ada := human{"Ada", 36}
		v, there, err := c.Peek(t.Context(), "k")
		require.NoError(t, err)
		assert.True(t, there)
		assert.Equal(t, ada, v)
		many, err := c.GetMany(t.Context(), []string{"k"}, func(context.Context, []string, tier.Entries) (map[string]human, error) { return nil, nil })
		require.NoError(t, err)
		assert.Equal(t, map[string]human{"k": ada}, many)
		assert.Equal(t, ada, find(t, c, "k", unneeded).Value)
		assert.Equal(t, person{"Ada", 36}, find(t, a, "k", unneeded).Value)
	})
}

// Regression: a string of a view with a codec was read by one without as it was
// stored, quotes and all.
func TestAValueOfAnotherCodecIsACountedMiss(t *testing.T) {
	onEachRemote(t, func(t *testing.T, f *fleet) {
		sa, sb := f.process(), f.process()
		plain := func(s *tier.Store, path string) *tier.Cache[string] { return view[string](t, s, path) }
		coded := func(s *tier.Store, path string) *tier.Cache[string] {
			return view[string](t, s, path, tier.WithCodec(jsonish{}))
		}
		require.NoError(t, coded(sa, "docs").Set(t.Context(), "k", "v"))
		f.sync()
		assert.Equal(t, "v", find(t, plain(sb, "docs"), "k", is("v")).Value)
		require.NoError(t, plain(sa, "pages").Set(t.Context(), "k", "v"))
		f.sync()
		assert.Equal(t, "v", find(t, coded(sb, "pages"), "k", is("v")).Value)
		assert.Equal(t, int64(2), sb.Stats().RemoteMisses[tier.OtherType])
	})
}

type jsonish struct{}

func (jsonish) Marshal(v any) ([]byte, error)   { return json.Marshal(v) }
func (jsonish) Unmarshal(b []byte, v any) error { return json.Unmarshal(b, v) }

// stubborn encodes, and then fails to decode or panics.
type stubborn struct{ panics bool }

func (stubborn) Marshal(any) ([]byte, error) { return []byte("x"), nil }
func (s stubborn) Unmarshal([]byte, any) error {
	if s.panics {
		panic("cannot decode")
	}
	return fmt.Errorf("cannot decode")
}

func TestAValueThatCannotBeDecodedIsACountedMiss(t *testing.T) {
	onEachRemote(t, func(t *testing.T, f *fleet) {
		for i, codec := range []tier.Codec{stubborn{}, stubborn{panics: true}} {
			var seen events
			sa, sb := f.process(), f.process(tier.WithObserver(seen.observe))
			key := fmt.Sprint(i)
			require.NoError(t, view[person](t, sa, "docs", tier.WithCodec(codec)).Set(t.Context(), key, person{}))
			f.sync()
			r := find(t, view[person](t, sb, "docs", tier.WithCodec(codec)), key, is(person{"Ada", 36}))
			assert.Equal(t, person{"Ada", 36}, r.Value)
			assert.Equal(t, int64(1), sb.Stats().RemoteMisses[tier.Damaged])
			eventually(t, "it is observed", func() bool { return len(seen.of(tier.EventBadEntry)) == 1 })
			assert.ErrorContains(t, seen.of(tier.EventBadEntry)[0].Err, "cannot decode")
		}
	})
}

func TestAValueThatContainsItselfIsServed(t *testing.T) {
	type ring struct{ Next *ring }
	onEachRemote(t, func(t *testing.T, f *fleet) {
		s := f.process()
		r := &ring{}
		r.Next = r
		assert.Same(t, r, find(t, view[*ring](t, s, "docs"), "k", is(r)).Value)
		assert.Equal(t, int64(1), s.Stats().EncodeErrors)
		local := view[*ring](t, s, "mine", tier.WithLocalOnly())
		require.NoError(t, local.Set(t.Context(), "k", r))
		assert.Same(t, r, find(t, local, "k", unneeded).Value)
	})
}

func TestAValueLargerThanAnEntryMayBeIsAnErrorOfSet(t *testing.T) {
	if testing.Short() {
		t.Skip("64 MiB")
	}
	f := embeddedFleet(t, nil)
	s := f.process()
	c := view[string](t, s, "docs")
	huge := strings.Repeat("x", envelope.MaxPayload+1)
	assert.ErrorContains(t, c.Set(t.Context(), "k", huge), "the limit is")
	assert.Len(t, find(t, c, "k", is(huge)).Value, len(huge), "but a loader's answer")
	assert.Equal(t, int64(2), s.Stats().EncodeErrors)
}

func TestCompressionIsTheWritersChoice(t *testing.T) {
	onEachRemote(t, func(t *testing.T, f *fleet) {
		sa, sb := f.process(), f.process()
		plain, packed := view[string](t, sa, "docs"), view[string](t, sb, "docs", tier.WithCompression(100))
		long, short := strings.Repeat("lorem ipsum ", 1000), "short"
		noise := make([]byte, 2000)
		for i := range noise {
			noise[i] = byte(rand.Uint32())
		}
		for key, v := range map[string]string{"long": long, "short": short, "noise": string(noise)} {
			require.NoError(t, plain.Set(t.Context(), key, v))
			f.sync()
			assert.GreaterOrEqual(t, len(f.read(explain(t, plain, key).RemoteKey)), len(v))
			assert.Equal(t, v, find(t, packed, key, unneeded, tier.NoLocal()).Value)
			require.NoError(t, packed.Set(t.Context(), key, v))
			f.sync()
			size := len(f.read(explain(t, plain, key).RemoteKey))
			if key == "long" {
				assert.Less(t, size, len(v)/10)
			} else {
				assert.GreaterOrEqual(t, size, len(v), "not worth it")
			}
			assert.Equal(t, v, find(t, plain, key, unneeded, tier.NoLocal()).Value)
		}
	})
}

func TestNilAndEmptyAreKeptApart(t *testing.T) {
	onEachRemote(t, func(t *testing.T, f *fleet) {
		survives(t, f, []byte(nil), []byte{}, []byte{0}, []byte{1})
		survives(t, f, "", "\x00", "\xff\xfe")
		survives(t, f, []string(nil), []string{}, []string{""})
		survives(t, f, map[string]int(nil), map[string]int{}, map[string]int{"": 0})
		survives(t, f, (*person)(nil), &person{}, &person{"Ada", 36})
		survives(t, f, [][]byte(nil), [][]byte{nil, {}, {0}})
		survives(t, f, []*int(nil), []*int{nil, new(int)})
		survives(t, f, any(nil), any("x"), any(1.5), any(map[string]any{"a": nil}))
		survives(t, f, struct{ A, B []int }{nil, []int{}}, struct{ A, B []int }{})
		survives(t, f, time.Time{}, time.Unix(1, 2).UTC())
		survives(t, f, 0, -1, math.MaxInt)
		survives(t, f, false, true)
	})
}

// survives checks that values come back as they were from both tiers.
func survives[V any](t *testing.T, f *fleet, values ...V) {
	t.Helper()
	a, b := f.process(), f.process()
	ca, cb := view[V](t, a, "docs"), view[V](t, b, "docs")
	for i, v := range values {
		key := fmt.Sprintf("%T %d", v, i)
		require.NoError(t, ca.Set(t.Context(), key, v))
		f.sync()
		for _, c := range []*tier.Cache[V]{ca, cb, cb} {
			got := find(t, c, key, unneeded)
			assert.Equal(t, v, got.Value, "%s from %s", key, got.Origin)
			peeked, ok, err := c.Peek(t.Context(), key)
			require.NoError(t, err)
			assert.True(t, ok)
			assert.Equal(t, v, peeked)
			many, err := c.GetMany(t.Context(), []string{key}, func(context.Context, []string, tier.Entries) (map[string]V, error) {
				return nil, errUnneeded
			})
			require.NoError(t, err)
			assert.Equal(t, map[string]V{key: v}, many)
		}
	}
	require.NoError(t, a.Close())
	require.NoError(t, b.Close())
}
