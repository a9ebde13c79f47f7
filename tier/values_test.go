package tier_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"reflect"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/tier"
)

// tally is encoded by a method of its pointer.
type tally struct{ n int }

func (c *tally) MarshalJSON() ([]byte, error) { return json.Marshal(c.n) }
func (c *tally) UnmarshalJSON(b []byte) error { return json.Unmarshal(b, &c.n) }

type (
	answered struct {
		time.Time
		Answer string
	}
	left       struct{ Name string }
	right      struct{ Name string }
	named      string
	namedBytes []byte
)

// refused tries New for a V.
func refused[V any](s *tier.Store) error {
	_, err := tier.New[V](s, "refused")
	return err
}

// New names the part of a type that JSON would lose; internal/shape has the variants.
func TestATypeOfWhichJSONLosesAPartIsRefusedByItsPath(t *testing.T) {
	s := embeddedFleet(t, nil).process()
	for want, err := range map[string]error{
		"answered.Answer": refused[answered](s),
		".Name": refused[struct {
			left
			right
		}](s),
		".Err":  refused[struct{ Err error }](s),
		".S":    refused[map[string]struct{ S fmt.Stringer }](s),
		".C":    refused[*struct{ C chan int }](s),
		"tally": refused[map[string]tally](s),
	} {
		require.ErrorContains(t, err, want)
		require.ErrorContains(t, err, "WithCodec", "the cure")
	}
	_, err := tier.New[answered](s, "local", tier.WithLocalOnly())
	require.NoError(t, err, "nothing is encoded")
	_, err = tier.New[answered](s, "coded", tier.WithCodec(jsonish{}))
	require.NoError(t, err, "the codec is the user's")
}

// Regression: a value whose methods have pointer receivers came back as zero.
func TestAMethodOfThePointerEncodesAValue(t *testing.T) {
	type holder struct {
		One  tally
		List []tally
		Pair [2]tally
	}
	onEachRemote(t, func(t *testing.T, f *fleet) {
		want := holder{tally{1}, []tally{{2}, {3}}, [2]tally{{4}, {5}}}
		c := view[holder](t, f.process(), "docs")
		require.NoError(t, c.Set(t.Context(), "k", want))
		f.sync()
		require.Equal(t, want, find(t, view[holder](t, f.process(), "docs"), "k", unneeded[holder], tier.NoLocal()).Value)
		alone := view[tally](t, f.process(), "alone")
		require.NoError(t, alone.Set(t.Context(), "k", tally{6}))
		require.Equal(t, tally{6}, find(t, alone, "k", unneeded[tally], tier.NoLocal()).Value)
	})
}

type noted struct {
	Title string
	Meta  map[string]any
	F     float64
	Raw   json.RawMessage `json:",omitempty"`
}

// changedByJSON are values that JSON would give back as others, or cannot encode.
var changedByJSON = map[string]noted{
	".Meta[…] holds an integer beyond 2^53": {Meta: map[string]any{"n": int64(math.MaxInt64)}},
	".Meta[…] holds a []uint8":              {Meta: map[string]any{"b": []byte("x")}},
	".Meta[…] holds a time.Time":            {Meta: map[string]any{"t": time.Unix(1, 0)}},
	".Title is text that is not UTF-8":      {Title: "secret \xff"},
	".Meta[key] is text that is not UTF-8":  {Meta: map[string]any{"secret \xff": 1.0}},
	".F is not a number":                    {F: math.NaN()},
	".Raw is a json.RawMessage":             {Raw: json.RawMessage(`{"secret": 1}`)},
}

// What JSON would change is an error of Set, and a loaded value is given to its callers
// and not stored; Stats, an event and Health tell of it, without the value.
func TestAValueThatJSONWouldChangeIsNotStored(t *testing.T) {
	onEachRemote(t, func(t *testing.T, f *fleet) {
		for want, value := range changedByJSON {
			var seen events
			s := f.process(tier.WithObserver(seen.observe))
			c := view[noted](t, s, "docs")
			err := c.Set(t.Context(), "k", value)
			require.ErrorContains(t, err, want)
			require.NotContains(t, err.Error(), "secret")

			r := find(t, c, "k", is(value))
			require.Equal(t, tier.Loaded, r.Origin)
			require.Equal(t, fmt.Sprint(value), fmt.Sprint(r.Value))
			many, err := c.GetMany(t.Context(), []string{"k"}, func(context.Context, []string, tier.Entries) (map[string]noted, error) {
				return map[string]noted{"k": value}, nil
			})
			require.NoError(t, err)
			require.Len(t, many, 1)

			require.EqualValues(t, 3, s.Stats().EncodeErrors)
			eventually(t, "it is observed", func() bool { return len(seen.of(tier.EventFill)) > 0 })
			require.ErrorContains(t, seen.of(tier.EventFill)[0].Err, want)
			warnings := fmt.Sprint(s.Health(t.Context()).Warnings)
			require.Contains(t, warnings, want)
			require.Contains(t, warnings, `namespace "docs": 3 values`)
			require.NotContains(t, warnings, "secret")
			eventually(t, "neither value nor lease is left", func() bool { return len(f.keys()) == 0 })
		}
	})
}

