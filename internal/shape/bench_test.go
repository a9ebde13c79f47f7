package shape

import (
	"encoding/json"
	"fmt"
	"reflect"
	"testing"
)

// What the check takes beside the encoding.
func BenchmarkCheck(b *testing.B) {
	type part struct {
		Text  string
		Score float64
		Links map[string]string
	}
	type loose struct {
		Parts []part
		Tags  []string `json:",omitempty"`
		Meta  map[string]any
	}
	var parts []part
	var meta []any
	for i := range 20 {
		parts = append(parts, part{fmt.Sprint("lorem ipsum dolor sit amet ", i), float64(i) / 7, map[string]string{"next": "/a", "prev": "/b"}})
		meta = append(meta, map[string]any{"text": fmt.Sprint("lorem ipsum ", i), "score": float64(i) / 7, "links": map[string]any{"next": "/a"}})
	}
	for name, v := range map[string]any{
		"plain":     &struct{ Parts []part }{parts},
		"omitempty": &loose{Parts: parts, Tags: []string{"a"}},
		"any":       &loose{Meta: map[string]any{"parts": meta}},
	} {
		j, err := JSONOf(reflect.TypeOf(v).Elem())
		if err != nil {
			b.Fatal(err)
		}
		encoded, err := Marshal(v)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(name+"/check", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := j.Check(v, encoded); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(name+"/marshal", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := json.Marshal(v); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
