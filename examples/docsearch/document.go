package main

// Document is the documentation of one package or of one exported symbol. It is never modified: an
// edit replaces it, so a reader that holds one is not disturbed.
type Document struct {
	ID      string // "net/http", "net/http.Server", "net/http.Server.Shutdown"
	Package string // "net/http"
	Kind    string // "package", "const", "var", "func", "type" or "method"
	Text    string // one line per paragraph; a line that starts with a tab is code
}
