package tierdebug

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/subtle"
	"embed"
	"encoding/json"
	"errors"
	"html/template"
	"net/http"
	"path"
	"sync"
	"time"

	"github.com/tiercache/tiercache/tier"
	"github.com/tiercache/tiercache/tier/internal/inspect"
)

//go:embed assets
var assets embed.FS

var page = template.Must(template.ParseFS(assets, "assets/page.html"))

// Option configures the page.
type Option func(*handler)

// WithActions lets the page invalidate sources, namespaces, keys and everything, and bypass namespaces. Default: it shows, and changes nothing.
func WithActions() Option { return func(h *handler) { h.actions = true } }

// New returns the page of a store. It is for as long as the store is open; after that it says that the store is closed. Make one for each
// store, not one for each request.
func New(store *tier.Store, options ...Option) http.Handler {
	if store == nil {
		panic("tierdebug: New: store is nil")
	}
	h := &handler{store: store, inside: inspect.Of(store), token: rand.Text(), origin: http.NewCrossOriginProtection()}
	for _, o := range options {
		if o != nil {
			o(h)
		}
	}
	h.collector = newCollector(store, h.inside)
	return h
}

// handler is the page. Which part of it is asked for is the last segment of the path, so that it works under any.
type handler struct {
	store   *tier.Store
	inside  *inspect.Store
	actions bool
	token   string // which a request that changes something must have
	origin  *http.CrossOriginProtection
	*collector

	shutdowns sync.Map // of each *http.Server that has served events: a context that ends with its Shutdown
}

const (
	// policy lets the page use what it brings, and nothing else.
	policy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; " +
		"base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"

	requestTimeout = 5 * time.Second
	maxBody        = 64 << 10 // bytes of a request that changes something
)

// ServeHTTP implements [http.Handler].
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	header := w.Header()
	header.Set("Content-Security-Policy", policy)
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("X-Frame-Options", "DENY")
	header.Set("Referrer-Policy", "no-referrer")
	header.Set("Cross-Origin-Opener-Policy", "same-origin")
	header.Set("Cross-Origin-Resource-Policy", "same-origin")
	header.Set("Cache-Control", "no-store")
	name := ""
	if p := r.URL.Path; p != "" && p[len(p)-1] != '/' {
		name = path.Base(p)
	}
	if name == "act" {
		h.act(w, r)
		return
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		header.Set("Allow", "GET, HEAD")
		fail(w, http.StatusMethodNotAllowed, errors.New("only GET is allowed here"))
		return
	}
	switch name {
	case "":
		h.page(w)
	case "app.js":
		h.asset(w, name, "text/javascript; charset=utf-8")
	case "style.css":
		h.asset(w, name, "text/css; charset=utf-8")
	case "icon.svg":
		h.asset(w, name, "image/svg+xml")
	case "state.json":
		h.stateOnce(w, r)
	case "events":
		h.events(w, r)
	case "explain":
		h.explain(w, r)
	default:
		fail(w, http.StatusNotFound, errors.New("there is no such page"))
	}
}

func (h *handler) page(w http.ResponseWriter) {
	var b bytes.Buffer
	token := ""
	if h.actions {
		token = h.token
	}
	if err := page.Execute(&b, map[string]any{"Prefix": h.inside.Prefix, "Actions": h.actions, "Token": token}); err != nil {
		fail(w, http.StatusInternalServerError, err)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = w.Write(b.Bytes())
}

func (h *handler) asset(w http.ResponseWriter, name, kind string) {
	b, err := assets.ReadFile("assets/" + name)
	if err != nil {
		fail(w, http.StatusInternalServerError, err)
		return
	}
	w.Header().Set("Content-Type", kind)
	_, _ = w.Write(b)
}

// stateOnce answers with the state as JSON.
func (h *handler) stateOnce(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), requestTimeout)
	defer cancel()
	leave := h.view()
	defer leave()
	s, _, err := h.next(ctx, nil)
	if err != nil {
		fail(w, http.StatusServiceUnavailable, err)
		return
	}
	respond(w, http.StatusOK, s)
}

// explain says what each tier holds for a key.
func (h *handler) explain(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), requestTimeout)
	defer cancel()
	namespace, key := r.URL.Query().Get("namespace"), r.URL.Query().Get("key")
	e, err := h.inside.Explain(ctx, namespace, key)
	found, _ := e.(tier.Explanation)
	if err != nil && (found.Key == "" || !errors.Is(err, tier.ErrUnavailable)) {
		fail(w, http.StatusUnprocessableEntity, err)
		return
	}
	respond(w, http.StatusOK, explanationOf(found, err))
}

// act changes something, if that is allowed and the request is the page's own.
func (h *handler) act(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.Method != http.MethodPost:
		w.Header().Set("Allow", "POST")
		fail(w, http.StatusMethodNotAllowed, errors.New("only POST is allowed here"))
		return
	case !h.actions:
		fail(w, http.StatusForbidden, errors.New("this page only shows: tierdebug.WithActions lets it change something"))
		return
	}
	// guard: debug-page-refuses-other-origins
	if err := h.origin.Check(r); err != nil {
		fail(w, http.StatusForbidden, err)
		return
	}
	// guard: debug-page-asks-for-token
	if subtle.ConstantTimeCompare([]byte(r.Header.Get("X-Tierdebug-Token")), []byte(h.token)) != 1 {
		fail(w, http.StatusForbidden, errors.New("the request is not of this page, or of one of another process: load the page anew"))
		return
	}
	var a action
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody))
	d.DisallowUnknownFields()
	if err := d.Decode(&a); err != nil {
		fail(w, http.StatusBadRequest, err)
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), requestTimeout)
	defer cancel()
	said, err := a.perform(ctx, h.store, h.inside)
	switch {
	case errors.Is(err, tier.ErrUnavailable):
		fail(w, http.StatusServiceUnavailable, err)
	case err != nil:
		fail(w, http.StatusUnprocessableEntity, err)
	default:
		respond(w, http.StatusOK, map[string]string{"done": said})
	}
}

func respond(w http.ResponseWriter, status int, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		status, b = http.StatusInternalServerError, []byte(`{"error":"the answer cannot be encoded"}`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(b, '\n'))
}

func fail(w http.ResponseWriter, status int, err error) {
	respond(w, status, map[string]string{"error": err.Error()})
}
