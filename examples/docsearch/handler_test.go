package main

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// client asks a service over HTTP.
type client struct {
	t *testing.T
	h http.Handler
}

func newClient(t *testing.T) client { return client{t, newHandler(openService(t))} }

func (c client) do(method, target, body string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	c.h.ServeHTTP(w, httptest.NewRequest(method, target, strings.NewReader(body)))
	return w
}

func (c client) ask(q Question, replica string) *httptest.ResponseRecorder {
	w := c.do("GET", "/ask?replica="+replica+"&q="+url.QueryEscape(q.Text), "")
	require.Equal(c.t, http.StatusOK, w.Code, w.Body)
	return w
}

func (c client) origins(q Question) string {
	return c.ask(q, "1").Header().Get("X-Cache-Origin") + " " + c.ask(q, "2").Header().Get("X-Cache-Origin")
}

func TestHeadersSayWhereAnAnswerCameFrom(t *testing.T) {
	c := newClient(t)
	assert.Equal(t, "loaded remote", c.origins(questions[0]))
	c.origins(questions[0]) // see tour.warm
	assert.Equal(t, "local local", c.origins(questions[0]))
	header := c.ask(questions[0], "2").Header()
	assert.Equal(t, "2", header.Get("X-Cache-Replica"))
	assert.Contains(t, header.Get("X-Cache-Sources"), "net/http.Server.Shutdown, ")
	for _, name := range []string{"X-Cache-Age", "X-Cache-TTL"} {
		seconds, err := strconv.ParseFloat(header.Get(name), 64)
		require.NoError(t, err, name)
		assert.GreaterOrEqual(t, seconds, 0.0, name)
	}
}

func TestEditsAndInvalidationsOverHTTP(t *testing.T) {
	c := newClient(t)
	q := questions[0]
	warm := func() { c.origins(q); c.origins(questions[1]) }
	for _, change := range []struct{ method, target, body string }{
		{"POST", "/docs/net/http.Server.Shutdown", added},
		{"PUT", "/docs/net/http.Server.Shutdown", added},
		{"POST", "/invalidate/source/net/http.Server.Shutdown", ""},
		{"POST", "/invalidate/namespace/docs:go:net", ""},
		{"POST", "/invalidate/all", ""},
	} {
		warm()
		w := c.do(change.method, change.target+"?replica=1", change.body)
		require.Equal(t, http.StatusOK, w.Code, w.Body)
		// Fresh in the replica that was told; the other follows within a push, so it is not asked.
		w = c.ask(q, "1")
		assert.Equal(t, "loaded", w.Header().Get("X-Cache-Origin"), change.target)
		assert.Contains(t, w.Body.String(), added)
		other := "local"
		if change.target == "/invalidate/all" {
			other = "loaded"
		}
		assert.Equal(t, other, c.ask(questions[1], "1").Header().Get("X-Cache-Origin"), change.target)
	}
	assert.JSONEq(t, `{"id": "net/http.Server.Shutdown", "kind": "method", "text": "`+added+`"}`,
		c.do("GET", "/docs/net/http.Server.Shutdown", "").Body.String())
}

func TestBadRequests(t *testing.T) {
	c := newClient(t)
	for _, r := range []struct {
		method, target, body string
		status               int
		says                 string
	}{
		{"GET", "/ask", "", 400, "want a question"},
		{"GET", "/ask?q=" + strings.Repeat("x", maxQuestion+1), "", 400, "want a question"},
		{"GET", "/ask?q=x&replica=3", "", 400, "no replica"},
		{"GET", "/ask?q=zxqy", "", 404, "no answer"},
		{"GET", "/docs/nothing", "", 404, "no document"},
		{"PUT", "/docs/nothing", "x", 404, "no document"},
		{"PUT", "/docs/net/http", strings.Repeat("x", maxDocument+1), 400, "too large"},
		{"POST", "/invalidate/all?replica=x", "", 400, "no replica"},
		{"POST", "/invalidate/namespace/", "", 400, "namespace"},
		{"POST", "/ask", "", 405, ""},
	} {
		w := c.do(r.method, r.target, r.body)
		assert.Equal(t, r.status, w.Code, r.target)
		assert.Contains(t, w.Body.String(), r.says, r.target)
	}
	assert.Equal(t, "loaded", c.do("GET", "/ask?q=flobbert", "").Header().Get("X-Cache-Origin"))
	assert.Equal(t, "cached", c.do("GET", "/ask?q=flobbert", "").Header().Get("X-Cache-Origin"), "not found is an answer")
}

func TestOtherSitesCannotEdit(t *testing.T) {
	c := newClient(t)
	r := httptest.NewRequest("POST", "/invalidate/all", nil)
	r.Header.Set("Sec-Fetch-Site", "cross-site")
	w := httptest.NewRecorder()
	c.h.ServeHTTP(w, r)
	assert.Equal(t, http.StatusForbidden, w.Code)
}

func TestPage(t *testing.T) {
	c := newClient(t)
	assert.Contains(t, c.do("GET", "/", "").Body.String(), "Ask replica 2")
	w := c.do("GET", "/?replica=2&q="+url.QueryEscape(questions[0].Text), "")
	assert.Contains(t, w.Body.String(), "Shutdown gracefully shuts down")
	assert.Equal(t, "loaded", w.Header().Get("X-Cache-Origin"))
	w = c.do("GET", "/?q=%3Cscript%3E", "")
	assert.NotContains(t, w.Body.String(), "<script>")
	assert.Contains(t, w.Body.String(), "has no answer")
}

func TestStats(t *testing.T) {
	c := newClient(t)
	c.origins(questions[0])
	w := c.do("GET", "/stats", "")
	assert.Equal(t, http.StatusOK, w.Code)
	assert.Contains(t, w.Body.String(), `"loads": 1`)
}

func TestThePageOfEachReplicasCache(t *testing.T) {
	c := newClient(t)
	assert.Contains(t, c.do("GET", "/", "").Body.String(), `href="/debug/tiercache/2/"`)
	for _, replica := range []string{"1", "2"} {
		w := c.do("GET", "/debug/tiercache/"+replica+"/", "")
		assert.Equal(t, http.StatusOK, w.Code)
		assert.Contains(t, w.Header().Get("Content-Security-Policy"), "default-src 'none'")
	}
	assert.Equal(t, http.StatusNotFound, c.do("GET", "/debug/tiercache/3/", "").Code)
}
