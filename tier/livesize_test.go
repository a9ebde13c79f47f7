//go:build !race

package tier_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"database/sql"
	"database/sql/driver"
	"encoding/json"
	"fmt"
	"html/template"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"os"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	texttemplate "text/template"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/local"
	"github.com/tiercache/tiercache/tier"
)

// What live objects take, and what the local tier counts for them, are within a factor of 2: none of their insides is read.
func TestWhatLiveObjectsTake(t *testing.T) {
	if strconv.IntSize == 32 {
		t.Skip("half of it is pointers there, and guesses are for 64 bits")
	}
	server := heldConnections(t)
	takes(t, "http.Client with a connection", 100, func(int) *http.Client {
		c := &http.Client{Transport: &http.Transport{}}
		r, err := c.Get(server)
		require.NoError(t, err)
		_, _ = io.Copy(io.Discard, r.Body)
		_ = r.Body.Close()
		return c
	}, tier.WithOnEvict(func(_ string, c *http.Client, _ local.Reason) { c.CloseIdleConnections() }))
	takes(t, "http.Request", 2000, func(int) *http.Request {
		r, err := http.NewRequest(http.MethodGet, "http://example.com/path", nil)
		require.NoError(t, err)
		return r
	})
	takes(t, "http.Server", 2000, func(int) *http.Server { return &http.Server{} })
	takes(t, "sql.DB", 500, func(int) *sql.DB { return sql.OpenDB(noDB{}) },
		tier.WithOnEvict(func(_ string, db *sql.DB, _ local.Reason) { db.Close() }))
	takes(t, "regexp.Regexp", 1000, func(int) *regexp.Regexp { return regexp.MustCompile(`(a|b)*c{2,5}`) })
	takes(t, "regexp.Regexp, long", 500, func(int) *regexp.Regexp {
		return regexp.MustCompile(`^([a-z0-9]+(\.[a-z0-9]+)*)@([a-z0-9]+\.){2,20}[^\pL]$`)
	})
	takes(t, "text/template", 500, func(int) *texttemplate.Template {
		return texttemplate.Must(texttemplate.New("t").Parse(strings.Repeat(`<p>{{.Name}} {{if .X}}a{{else}}b{{end}}</p>`, 20)))
	})
	for _, executed := range []bool{false, true} {
		takes(t, fmt.Sprint("html/template, executed: ", executed), 300, func(int) *template.Template {
			page := template.Must(template.New("t").Parse(`<a href="{{.}}">{{.}}</a>`))
			if executed {
				require.NoError(t, page.Execute(io.Discard, "x"))
			}
			return page
		})
	}
	takes(t, "os.File", 500, func(int) *os.File {
		f, err := os.Open(os.DevNull)
		require.NoError(t, err)
		return f // which is closed when it is collected
	})
	takes(t, "context", 2000, func(i int) context.Context {
		return context.WithValue(t.Context(), ctxKey{}, fmt.Sprint("the value of a context ", i))
	})
	takes(t, "slog.Logger", 2000, func(int) *slog.Logger {
		return slog.New(slog.NewTextHandler(io.Discard, nil)).With("a", 1, "b", 2, "c", 3)
	})
	takes(t, "log.Logger", 2000, func(int) *log.Logger { return log.New(io.Discard, "prefix", 0) })
	takes(t, "tls.Config", 1000, func(int) *tls.Config { return &tls.Config{} })
	takes(t, "bufio.Reader", 500, func(int) *bufio.Reader { return bufio.NewReader(strings.NewReader("x")) })
	takes(t, "json.Decoder", 500, func(int) *json.Decoder {
		d := json.NewDecoder(strings.NewReader(`{"a": 1}`))
		var v any
		require.NoError(t, d.Decode(&v))
		return d
	})
	takes(t, "chan", 500, func(int) chan [10]int { return make(chan [10]int, 50) })
	takes(t, "time.Timer", 2000, func(int) *time.Timer {
		return time.NewTimer(time.Hour)
	})
	// What a user's own type guards by a lock is known to the user alone.
	takes(t, "with a lock", 500, newTable, tier.WithSize(func(g *table) int64 {
		g.mu.Lock()
		defer g.mu.Unlock()
		return int64(60 * len(g.names))
	}))
	takes(t, "sync.Map", 100, func(int) *sync.Map {
		m := new(sync.Map)
		for i := range 100 {
			m.Store(i, fmt.Sprintf("value %10d", i))
		}
		return m
	}, tier.WithSize(func(m *sync.Map) (n int64) {
		m.Range(func(any, any) bool { n += 150; return true })
		return n
	}))
}

