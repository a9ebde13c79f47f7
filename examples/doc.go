// Package examples holds programs that use tiercache:
//
//	go run ./examples/docsearch
//	go run ./examples/readme     with a server on 127.0.0.1:6379
//
// The package itself is empty. It keeps `go build ./...` in this module from taking a program for its
// result and writing it here.
package examples
