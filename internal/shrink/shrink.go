// Package shrink gives back the memory of maps that were much larger once: a map keeps what it needed at its largest.
package shrink

import "maps"

// least is the number of keys below which no map is worth it.
const least = 1024

// Peak is the most keys that a map had lately.
type Peak int

// AfterDelete is called with a map after a key was deleted from it, and returns that map or a smaller copy to go on with.
func AfterDelete[K comparable, V any](m map[K]V, peak *Peak) map[K]V {
	if n := Peak(len(m) + 1); n > *peak {
		*peak = n
	}
	if *peak < least || len(m) > int(*peak)/4 {
		return m
	}
	*peak = Peak(len(m))
	smaller := make(map[K]V, len(m))
	maps.Copy(smaller, m)
	return smaller
}
