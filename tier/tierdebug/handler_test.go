package tierdebug_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/remote"
	"github.com/tiercache/tiercache/tier"
	"github.com/tiercache/tiercache/tier/tierdebug"
)

// hostile are names that would change the page if they were taken for markup, or hide what stands beside them.
var hostile = []string{
	`<script>document.title='owned'</script>`, `"><img src=x onerror=alert(1)>`, `</table><h1>owned</h1>`, "a\x00b\n\rdata: x\n\nevent: state\ndata: {}",
	"right\u202eto left", "\xff\xfe not UTF-8", "{{.Token}}", "line\u2028separator", strings.Repeat("long", 300), "plain",
}

func open(t *testing.T, options ...tier.Option) *tier.Store {
	t.Helper()
	s, err := tier.Open(t.Context(), append([]tier.Option{tier.WithPrefix("debug"), tier.WithRemoteTimeout(10 * time.Second)}, options...)...)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

func view(t *testing.T, s *tier.Store, path string) *tier.Cache[string] {
	t.Helper()
	c, err := tier.New[string](s, path)
	require.NoError(t, err)
	return c
}

func get(t *testing.T, c *tier.Cache[string], key string) {
	t.Helper()
	_, err := c.Get(t.Context(), key, func(_ context.Context, e *tier.Entry) (string, error) {
		e.DependsOn("doc-1")
		return "a value that is on no page", nil
	})
	require.NoError(t, err)
}

// serve mounts the page as users do.
func serve(t *testing.T, s *tier.Store, options ...tierdebug.Option) string {
	t.Helper()
	mux := http.NewServeMux()
	mux.Handle("/debug/tiercache/", tierdebug.New(s, options...))
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return server.URL + "/debug/tiercache/"
}

func fetch(t *testing.T, url string) (*http.Response, string) {
	t.Helper()
	r, err := http.Get(url)
	require.NoError(t, err)
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	require.NoError(t, err)
	return r, string(b)
}

func TestThePageShowsWhatTheStoreDoes(t *testing.T) {
	s := open(t)
	base := serve(t, s)
	c := view(t, s, "docs:technical")
	for i := range 20 {
		for range 3 {
			get(t, c, fmt.Sprint("key-", i%5))
		}
	}
	r, body := fetch(t, base+"state.json")
	require.Equal(t, 200, r.StatusCode, body)
	require.Equal(t, "application/json", r.Header.Get("Content-Type"))
	var state struct {
		Healthy bool
		Health  []struct{ Level, Text string }
		Local   struct{ Entries int }
		Hottest []struct {
			Namespace, Key string
			PerSecond      float64
		}
		Times      []struct{ What string }
		Namespaces []struct {
			Name           string
			Entries, Bytes int64
		}
		Totals []struct {
			What string
			N    int64
		}
	}
	require.NoError(t, json.Unmarshal([]byte(body), &state))
	require.True(t, state.Healthy)
	require.Equal(t, "Everything works.", state.Health[0].Text)
	require.Contains(t, state.Health[1].Text, "can be older than the truth by", "the bound now")
	require.Equal(t, 5, state.Local.Entries)
	require.Equal(t, "docs:technical", state.Namespaces[0].Name)
	require.EqualValues(t, 5, state.Namespaces[0].Entries)
	require.Positive(t, state.Namespaces[0].Bytes)
	require.NotEmpty(t, state.Hottest)
	require.NotEmpty(t, state.Times)
	require.Equal(t, int64(60), state.Totals[0].N)
	require.NotContains(t, body, "on no page", "values are not shown")
}

func TestThePageWorksUnderAnyPath(t *testing.T) {
	s := open(t)
	h := tierdebug.New(s)
	for at, handler := range map[string]http.Handler{
		"/": h, "/debug/tiercache/": h, "/a/b/c/": http.StripPrefix("/a/b/c", h), "/x/": http.StripPrefix("/x/", h),
	} {
		mux := http.NewServeMux()
		mux.Handle(at, handler)
		for name, kind := range map[string]string{"": "text/html", "app.js": "text/javascript", "style.css": "text/css", "icon.svg": "image/svg", "state.json": "application/json"} {
			w := httptest.NewRecorder()
			mux.ServeHTTP(w, httptest.NewRequest("GET", at+name, nil))
			require.Equal(t, 200, w.Code, at+name)
			require.Contains(t, w.Header().Get("Content-Type"), kind)
			require.Contains(t, w.Header().Get("Content-Security-Policy"), "default-src 'none'")
			require.Contains(t, w.Header().Get("Content-Security-Policy"), "frame-ancestors 'none'")
			require.NotContains(t, w.Header().Get("Content-Security-Policy"), "unsafe")
		}
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, httptest.NewRequest("GET", at+"page.html", nil))
		require.Equal(t, 404, w.Code)
	}
}

