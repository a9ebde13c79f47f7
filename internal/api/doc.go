// Package api reads the exported names of packages, in the manner of the files in
// Go's own api folder, for the test that compares them with api/*.txt.
package api