// What a codec says of a value may hold it, so Health does not repeat it.
func TestHealthDoesNotRepeatWhatACodecSays(t *testing.T) {
	s := embeddedFleet(t, nil).process()
	require.ErrorContains(t, view[string](t, s, "docs", tier.WithCodec(picky{})).Set(t.Context(), "k", "bad"), errPicky.Error())
	warnings := fmt.Sprint(s.Health(t.Context()).Warnings)
	require.Contains(t, warnings, `namespace "docs": 1 values`)
	require.NotContains(t, warnings, errPicky.Error())
}

// A Set of a value that cannot be encoded leaves no older value, here or elsewhere: by the
// caller's word that is not what the key has now.
func TestASetOfAValueThatCannotBeEncodedDeletesTheOldOne(t *testing.T) {
	onEachRemote(t, func(t *testing.T, f *fleet) {
		sa, sb := f.process(), f.process()
		a, b := view[noted](t, sa, "docs"), view[noted](t, sb, "docs")
		for want, value := range changedByJSON {
			for _, set := range []func() error{
				func() error { return a.Set(t.Context(), "k", value) },
				func() error {
					return a.SetMany(t.Context(), map[string]noted{"k": value, "other": {Title: "set"}})
				},
			} {
				require.NoError(t, a.SetMany(t.Context(), map[string]noted{"k": {Title: "old"}, "other": {Title: "old"}}))
				f.sync()
				for _, c := range []*tier.Cache[noted]{a, b} {
					require.Equal(t, "old", find(t, c, "k", unneeded[noted]).Value.Title)
				}
				require.ErrorContains(t, set(), want)
				f.sync()
				for _, c := range []*tier.Cache[noted]{a, b} {
					_, ok, err := c.Peek(t.Context(), "k")
					require.NoError(t, err)
					require.False(t, ok, want)
				}
			}
			require.Equal(t, "set", find(t, b, "other", unneeded[noted]).Value.Title)
		}
	})
}

// Which of many values cannot be encoded is said.
func TestASetOfManyNamesTheKeysThatCannotBeEncoded(t *testing.T) {
	c := view[noted](t, embeddedFleet(t, nil).process(), "docs")
	bad := noted{Title: "\xff"}
	err := c.SetMany(t.Context(), map[string]noted{"a": {Title: "set"}, "b": bad, "c": bad})
	require.ErrorContains(t, err, `.Title is text that is not UTF-8, which JSON would change: use []byte (key "b")`)
	require.ErrorContains(t, err, `(key "c")`)
	require.NotContains(t, err.Error(), `"a"`)
}

// An integer in an interface comes back as JSON has it.
func TestAnIntegerInAnInterfaceComesBackAsAFloat(t *testing.T) {
	s := embeddedFleet(t, nil).process()
	c := view[map[string]any](t, s, "docs")
	require.NoError(t, c.Set(t.Context(), "k", map[string]any{"n": int64(1 << 53)}))
	require.Equal(t, map[string]any{"n": float64(1 << 53)}, find(t, c, "k", unneeded[map[string]any], tier.NoLocal()).Value)
}