// TestNothingIsLoadedFromElsewhere: neither by the page nor by what it loads.
func TestNothingIsLoadedFromElsewhere(t *testing.T) {
	base := serve(t, open(t), tierdebug.WithActions())
	for _, name := range []string{"", "app.js", "style.css", "icon.svg"} {
		_, body := fetch(t, base+name)
		body = strings.ReplaceAll(body, "http://www.w3.org/2000/svg", "") // a name, which nothing fetches
		require.NotRegexp(t, `(?i)https?:|//[a-z]+\.|@import|url\(`, body, name)
		require.NotRegexp(t, `(?i)innerHTML|outerHTML|insertAdjacent|document\.write|\beval\b|style=|\son[a-z]+=`, body, name)
	}
}

func TestHostileNamesAreShownAndChangeNothing(t *testing.T) {
	s := open(t)
	base := serve(t, s)
	c := view(t, s, "docs")
	for _, name := range hostile {
		get(t, c, name)
		_, err := s.InvalidateSource(t.Context(), name)
		require.NoError(t, err)
	}
	events := readEvents(t, follow(t, base), 2)
	require.Equal(t, "state", events[0].name)
	require.Equal(t, "changes", events[1].name)
	for _, e := range events {
		require.NotContains(t, e.data, "<", "JSON escapes it, so that not even a browser that takes it for a page finds markup")
		require.True(t, json.Valid([]byte(e.data)))
	}
	require.Contains(t, events[0].data, `plain`)
	require.Contains(t, events[0].data, `right\\u202eto left`, "quoted")
	require.Contains(t, events[0].data, `… (1200 bytes)`)
}

type event struct{ name, data string }

func follow(t *testing.T, base string) *bufio.Scanner {
	t.Helper()
	r, err := http.Get(base + "events")
	require.NoError(t, err)
	t.Cleanup(func() { r.Body.Close() })
	require.Equal(t, "text/event-stream", r.Header.Get("Content-Type"))
	lines := bufio.NewScanner(r.Body)
	lines.Buffer(nil, 1<<20)
	return lines
}

// readEvents reads server-sent events.
func readEvents(t *testing.T, lines *bufio.Scanner, n int) (all []event) {
	t.Helper()
	var e event
	for len(all) < n && lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), ": ")
		switch name {
		case "event":
			e.name = value
		case "data":
			e.data = value
		case "":
			all, e = append(all, e), event{}
		default:
			t.Fatalf("the line %q is none of an event", lines.Text())
		}
	}
	require.Len(t, all, n, "the events ended: %v", lines.Err())
	return all
}

