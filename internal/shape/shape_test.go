package shape

import (
	"reflect"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

type (
	inner    struct{ X int }
	Embedded struct{ X int }
	list     struct {
		Value int
		Next  *list
	}
	otherList struct {
		Value int
		Next  *otherList
	}
	tree struct {
		Value int
		Left  *tree
		Right []tree
		Names map[string]*tree
	}
	secret string
)

func TestTypesOfOneStructureShareAShape(t *testing.T) {
	for _, pair := range [][2]any{
		{struct{ X int }{}, inner{}}, {[]inner{}, []struct{ X int }{}}, {list{}, otherList{}},
		{map[string][]int{}, map[string][]int{}}, {secret(""), ""},
	} {
		require.Equal(t, Of(reflect.TypeOf(pair[0])), Of(reflect.TypeOf(pair[1])), "%T and %T", pair[0], pair[1])
	}
}

func TestTypesOfDifferentStructureDoNot(t *testing.T) {
	seen := make(map[uint64]reflect.Type)
	for _, v := range []any{
		0, int64(0), uint(0), "", 1.5, true, []byte(nil), []int(nil), [3]int{}, [4]int{}, [3]string{}, map[string]int{}, map[int]string{},
		inner{}, &inner{}, []inner{}, struct{ Y int }{}, struct{ X int64 }{}, struct{ X *int }{}, struct {
			X int `json:"y"`
		}{}, struct{ X, Y int }{}, list{}, tree{}, time.Time{}, &time.Time{}, time.Duration(0),
		struct{ Embedded }{}, struct{ Embedded Embedded }{}, // one is flattened by JSON, the other is not
		struct {
			A inner
			X int
		}{}, struct{ A struct{ X, Y int } }{},
	} {
		typ := reflect.TypeOf(v)
		if typ == reflect.TypeFor[time.Duration]() {
			typ = reflect.TypeFor[int32]()
		}
		require.NotContains(t, seen, Of(typ), "%v looks like %v", typ, seen[Of(typ)])
		seen[Of(typ)] = typ
	}
}

func TestWhatJSONLosesIsNamed(t *testing.T) {
	for want, v := range map[string]any{
		"chan":         struct{ C chan int }{},
		".F is a func": struct{ F func() }{},
		".A.C": struct {
			A []map[string]struct{ C complex128 }
		}{},
		".x is not exp":  reflect.ValueOf(struct{ X, x int }{X: 1, x: 2}).Interface(),
		"key":            map[inner]string{},
		".M":             struct{ M map[float64]int }{},
		".secret is not": struct{ secret }{},
	} {
		require.ErrorContains(t, CheckJSON(reflect.TypeOf(v)), want, "%T", v)
	}
	for _, v := range []any{
		0, "", inner{}, list{}, tree{}, time.Time{}, []byte(nil), map[string]any{}, map[int]string{}, map[secret]int{}, map[time.Time]int{},
		struct {
			c chan int `json:"-"`
			X int
		}{}, struct{ inner }{}, struct{ Embedded }{}, struct{ _ int }{},
	} {
		require.NoError(t, CheckJSON(reflect.TypeOf(v)), "%T", v)
	}
}
