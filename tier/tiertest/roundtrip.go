package tiertest

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"testing"

	"github.com/tiercache/tiercache/tier"
)

// RoundTrip stores each value through c and reads it from the remote tier. It fails the test if a value cannot be stored, or comes
// back as another, and names the part that differs. Types with a method Equal are compared by that, as a time.Time is; of other
// packages' types only exported fields are compared. c must not be local only. The keys that it writes begin with "tiertest:", and
// are deleted again.
func RoundTrip[V any](t testing.TB, c *tier.Cache[V], values ...V) {
	t.Helper()
	ctx := context.Background()
	for i, want := range values {
		key := fmt.Sprintf("tiertest:%d", i)
		if err := c.Set(ctx, key, want); err != nil {
			t.Errorf("value %d cannot be stored: %v", i, err)
			continue
		}
		r, err := c.Lookup(ctx, key, func(context.Context, *tier.Entry) (V, error) {
			var zero V
			return zero, errNotStored
		}, tier.NoLocal())
		if err != nil {
			t.Errorf("value %d cannot be read: %v", i, err)
			continue
		}
		if r.Origin != tier.Remote {
			t.Fatalf("values do not come from the remote tier: a view that is local only encodes nothing")
		}
		got := r.Value
		if where, what := difference(reflect.ValueOf(&want).Elem(), reflect.ValueOf(&got).Elem(), nil); what != "" {
			t.Errorf("value %d comes back as another: %T%s %s", i, want, where, what)
		}
		if err := c.Delete(ctx, key); err != nil {
			t.Errorf("value %d: %v", i, err)
		}
	}
}

var errNotStored = errors.New("what was set is not there: is the view local only, or the stored value damaged?")

type visited struct {
	a, b uintptr
	t    reflect.Type
}

// difference returns the first part in which a and b differ, and how; what is empty if there is none.
func difference(a, b reflect.Value, above []visited) (where, what string) {
	t := a.Type()
	if same, ok := equalByMethod(a, b); ok {
		if same {
			return "", ""
		}
		return "", "is not Equal"
	}
	switch t.Kind() {
	case reflect.Pointer, reflect.Interface, reflect.Map, reflect.Slice:
		if a.IsNil() != b.IsNil() {
			return "", fmt.Sprintf("is nil or not: stored %v, read %v", a.IsNil(), b.IsNil())
		}
		if a.IsNil() {
			return "", ""
		}
	}
	switch t.Kind() {
	case reflect.Pointer:
		v := visited{a.Pointer(), b.Pointer(), t}
		if slices.Contains(above, v) {
			return "", ""
		}
		return difference(a.Elem(), b.Elem(), append(above, v))
	case reflect.Interface:
		if a.Elem().Type() != b.Elem().Type() {
			return "", fmt.Sprintf("has a %v, and comes back with a %v", a.Elem().Type(), b.Elem().Type())
		}
		return difference(a.Elem(), b.Elem(), above)
	case reflect.Slice, reflect.Array:
		if a.Len() != b.Len() {
			return "", fmt.Sprintf("has %d elements, and comes back with %d", a.Len(), b.Len())
		}
		for i := range a.Len() {
			if where, what := difference(a.Index(i), b.Index(i), above); what != "" {
				return fmt.Sprintf("[%d]%s", i, where), what
			}
		}
	case reflect.Map:
		if a.Len() != b.Len() {
			return "", fmt.Sprintf("has %d keys, and comes back with %d", a.Len(), b.Len())
		}
		for _, k := range a.MapKeys() {
			v := b.MapIndex(k)
			if !v.IsValid() {
				return fmt.Sprintf("[%v]", k), "does not come back"
			}
			if where, what := difference(a.MapIndex(k), v, above); what != "" {
				return fmt.Sprintf("[%v]%s", k, where), what
			}
		}
	case reflect.Struct:
		_, isMessage := reflect.PointerTo(t).MethodByName("ProtoReflect")
		for i := range t.NumField() {
			f := t.Field(i)
			if f.Tag.Get("json") == "-" || !f.IsExported() && (isMessage || !a.CanInterface()) {
				continue
			}
			if where, what := difference(a.Field(i), b.Field(i), above); what != "" {
				return "." + f.Name + where, what
			}
		}
	case reflect.Func, reflect.Chan, reflect.UnsafePointer:
		if a.Pointer() != b.Pointer() {
			return "", "is another"
		}
	default:
		if !a.Equal(b) && !(a.CanFloat() && a.Float() != a.Float() && b.Float() != b.Float()) {
			return "", fmt.Sprintf("is %v, and comes back as %v", a, b)
		}
	}
	return "", ""
}

// equalByMethod compares with a method Equal of the type.
func equalByMethod(a, b reflect.Value) (same, ok bool) {
	if !a.CanInterface() || a.Kind() == reflect.Pointer && (a.IsNil() || b.IsNil()) || a.Kind() == reflect.Interface {
		return false, false
	}
	m := a.MethodByName("Equal")
	if !m.IsValid() || m.Type().NumIn() != 1 || m.Type().In(0) != a.Type() || m.Type().NumOut() != 1 || m.Type().Out(0).Kind() != reflect.Bool {
		return false, false
	}
	return m.Call([]reflect.Value{b})[0].Bool(), true
}
