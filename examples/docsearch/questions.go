package main

import "slices"

// Question is asked in an area of the documentation, which is a namespace of the cache: docs:go:net
// can be invalidated alone, or with its siblings as docs:go.
type Question struct {
	Area string
	Text string
}

// questions are the tour's, the popular first.
var questions = []Question{
	{"net", "How do I shut down a server without interrupting connections?"},
	{"sync", "How do I wait for a group of goroutines to finish?"},
	{"context", "When is the Done channel of a context closed?"},
	{"time", "How do I parse a time with a layout?"},
	{"errors", "How do I find an error of a given type in an error tree?"},
	{"encoding", "How do I append indented JSON to a buffer?"},
	{"strings", "How do I split a string around a separator?"},
	{"os", "How do I read a whole file?"},
	{"sync", "What must not be copied after first use in a Mutex?"},
	{"io", "How do I copy from src to dst until EOF is reached?"},
	{"net", "How do I dial and connect to an address on a named network?"},
	{"sort", "How do I sort a slice in a stable order?"},
	{"testing", "How do I run a test in parallel with other tests?"},
	{"fmt", "How do I scan formatted input?"},
	{"net", "What is the policy of the HTTP Client for redirects?"},
	{"regexp", "How do I replace matches of the Regexp with a replacement string?"},
	{"log", "Which Logger includes the given attributes in each output operation?"},
	{"bufio", "How do I read lines with a Scanner and its split function?"},
	{"time", "How do I stop a ticker?"},
	{"crypto", "How do I make an HMAC hash with a key?"},
	{"database", "How do I start a transaction with BeginTx?"},
	{"os", "Where does MkdirTemp create a new temporary directory?"},
	{"html", "How do I escape special characters in HTML?"},
	{"math", "How do I get a pseudo-random number in the half-open interval?"},
	{"encoding", "Which base64 encoding is typically used in URLs?"},
	{"net", "How do I parse an IP address prefix?"},
	{"reflect", "How do I get the value of a key in a struct tag?"},
	{"runtime", "How do I force a garbage collection?"},
	{"path", "How do I walk a file tree?"},
	{"archive", "How do I add a file to a zip archive?"},
}

// unanswerable is a question that the documentation of Go has nothing on, and deprecated one whose
// answer is advice to use something else.
var (
	unanswerable = Question{otherArea, "How do I bake bread with a sourdough starter?"}
	deprecated   = Question{"io", "What replaces the deprecated ioutil ReadAll?"}
)

// areas lists the areas of the questions.
func areas() []string {
	all := []string{otherArea}
	for _, q := range questions {
		if !slices.Contains(all, q.Area) {
			all = append(all, q.Area)
		}
	}
	return all
}

// findArea files a question: one of the list under its area, any other under otherArea.
func findArea(text string) Question {
	asked := Question{otherArea, text}
	for _, q := range questions {
		if cacheKey(q) == cacheKey(asked) {
			return q
		}
	}
	return asked
}
