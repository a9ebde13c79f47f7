// Package examples holds programs that use tiercache:
//
//	go run ./examples/docsearch
//
// The package itself is empty. It keeps `go build ./...` in this module from taking the one program
// for its result and writing it here.
package examples
