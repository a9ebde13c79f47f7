package search

import (
	"fmt"
	"reflect"
)

// AllOf returns a G, a struct of guards that are fields of type bool, with every
// guard in its place.
func AllOf[G any]() G {
	var g G
	v := reflect.ValueOf(&g).Elem()
	for i := range v.NumField() {
		v.Field(i).SetBool(true)
	}
	return g
}

// Without returns a G with every guard in its place but those that are named.
func Without[G any](names ...string) G {
	g := AllOf[G]()
	v := reflect.ValueOf(&g).Elem()
	for _, name := range names {
		f := v.FieldByName(name)
		if !f.IsValid() {
			panic(fmt.Sprintf("search: %v has no guard %q", v.Type(), name))
		}
		f.SetBool(false)
	}
	return g
}
