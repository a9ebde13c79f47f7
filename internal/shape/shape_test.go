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
	secret         string
	generic[T any] struct{ X T }
)

func shapeOf(t *testing.T, v any) uint64 {
	t.Helper()
	j, err := JSONOf(reflect.TypeOf(v))
	require.NoError(t, err, "%T", v)
	return j.Shape()
}

func TestTypesInWhichJSONSeesTheSameShareAShape(t *testing.T) {
	for _, pair := range [][2]any{
		{struct{ X int }{}, inner{}},
		{[]inner{}, []struct{ X int }{}},
		{list{}, otherList{}},
		{map[string][]int{}, map[string][]int{}},
		{secret(""), ""},
		{struct{ Embedded }{}, inner{}},
		{struct {
			X int
			c chan int `json:"-"`
		}{}, inner{}},
		{struct {
			Y int `json:"X,omitempty" yaml:"y"`
		}{}, inner{}},
		{struct{ A, B int }{}, struct{ B, A int }{}},
	} {
		require.Equal(t, shapeOf(t, pair[0]), shapeOf(t, pair[1]), "%T and %T", pair[0], pair[1])
	}
}

func TestTypesInWhichJSONSeesSomethingElseDoNot(t *testing.T) {
	seen := make(map[uint64]reflect.Type)
	for _, v := range []any{
		0, int64(0), uint(0), "", 1.5, true, []byte(nil), []int(nil), [3]int{}, [4]int{}, [3]string{}, map[string]int{}, map[int]string{},
		inner{}, &inner{}, []inner{}, struct{ Y int }{}, struct{ X int64 }{}, struct{ X *int }{}, struct {
			X int `json:"y"`
		}{}, struct {
			X int `json:",string"`
		}{}, struct{ X, Y int }{}, list{}, tree{}, time.Time{}, &time.Time{}, int32(0),
		struct{ Embedded Embedded }{},
		struct {
			A inner
			X int
		}{}, struct{ A struct{ X, Y int } }{}, map[time.Time]int{}, [3]byte{},
	} {
		typ, shape := reflect.TypeOf(v), shapeOf(t, v)
		require.NotContains(t, seen, shape, "%v looks like %v", typ, seen[shape])
		seen[shape] = typ
	}
}

func TestTheNameOfATypeIsNothingOfWhatItConsistsOf(t *testing.T) {
	const here = "github.com/tiercache/tiercache/internal/shape."
	for want, v := range map[string]any{
		here + "inner": inner{}, "*" + here + "inner": &inner{}, "[]*" + here + "tree": []*tree{}, "map[string][2]" + here + "list": map[string][2]list{},
		"time.Time": time.Time{}, "string": "", "[]uint8": []byte{}, here + "generic[" + here + "inner]": generic[inner]{},
		"struct { A int }": struct{ A int }{},
	} {
		require.Equal(t, want, Name(reflect.TypeOf(v)))
	}
}