// Regression: a string and a string type of another name had one fingerprint and two
// encodings, so hello was read as "hello".
func TestWhatIsStoredAsItIsIsNotReadAsJSON(t *testing.T) {
	onEachRemote(t, func(t *testing.T, f *fleet) {
		sa, sb := f.process(), f.process()
		require.NoError(t, view[string](t, sa, "text").Set(t.Context(), "k", "hello"))
		require.NoError(t, view[string](t, sa, "null").Set(t.Context(), "k", "null"))
		require.NoError(t, view[named](t, sa, "names").Set(t.Context(), "k", "hello"))
		require.NoError(t, view[[]byte](t, sa, "bytes").Set(t.Context(), "k", []byte("hello")))
		require.NoError(t, view[namedBytes](t, sa, "blobs").Set(t.Context(), "k", namedBytes("hello")))
		f.sync()
		require.Equal(t, named("loaded"), find(t, view[named](t, sb, "text"), "k", is[named]("loaded")).Value)
		require.Equal(t, named("loaded"), find(t, view[named](t, sb, "null"), "k", is[named]("loaded")).Value)
		require.Equal(t, "loaded", find(t, view[string](t, sb, "names"), "k", is("loaded")).Value)
		require.Equal(t, namedBytes("loaded"), find(t, view[namedBytes](t, sb, "bytes"), "k", is(namedBytes("loaded"))).Value)
		require.Equal(t, []byte("loaded"), find(t, view[[]byte](t, sb, "blobs"), "k", is([]byte("loaded"))).Value)
		require.EqualValues(t, 5, sb.Stats().RemoteMisses[tier.OtherType])
	})
}

// versioned is a codec with a name and a schema.
type versioned struct {
	jsonish
	name, schema string
}

func (v versioned) Name() string { return v.name }

// schemed has a schema as well.
type schemed struct{ versioned }

func (s schemed) Schema(reflect.Type) string { return s.schema }

// gobbed is another codec type of the same format as jsonish.
type gobbed struct{ jsonish }

// Two versions of a program share entries if what they say of them is the same, whatever
// Go types they have; and otherwise not.
func TestVersionsShareEntriesByWhatTheySayOfThem(t *testing.T) {
	type (
		v1 struct{ Name string }
		v2 struct {
			Name string
			More int
		}
	)
	const shared, apart = true, false
	f := embeddedFleet(t, nil)
	write, read := f.process(), f.process()
	n := 0
	for name, c := range map[string]struct {
		old, new []tier.CacheOption
		shared   bool
	}{
		"an added field":         {nil, nil, apart},
		"one schema":             {[]tier.CacheOption{tier.WithSchema("s")}, []tier.CacheOption{tier.WithSchema("s")}, shared},
		"two schemas":            {[]tier.CacheOption{tier.WithSchema("s")}, []tier.CacheOption{tier.WithSchema("t")}, apart},
		"one version's schema":   {nil, []tier.CacheOption{tier.WithSchema("s")}, apart},
		"codec":                  {[]tier.CacheOption{tier.WithCodec(jsonish{})}, []tier.CacheOption{tier.WithCodec(jsonish{})}, apart}, // two names
		"codec and schema":       {[]tier.CacheOption{tier.WithCodec(jsonish{}), tier.WithSchema("s")}, []tier.CacheOption{tier.WithCodec(jsonish{}), tier.WithSchema("s")}, shared},
		"two codecs":             {[]tier.CacheOption{tier.WithCodec(jsonish{}), tier.WithSchema("s")}, []tier.CacheOption{tier.WithCodec(gobbed{}), tier.WithSchema("s")}, apart},
		"JSON and a codec":       {[]tier.CacheOption{tier.WithSchema("s")}, []tier.CacheOption{tier.WithCodec(jsonish{}), tier.WithSchema("s")}, apart},
		"codecs' names":          {[]tier.CacheOption{tier.WithCodec(versioned{name: "a"}), tier.WithSchema("s")}, []tier.CacheOption{tier.WithCodec(versioned{name: "b"}), tier.WithSchema("s")}, apart},
		"codecs' schema":         {[]tier.CacheOption{tier.WithCodec(schemed{versioned{name: "a", schema: "s"}})}, []tier.CacheOption{tier.WithCodec(schemed{versioned{name: "a", schema: "s"}})}, shared},
		"codecs' other schema":   {[]tier.CacheOption{tier.WithCodec(schemed{versioned{name: "a", schema: "s"}})}, []tier.CacheOption{tier.WithCodec(schemed{versioned{name: "a", schema: "t"}})}, apart},
		"schema beats codec's":   {[]tier.CacheOption{tier.WithSchema("x"), tier.WithCodec(schemed{versioned{name: "a", schema: "s"}})}, []tier.CacheOption{tier.WithSchema("x"), tier.WithCodec(schemed{versioned{name: "a", schema: "t"}})}, shared},
		"another type, one name": {[]tier.CacheOption{tier.WithCodec(versioned{name: "same"}), tier.WithSchema("s")}, []tier.CacheOption{tier.WithCodec(schemed{versioned{name: "same"}}), tier.WithSchema("s")}, shared},
	} {
		n++
		ns := fmt.Sprint("ns", n)
		require.NoError(t, view[v1](t, write, ns, c.old...).Set(t.Context(), "k", v1{"stored"}))
		r := find(t, view[v2](t, read, ns, c.new...), "k", is(v2{Name: "loaded"}))
		if want := map[bool]string{true: "stored", false: "loaded"}[c.shared]; r.Value.Name != want {
			t.Errorf("%s: %s, want %s", name, r.Value.Name, want)
		}
	}
}

