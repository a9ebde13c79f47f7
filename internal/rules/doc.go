// Package rules has nothing but tests, of what the documents say: that docs/rules.md and
// the code name the same rules and invariants, and what the page says of functions and
// tests exists; that links lead somewhere; that the files of the engine stand in the layers
// that its page lists; that the README's table of dependencies, the index of decisions and
// the picture of the packages are those of the repository.
package rules
