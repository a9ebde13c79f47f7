package sizeof

import (
	"bytes"
	"context"
	"database/sql"
	"database/sql/driver"
	htmltemplate "html/template"
	"io"
	"log/slog"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"text/template"
	"time"
	"unsafe"
)

// message is laid out as the generated code of protobuf has it: a mark that it is not to be copied, and state that reading
// it may change.
type message struct {
	State struct {
		_    [0]func()
		_    [0]sync.Mutex
		info *int
	}
	sizeCache int32
	lazy      map[int]string
	Title     string
}

// size is what a method that looks as if it only read can do.
func (m *message) size(i int) {
	m.sizeCache = int32(i)
	m.lazy = map[int]string{i: "decoded when first asked for"}
}

type noCopy struct{}

func (*noCopy) Lock()   {}
func (*noCopy) Unlock() {}

// lazyList is not to be copied, as go vet sees to.
type lazyList struct {
	_     noCopy
	Items []string
}

type counted struct {
	hits atomic.Int64
	Last []string
}

type guarded struct {
	inner struct {
		sync.Mutex
		m map[int]int
	}
	Public map[int]int // which the mutex may be there for
}

type callback struct {
	Func func()
	Seen []int
}

type queue struct {
	Next chan int
	Seen []int
}

type spied struct {
	P    unsafe.Pointer
	Seen []int
}

// TestWhatChangesInsideIsNotRead while it changes: the race detector, or the runtime if it is a map, would end the process.
func TestWhatChangesInsideIsNotRead(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Trailer", "T")
		_, _ = w.Write([]byte("x"))
		w.Header().Set("T", "t")
	}))
	defer server.Close()
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 4}}
	defer client.CloseIdleConnections()
	get := func(int) {
		if r, err := client.Get(server.URL); err == nil {
			_, _ = io.Copy(io.Discard, r.Body)
			_ = r.Body.Close()
		}
	}
	var (
		m       sync.Map
		buffer  bytes.Buffer
		text    strings.Builder
		plain   = template.Must(template.New("t").Parse(`{{define "a"}}x{{end}}{{range .}}{{.}}{{end}}`))
		html    = htmltemplate.Must(htmltemplate.New("t").Parse(`<a href="{{.}}">{{.}}</a>`))
		logger  = slog.New(slog.NewTextHandler(io.Discard, nil))
		expr    = regexp.MustCompile(`(a|b)*c{2,5}`)
		db      = sql.OpenDB(noDB{})
		msg     = &message{Title: "t"}
		list    = &lazyList{}
		hits    = &counted{}
		locked  = &guarded{Public: map[int]int{}}
		called  = &callback{}
		queued  = &queue{}
		spying  = &spied{}
		answer  *http.Response
		ctx, up = context.WithCancel(context.WithValue(t.Context(), noCopy{}, "v"))
	)
	defer up()
	defer db.Close()
	answer, err := client.Get(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	locked.inner.m = map[int]int{}
	for name, one := range map[string]struct {
		v      any
		change func(i int)
	}{
		"http.Client":      {client, get},
		"http.Response":    {answer, func(int) { _, _ = io.Copy(io.Discard, answer.Body) }},
		"sync.Map":         {&m, func(i int) { m.Store(i, i) }},
		"bytes.Buffer":     {&buffer, func(int) { buffer.WriteString("more") }},
		"strings.Builder":  {&text, func(int) { text.WriteString("more") }},
		"template":         {plain, func(i int) { _ = plain.Execute(io.Discard, []int{i}); _, _ = plain.New("more").Parse("x") }},
		"html template":    {html, func(int) { _ = html.Execute(io.Discard, "x") }},
		"logger":           {logger, func(i int) { logger.Info("x", "i", i) }},
		"context":          {ctx, func(int) { _, end := context.WithCancel(ctx); end() }},
		"regexp":           {expr, func(int) { expr.MatchString("ababccc"); expr.Longest() }},
		"sql.DB":           {db, func(int) { _ = db.Ping() }},
		"message":          {msg, msg.size},
		"not to be copied": {list, func(int) { list.Items = append(list.Items, "x") }},
		"counted":          {hits, func(int) { hits.hits.Add(1); hits.Last = []string{"x"} }},
		"guarded":          {locked, func(i int) { locked.inner.m[i] = i; locked.Public[i] = i }},
		"func":             {called, func(i int) { called.Seen = append(called.Seen, i) }},
		"chan":             {queued, func(i int) { queued.Seen = append(queued.Seen, i) }},
		"unsafe.Pointer":   {spying, func(i int) { spying.Seen = append(spying.Seen, i) }},
	} {
		t.Run(name, func(t *testing.T) {
			type own struct { // a struct of this package, as users would cache it
				Title string
				by    any
				at    []any
			}
			value := &own{"title", one.v, []any{one.v, one.v}}
			s := For(reflect.TypeOf(value))
			stop, sized := make(chan struct{}), make(chan struct{})
			var both sync.WaitGroup
			both.Go(func() {
				defer close(stop)
				for i := range 300 {
					one.change(i)
				}
				<-sized
			})
			both.Go(func() {
				for first := true; ; first = false {
					size, guess := s.Of(value)
					direct, guessed := For(reflect.TypeOf(one.v)).Of(one.v)
					if first {
						close(sized)
					}
					least, known := direct+guessed, name == "regexp" // of which nothing that is read changes
					if inUseOf(reflect.TypeOf(one.v)) > 0 {
						least = direct // more is guessed of one by itself
					}
					if size+guess < least || (guess == 0 || guessed == 0) != known || direct+guessed < 16 {
						t.Errorf("%d, %d guessed; by itself %d, %d guessed", size, guess, direct, guessed)
						return
					}
					select {
					case <-stop:
						return
					default:
					}
				}
			})
			both.Wait()
		})
	}
}