func TestAnOpenPageIsToldOfChanges(t *testing.T) {
	shared := tier.WithRemote(remote.NewEmbedded(0))
	s, other := open(t, shared), open(t, shared)
	base := serve(t, s)
	_, err := other.InvalidateNamespace(t.Context(), "before:the:page")
	require.NoError(t, err)
	events := follow(t, base)
	require.Contains(t, readEvents(t, events, 2)[1].data, "before:the:page")
	_, err = other.InvalidateAll(t.Context())
	require.NoError(t, err)
	_, err = other.InvalidateSource(t.Context(), "doc-7")
	require.NoError(t, err)
	for seen := ""; !strings.Contains(seen, "doc-7"); {
		e := readEvents(t, events, 1)[0]
		if seen += e.data; e.name == "changes" && strings.Contains(e.data, "doc-7") {
			require.Contains(t, seen, "everything")
		} else if e.name == "state" {
			require.NotContains(t, e.data, `"history"`, "only the first has it")
		}
	}
}

func TestEventsEndWithTheStore(t *testing.T) {
	s, err := tier.Open(t.Context())
	require.NoError(t, err)
	base := serve(t, s)
	events := follow(t, base)
	readEvents(t, events, 1)
	require.NoError(t, s.Close())
	for events.Scan() {
	}
	require.NoError(t, events.Err())
	after, body := fetch(t, base+"state.json")
	require.Equal(t, http.StatusServiceUnavailable, after.StatusCode)
	require.Contains(t, body, "closed")
	_, body = fetch(t, serve(t, s)+"state.json")
	require.Contains(t, body, "closed", "a page of a store that is closed")
}

func TestEventsDoNotHoldUpAShutdown(t *testing.T) {
	server := httptest.NewServer(tierdebug.New(open(t)))
	defer server.Close()
	readEvents(t, follow(t, server.URL+"/"), 1)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	require.NoError(t, server.Config.Shutdown(ctx))
}

// post asks the page to change something.
func post(t *testing.T, url, token string, header map[string]string, body any) (int, string) {
	t.Helper()
	b, err := json.Marshal(body)
	require.NoError(t, err)
	r, err := http.NewRequest("POST", url, bytes.NewReader(b))
	require.NoError(t, err)
	r.Header.Set("X-Tierdebug-Token", token)
	for k, v := range header {
		r.Header.Set(k, v)
	}
	answer, err := http.DefaultClient.Do(r)
	require.NoError(t, err)
	defer answer.Body.Close()
	said, err := io.ReadAll(answer.Body)
	require.NoError(t, err)
	return answer.StatusCode, string(said)
}

var tokenIn = regexp.MustCompile(`<meta name="tierdebug-token" content="([A-Z0-9]{20,})">`)

func tokenOf(t *testing.T, base string) string {
	t.Helper()
	_, body := fetch(t, base)
	found := tokenIn.FindStringSubmatch(body)
	require.NotNil(t, found)
	return found[1]
}

func TestThePageChangesNothingUnlessItIsAllowed(t *testing.T) {
	s := open(t)
	base := serve(t, s)
	_, body := fetch(t, base)
	require.NotContains(t, body, "tierdebug-token")
	require.NotContains(t, body, `id="act"`)
	status, said := post(t, base+"act", "", nil, map[string]string{"do": "all"})
	require.Equal(t, 403, status)
	require.Contains(t, said, "WithActions")
	require.Zero(t, s.Stats().Changes)
}

func TestOnlyThePageItselfCanChangeSomething(t *testing.T) {
	s := open(t)
	base := serve(t, s, tierdebug.WithActions())
	token := tokenOf(t, base)
	all := map[string]string{"do": "all"}
	for name, header := range map[string]map[string]string{
		"a form of another site":   {"Origin": "https://elsewhere.example"},
		"a sandboxed frame":        {"Origin": "null"},
		"another site":             {"Sec-Fetch-Site": "cross-site"},
		"another port of the host": {"Sec-Fetch-Site": "same-site"},
	} {
		status, said := post(t, base+"act", token, header, all)
		require.Equal(t, 403, status, "%s: %s", name, said)
	}
	for name, wrong := range map[string]string{"none": "", "another": "AAAAAAAAAAAAAAAAAAAAAAAAAA", "of another process": tokenOf(t, serve(t, s, tierdebug.WithActions()))} {
		status, said := post(t, base+"act", wrong, nil, all)
		require.Equal(t, 403, status, name)
		require.Contains(t, said, "load the page anew")
	}
	r, err := http.Get(base + "act?do=all")
	require.NoError(t, err)
	r.Body.Close()
	require.Equal(t, http.StatusMethodNotAllowed, r.StatusCode)
	require.Zero(t, s.Stats().Changes)
	status, said := post(t, base+"act", token, map[string]string{"Sec-Fetch-Site": "same-origin"}, all)
	require.Equal(t, 200, status, said)
	require.EqualValues(t, 1, s.Stats().Changes)
}

