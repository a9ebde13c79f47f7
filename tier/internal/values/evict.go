package values

import (
	"fmt"
	"reflect"

	"github.com/tiercache/tiercache/local"
	"github.com/tiercache/tiercache/tier/internal/config"
	"github.com/tiercache/tiercache/tier/internal/record"
)

// LeftFuncOf returns what is called for items of V that have left the local tier; nil if nothing is.
func LeftFuncOf[V any](cfg *config.Cache) (record.LeftFunc, error) {
	if cfg.OnEvict == nil {
		return nil, nil
	}
	f, ok := cfg.OnEvict.(func(string, V, local.Reason))
	if !ok {
		return nil, fmt.Errorf("WithOnEvict has a %T, which is not told of values of type %v", cfg.OnEvict, reflect.TypeFor[V]())
	}
	return func(it *record.Item, why local.Reason) { f(it.Key, *record.ValueIn[V](it), why) }, nil
}