type noDB struct{}

func (noDB) Connect(context.Context) (driver.Conn, error) { return nil, driver.ErrBadConn }
func (noDB) Driver() driver.Driver                        { return nil }

// TestDataIsReadWhereverItIsFrom and its size is no guess.
func TestDataIsReadWhereverItIsFrom(t *testing.T) {
	n := func(i int) *big.Int { return new(big.Int).Lsh(big.NewInt(int64(i+1)), 8000) }
	for name, make_ := range map[string]func(i int) any{
		"big.Int":        func(i int) any { return n(i) },
		"big.Rat":        func(i int) any { return new(big.Rat).SetInt(n(i)) },
		"big.Float":      func(i int) any { return new(big.Float).SetInt(n(i)) },
		"regexp":         func(int) any { return regexp.MustCompile(`^(a|b)*c{2,50}[^\pL]+$`) },
		"bytes.Reader":   func(int) any { return bytes.NewReader(make([]byte, 1000)) },
		"strings.Reader": func(i int) any { return strings.NewReader(text(i, 1000)) },
		"url": func(i int) any {
			return &url.URL{Path: text(i, 500), User: url.UserPassword(text(i, 20), text(i, 500))}
		},
		"time":            func(int) any { now := time.Now(); return &now },
		"netip.Addr":      func(int) any { a := netip.MustParseAddr("fe80::1%eth0"); return &a },
		"netip.Prefix":    func(int) any { return []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")} },
		"cookie":          func(i int) any { return &http.Cookie{Name: text(i, 100), Unparsed: []string{text(i, 100)}} },
		"sql.NullString":  func(i int) any { return &sql.NullString{String: text(i, 100)} },
		"without a name":  func(i int) any { return &struct{ a, b string }{b: text(i, 100)} },
		"list of its own": func(i int) any { return []*author{{name: text(i, 100)}} },
		"map of its own":  func(i int) any { return map[small]author{{}: {name: text(i, 100)}} },
		"not comparable": func(i int) any {
			return &struct {
				_ [0]func()
				s string
			}{s: text(i, 100)}
		},
	} {
		if _, guess := For(reflect.TypeOf(make_(0))).Of(make_(0)); guess > 0 {
			t.Errorf("%s: not read", name)
		}
		checkSize(t, name, 0.05, make_)
	}
}

// Slices of one array count as that array, whichever is met first.
func TestSlicesOfOneArrayCountAsThatArray(t *testing.T) {
	type message struct {
		All   []byte
		Parts [][]byte
	}
	cut := func(whole []byte) (parts [][]byte) {
		for len(whole) > 0 {
			n := min(len(whole), 100)
			parts, whole = append(parts, whole[:n]), whole[n:]
		}
		return parts
	}
	checkSize(t, "a message and its parts", 0.05, func(int) any {
		whole := make([]byte, 10_000)
		return &message{whole, cut(whole)}
	})
	checkSize(t, "the parts of a message", 0.05, func(int) any { return cut(make([]byte, 10_000)) })
	checkSize(t, "parts from the last on", 0.05, func(int) any {
		parts := cut(make([]byte, 10_000))
		slices.Reverse(parts)
		return parts
	})
	checkSize(t, "ranges of structs", 0.05, func(i int) any {
		all := make([]author, 1000)
		all[999].name = text(i, 1000)
		return map[string][]author{"all": all, "odd": all[500:], "last": all[999:]}
	})
	if size, guess := For(reflect.TypeFor[[][]struct{}]()).Of([][]struct{}{make([]struct{}, 5), make([]struct{}, 7)}); size != class(3*word, true)+class(6*word, true) || guess != 0 {
		t.Error(size, guess)
	}
}

// TestAGuessIsAsStated where nothing may be read: 64 bytes for each reference.
func TestAGuessIsAsStated(t *testing.T) {
	if word == 4 {
		t.Skip("these sizes are those on 64 bits")
	}
	type decimal struct { // like this one's, a pointer in another package's type
		Amount *big.Int
		By     bytes.Buffer
	}
	for name, one := range map[string]struct {
		v    any
		want int64
	}{
		"func":                   {func() {}, 64},
		"chan":                   {make(chan [100]int), 96},
		"chan with a buffer":     {make(chan [100]int, 5), class(96+4000, true)},
		"many references":        {new(http.Request), classOf(reflect.TypeFor[http.Request](), 1) + 8*64},
		"map of funcs":           {map[int]func(){1: nil, 2: nil}, Of(map[int]uintptr{1: 1, 2: 2}) + 2*64},
		"pointer to the opaque":  {&queue{Seen: make([]int, 1000)}, 32 + 2*64},
		"array of it":            {&[3]queue{}, 96 + 3*2*64},
		"another package's":      {new(bytes.Buffer), 48 + 64},
		"with another package's": {&decimal{Amount: big.NewInt(1)}, 48 + Of(big.NewInt(1)) + 64},
		"any: whatever is in it": {&[]any{&author{name: text(1, 100)}}, 24 + 16 + 32 + 64},
	} {
		size, guess := For(reflect.TypeOf(one.v)).Of(one.v)
		if got := size + guess; guess == 0 || got != one.want {
			t.Errorf("%s: %d, of which %d are a guess, want %d", name, got, guess, one.want)
		}
	}
}

// A slice is often the first part of one that goes on growing.
func TestWhatLiesBeyondTheLengthOfASliceIsNotRead(t *testing.T) {
	type event struct {
		Text string
		More map[string]int
	}
	log := make([]*event, 1, 10_000)
	log[0] = &event{Text: text(1, 100)}
	values := []any{&struct{ Log []*event }{log[:1]}, &struct{ Any []any }{make([]any, 1, 10)}}
	grown, done := log, make(chan struct{})
	var both sync.WaitGroup
	both.Go(func() {
		defer close(done)
		for i := len(log); i < cap(log); i++ {
			grown = append(grown, &event{Text: text(i, 10), More: map[string]int{"": i}})
		}
	})
	for going := true; going; {
		for _, v := range values {
			if size, guess := For(reflect.TypeOf(v)).Of(v); guess > 0 || size < 12*word {
				t.Fatal(size, guess)
			}
		}
		select {
		case <-done:
			going = false
		default:
		}
	}
	both.Wait()
	// The array is kept alive by the slice, and counts.
	if size := Of(log[:1]); size < 10_000*word || size > 12_500*word {
		t.Error(size)
	}
}

// byPointer holds its lock by a pointer, so that it can be copied.
type byPointer struct {
	mu    *sync.Mutex
	hits  *atomic.Int64
	Names map[string]string
}

func (g byPointer) put(i int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.hits.Add(1)
	g.Names[text(i, 5)] = text(i, 9)
}

func TestWhatALockBehindAPointerGuardsIsNotRead(t *testing.T) {
	g := byPointer{new(sync.Mutex), new(atomic.Int64), map[string]string{}}
	var both sync.WaitGroup
	done := make(chan struct{})
	both.Go(func() {
		defer close(done)
		for i := range 2000 {
			g.put(i)
		}
	})
	for going := true; going; {
		for _, v := range []any{&g, []byPointer{g}, map[string]any{"": g}} {
			if _, guess := For(reflect.TypeOf(v)).Of(v); guess == 0 {
				t.Fatal("read")
			}
		}
		select {
		case <-done:
			going = false
		default:
		}
	}
	both.Wait()
}
