// Package rules has nothing but tests: that docs/rules.md and the code name the same
// rules and invariants, and that what the page says of functions and tests exists.
package rules
