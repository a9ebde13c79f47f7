package local_test

import (
	"fmt"

	"github.com/zeebo/xxh3"

	"github.com/tiercache/tiercache/local"
)

func key(s string) local.Key {
	h := xxh3.HashString128(s)
	return local.Key{Hi: h.Hi, Lo: h.Lo}
}

// A cache of two entries says which one had to go.
func Example() {
	names := map[local.Key]string{key("a"): "a", key("b"): "b", key("c"): "c"}
	c, err := local.New(local.Config[string]{
		MaxEntries: 2,
		OnRemove:   func(e *local.Entry[string], why local.Reason) { fmt.Println(names[e.Key()], why) },
	})
	if err != nil {
		panic(err)
	}
	c.Put(key("a"), "Ada", 3)
	c.Put(key("b"), "Bob", 3)
	c.Get(key("a"))
	c.Put(key("c"), "Cyd", 3)
	c.Put(key("a"), "Ann", 3)
	fmt.Println(c.Get(key("a")))
	// Output:
	// b evicted
	// a replaced
	// Ann true
}
