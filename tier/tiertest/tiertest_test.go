package tiertest_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/tier"
	"github.com/tiercache/tiercache/tier/tiertest"
)

// recorder is a testing.TB that keeps what a test is failed with.
type recorder struct {
	testing.TB
	errors   []string
	cleanups []func()
}

func (r *recorder) Helper()                   {}
func (r *recorder) Errorf(f string, a ...any) { r.errors = append(r.errors, fmt.Sprintf(f, a...)) }
func (r *recorder) Fatalf(f string, a ...any) { r.Errorf(f, a...) }
func (r *recorder) Cleanup(f func())          { r.cleanups = append(r.cleanups, f) }
func (r *recorder) said() (all string)        { return strings.Join(r.errors, "\n") }

func open(t *testing.T) *tier.Store {
	s, err := tier.Open(t.Context(), tier.WithRemoteTimeout(10*time.Second))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

func view[V any](t *testing.T, s *tier.Store, options ...tier.CacheOption) *tier.Cache[V] {
	c, err := tier.New[V](s, "docs", options...)
	require.NoError(t, err)
	return c
}

type document struct {
	Title string
	At    time.Time
	Tags  map[string][]string
	Next  *document
	Any   any
}

func TestValuesThatComeBackPass(t *testing.T) {
	tiertest.RoundTrip(t, view[*document](t, open(t)), nil, &document{}, &document{
		Title: "t", At: time.Now(), Tags: map[string][]string{"a": {"b"}, "c": {}}, Next: &document{Any: []any{1.5, "x", nil}}})
	tiertest.RoundTrip(t, view[string](t, open(t)), "", "text", "\xff")
	tiertest.RoundTrip(t, view[[]byte](t, open(t)), nil, []byte{}, []byte("x"))
}

// forgetful is a codec that loses a part of what it is given.
type forgetful struct{}

func (forgetful) Marshal(v any) ([]byte, error) {
	d := v.(document)
	d.Title = strings.ToLower(d.Title)
	if d.Next != nil {
		d.Next = &document{Title: d.Next.Title}
	}
	return json.Marshal(d)
}
func (forgetful) Unmarshal(b []byte, v any) error { return json.Unmarshal(b, v) }

func TestValuesThatComeBackAsOthersFailByTheirPath(t *testing.T) {
	c := view[document](t, open(t), tier.WithCodec(forgetful{}))
	for want, v := range map[string]document{
		"tiertest_test.document.Title is TEXT, and comes back as text": {Title: "TEXT"},
		".Next.At is not Equal":                         {Next: &document{At: time.Unix(5, 0)}},
		".Next.Tags is nil or not":                      {Next: &document{Tags: map[string][]string{}}},
		".Any has a int, and comes back with a float64": {Any: 1},
		".Tags[a][1] is \xff":                           {Tags: map[string][]string{"a": {"", "\xff"}}},
	} {
		r := &recorder{TB: t}
		tiertest.RoundTrip(r, c, v)
		require.Contains(t, r.said(), want)
		require.Len(t, r.errors, 1)
	}
	r := &recorder{TB: t}
	tiertest.RoundTrip(r, view[map[string]any](t, open(t)), map[string]any{"b": []byte{}})
	require.Contains(t, r.said(), "cannot be stored")
	r = &recorder{TB: t}
	tiertest.RoundTrip(r, view[string](t, open(t), tier.WithLocalOnly()), "x")
	require.Contains(t, r.said(), "local only")
}

// Each way to a shared value, and to modify it.
func TestAModifiedValueIsFoundAtTheNextHit(t *testing.T) {
	load := func(context.Context, *tier.Entry) (*document, error) {
		return &document{Title: "loaded", Tags: map[string][]string{}}, nil
	}
	for name, modify := range map[string]func(c *tier.Cache[*document]){
		"what Get returned": func(c *tier.Cache[*document]) {
			v, _ := c.Get(t.Context(), "k", load)
			v.Title = "modified"
		},
		"what a hit returned": func(c *tier.Cache[*document]) {
			_, _ = c.Get(t.Context(), "k", load)
			v, _ := c.Get(t.Context(), "k", load)
			v.Tags["new"] = nil
		},
		"what was set": func(c *tier.Cache[*document]) {
			v := &document{Title: "set"}
			_ = c.Set(t.Context(), "k", v)
			v.Next = &document{}
		},
		"what GetMany returned": func(c *tier.Cache[*document]) {
			all, _ := c.GetMany(t.Context(), []string{"k"}, func(ctx context.Context, _ []string, _ tier.Entries) (map[string]*document, error) {
				v, err := load(ctx, nil)
				return map[string]*document{"k": v}, err
			})
			all["k"].Title = ""
		},
	} {
		t.Run(name, func(t *testing.T) {
			for _, options := range [][]tier.CacheOption{nil, {tier.WithLocalOnly()}} {
				s, r := open(t), &recorder{TB: t}
				before := view[*document](t, s) // made before: not compared
				_ = before
				tiertest.FindModified(r)
				c, err := tier.New[*document](s, "compared", options...)
				require.NoError(t, err)
				modify(c)
				_, err = c.Get(t.Context(), "k", load)
				require.NoError(t, err)
				require.Contains(t, r.said(), `namespace "compared", key "k": the value was modified`)
				_, err = c.Get(t.Context(), "k", load)
				require.NoError(t, err)
				require.Len(t, r.errors, 1, "once")
				r.cleanups[0]()
			}
		})
	}
}

func TestValuesThatAreOnlyReadPass(t *testing.T) {
	tiertest.FindModified(t)
	c := view[*document](t, open(t))
	for range 3 {
		_, err := c.Get(t.Context(), "k", func(context.Context, *tier.Entry) (*document, error) {
			return &document{Tags: map[string][]string{"a": nil, "b": nil, "c": nil}}, nil
		})
		require.NoError(t, err)
	}
	_, err := c.Get(t.Context(), "none", func(context.Context, *tier.Entry) (*document, error) { return nil, tier.ErrNotFound })
	require.ErrorIs(t, err, tier.ErrNotFound)
}