func TestThePageInvalidates(t *testing.T) {
	s := open(t)
	base := serve(t, s, tierdebug.WithActions())
	token := tokenOf(t, base)
	c := view(t, s, "docs")
	for _, do := range []map[string]string{
		{"do": "source", "name": "doc-1"}, {"do": "namespace", "name": "docs"}, {"do": "all"}, {"do": "key", "namespace": "docs", "name": "a"},
	} {
		get(t, c, "a")
		_, found, err := c.Peek(t.Context(), "a")
		require.NoError(t, err)
		require.True(t, found)
		status, said := post(t, base+"act", token, nil, do)
		require.Equal(t, 200, status, said)
		_, found, err = c.Peek(t.Context(), "a")
		require.NoError(t, err)
		require.False(t, found, "%v", do)
	}
	status, said := post(t, base+"act", token, nil, map[string]any{"do": "bypass", "name": "docs", "minutes": 10})
	require.Equal(t, 200, status, said)
	_, body := fetch(t, base+"state.json")
	require.Contains(t, body, "is bypassed until")
	status, said = post(t, base+"act", token, nil, map[string]any{"do": "unbypass", "name": "docs"})
	require.Equal(t, 200, status, said)
	_, body = fetch(t, base+"state.json")
	require.NotContains(t, body, "is bypassed until")
	for _, bad := range []any{
		map[string]any{"do": "bypass", "name": "docs", "minutes": 0},
		map[string]string{"do": "restart"}, map[string]string{"do": "source"}, map[string]string{"do": "namespace", "name": "::"},
		map[string]string{"do": "key", "namespace": "nobody", "name": "a"}, map[string]string{"say": "all"}, "all", 7, map[string]string{"do": "source", "name": strings.Repeat("x", 100_000)},
	} {
		status, said := post(t, base+"act", token, nil, bad)
		require.Contains(t, []int{400, 422}, status, "%v: %s", bad, said)
	}
}

func TestThePageExplainsAKey(t *testing.T) {
	s := open(t)
	base := serve(t, s)
	c := view(t, s, "docs")
	get(t, c, "a & b")
	_, body := fetch(t, base+"explain?namespace=docs&key=a+%26+b")
	require.Contains(t, body, `"tier":"local","present":true,"valid":true`)
	require.Contains(t, body, `"tier":"remote","present":true,"valid":true`)
	require.Contains(t, body, "doc-1")
	_, err := s.InvalidateSource(t.Context(), "doc-1")
	require.NoError(t, err)
	_, body = fetch(t, base+"explain?namespace=docs&key=a+%26+b")
	require.Contains(t, body, `source \"doc-1\" changed`)
	require.Contains(t, body, `"changedAt"`)
	r, body := fetch(t, base+"explain?namespace=nobody&key=a")
	require.Equal(t, 422, r.StatusCode)
	require.Contains(t, body, "no cache of it in use")
	r, _ = fetch(t, base+"explain?namespace=docs")
	require.Equal(t, 422, r.StatusCode)
}

func TestAPageOfNoStoreIsAMistake(t *testing.T) {
	require.PanicsWithValue(t, "tierdebug: New: store is nil", func() { tierdebug.New(nil) })
}