type table struct {
	mu    sync.Mutex
	names map[string]string
}

func newTable(int) *table {
	g := &table{names: make(map[string]string)}
	for i := range 100 {
		g.names[fmt.Sprintf("the name %10d", i)] = "v"
	}
	return g
}

// Health says of which types the size is a guess, and of which it is not.
func TestHealthNamesLiveObjects(t *testing.T) {
	s := embeddedFleet(t, nil).process()
	guess := func(name string, in func()) bool {
		in()
		return strings.Contains(strings.Join(s.Health(t.Context()).Warnings, "\n"), fmt.Sprintf("namespace %q: values of type", name))
	}
	require.True(t, guess("clients", func() {
		find(t, view[*http.Client](t, s, "clients", tier.WithLocalOnly()), "k", is(&http.Client{}))
	}))
	require.True(t, guess("tables", func() { find(t, view[*table](t, s, "tables", tier.WithLocalOnly()), "k", is(newTable(0))) }))
	require.False(t, guess("sized", func() {
		find(t, view[*table](t, s, "sized", tier.WithLocalOnly(), tier.WithSize(func(*table) int64 { return 9 })), "k", is(newTable(0)))
	}))
	require.False(t, guess("expressions", func() {
		find(t, view[*regexp.Regexp](t, s, "expressions", tier.WithLocalOnly()), "k", is(regexp.MustCompile("a")))
	}))
}

// takes compares the heap of n values in a view with what the local tier counts; again, if what earlier tests have left was given
// back in between.
func takes[V any](t *testing.T, name string, n int, make_ func(i int) V, options ...tier.CacheOption) {
	t.Helper()
	var took, said float64
	for range 5 {
		took, said = takenOnce(t, n, make_, options...)
		t.Logf("%-34s heap %7.0f, counted %7.0f: %.2f", name, took, said, took/said)
		if took/said <= 2 && took/said >= 0.5 {
			return
		}
	}
	t.Errorf("%s: %.0f bytes on the heap, %.0f counted: %.2f", name, took, said, took/said)
}

func takenOnce[V any](t *testing.T, n int, make_ func(i int) V, options ...tier.CacheOption) (took, said float64) {
	t.Helper()
	s := embeddedFleet(t, nil).process()
	c := view[V](t, s, "docs", append(options, tier.WithLocalOnly())...)
	find(t, c, "first", is(make_(0)))
	before, counted := heapInUse(), s.Stats().LocalBytes
	for i := range n {
		v := make_(i)
		find(t, c, fmt.Sprint(i), is(v))
	}
	return float64(heapInUse()-before) / float64(n), float64(s.Stats().LocalBytes-counted) / float64(n)
}

func heapInUse() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

type ctxKey struct{}

type noDB struct{}

func (noDB) Connect(context.Context) (driver.Conn, error) { return nil, driver.ErrBadConn }
func (noDB) Driver() driver.Driver                        { return nil }

// heldConnections returns the address of a server that answers one request on each connection and keeps it, at the
// least expense of memory: it is in this process.
func heldConnections(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var all sync.WaitGroup
	all.Go(func() {
		var held []net.Conn
		request := make([]byte, 4096)
		for {
			conn, err := l.Accept()
			if err != nil {
				break
			}
			held = append(held, conn)
			_, _ = conn.Read(request)
			_, _ = conn.Write([]byte("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx"))
		}
		for _, conn := range held {
			_ = conn.Close()
		}
	})
	t.Cleanup(func() { l.Close(); all.Wait() })
	return "http://" + l.Addr().String()
}
