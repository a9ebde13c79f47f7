// Package compare tells whether tests look for values that are modified after they were given out.
package compare

import "sync/atomic"

// Report is told of a value that has been modified.
type Report func(namespace, key string)

var present atomic.Pointer[Report]

// Begin has views that are made from now on compare the values that they give out. end puts back what was before.
func Begin(r Report) (end func()) {
	before := present.Swap(&r)
	return func() { present.Store(before) }
}

// Present is what views made now report to; nil: they compare nothing.
func Present() Report {
	if r := present.Load(); r != nil {
		return *r
	}
	return nil
}