// renamed types of one structure share entries, unless a codec goes by the name.
func TestAnOptionThatNamesTheSchemaIsChecked(t *testing.T) {
	s := embeddedFleet(t, nil).process()
	_, err := tier.New[string](s, "a", tier.WithSchema(""))
	require.ErrorContains(t, err, "WithSchema: the name is empty")
	_, err = tier.New[string](s, "a", tier.WithSchema("x"), tier.WithLocalOnly())
	require.ErrorContains(t, err, "WithLocalOnly excludes WithSchema")
	one := view[string](t, s, "b", tier.WithSchema("x"))
	_, err = tier.New[string](s, "b", tier.WithSchema("y"))
	require.ErrorContains(t, err, `WithSchema("x")`)
	require.ErrorContains(t, err, `WithSchema("y")`)
	require.NoError(t, one.Set(t.Context(), "k", "v"))
}

// An error of Unmarshal is a damaged entry: the fingerprint says that it was to be read.
func TestWhatACodecCannotReadIsDamaged(t *testing.T) {
	onEachRemote(t, func(t *testing.T, f *fleet) {
		sa, sb := f.process(), f.process()
		codec := tier.WithCodec(failing{})
		require.NoError(t, view[string](t, sa, "docs", codec).Set(t.Context(), "k", "v"))
		f.sync()
		require.Equal(t, "w", find(t, view[string](t, sb, "docs", codec), "k", is("w")).Value)
		require.EqualValues(t, 1, sb.Stats().RemoteMisses[tier.Damaged])
		require.Zero(t, sb.Stats().RemoteMisses[tier.OtherType])
	})
}

type failing struct{ jsonish }

func (failing) Unmarshal([]byte, any) error { return errors.New("cannot read it") }

// BenchmarkEncode sets values in process, so that encoding them is most of the work.
func BenchmarkEncode(b *testing.B) {
	s, err := tier.Open(b.Context())
	require.NoError(b, err)
	defer s.Close()
	plain, loose := plainDoc(), looseDoc()
	b.Run("plain", func(b *testing.B) {
		c, err := tier.New[doc](s, "plain")
		require.NoError(b, err)
		b.ReportAllocs()
		for b.Loop() {
			if err := c.Set(b.Context(), "k", plain); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("any", func(b *testing.B) {
		c, err := tier.New[map[string]any](s, "any")
		require.NoError(b, err)
		b.ReportAllocs()
		for b.Loop() {
			if err := c.Set(b.Context(), "k", loose); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("hit", func(b *testing.B) {
		c, err := tier.New[doc](s, "plain")
		require.NoError(b, err)
		require.NoError(b, c.Set(b.Context(), "k", plain))
		b.ReportAllocs()
		for b.Loop() {
			if _, err := c.Get(b.Context(), "k", unneeded[doc], tier.NoLocal()); err != nil {
				b.Fatal(err)
			}
		}
	})
}

type doc struct {
	ID    int64
	Title string
	Tags  []string
	Parts []part
	At    time.Time
}

type part struct {
	Text  string
	Score float64
	Links map[string]string
}

func plainDoc() doc {
	d := doc{ID: 7, Title: "a title of some length", Tags: []string{"one", "two", "three"}, At: time.Unix(1e9, 0)}
	for i := range 20 {
		d.Parts = append(d.Parts, part{Text: fmt.Sprint("lorem ipsum dolor sit amet ", i), Score: float64(i) / 7, Links: map[string]string{"next": "/a", "prev": "/b"}})
	}
	return d
}

func looseDoc() map[string]any {
	m := map[string]any{"id": 7.0, "title": "a title of some length"}
	var parts []any
	for i := range 20 {
		parts = append(parts, map[string]any{"text": fmt.Sprint("lorem ipsum dolor sit amet ", i), "score": float64(i) / 7, "links": map[string]any{"next": "/a", "prev": "/b"}})
	}
	m["parts"] = parts
	return m
}
