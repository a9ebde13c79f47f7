package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/tiercache/tiercache/tier"
	"github.com/tiercache/tiercache/tier/tierdebug"
)

// newHandler is the service over HTTP:
//
//	GET  /                            a page to try it
//	GET  /ask?q=…&replica=1           an answer; headers say where it came from
//	GET  /docs/{id}                   a document
//	PUT  /docs/{id}                   replaces its text by the body, and invalidates its answers
//	POST /docs/{id}                   appends the body to its text, and invalidates its answers
//	POST /invalidate/source/{id}      also /invalidate/namespace/{path} and /invalidate/all
//	GET  /stats                       counters of each replica
//	GET  /debug/tiercache/{replica}/  what its cache does, on a page that can invalidate too
//
// Whatever changes something takes replica=… too; the default is replica 1.
func newHandler(s *Service) http.Handler {
	h := &handler{s}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", h.page)
	mux.HandleFunc("GET /ask", h.ask)
	mux.HandleFunc("GET /docs/{id...}", h.document)
	mux.HandleFunc("PUT /docs/{id...}", h.edit(func(_, body string) string { return body }))
	mux.HandleFunc("POST /docs/{id...}", h.edit(func(old, body string) string { return old + "\n" + body }))
	mux.HandleFunc("POST /invalidate/source/{name...}", h.invalidate((*tier.Store).InvalidateSource))
	mux.HandleFunc("POST /invalidate/namespace/{name...}", h.invalidate((*tier.Store).InvalidateNamespace))
	mux.HandleFunc("POST /invalidate/all", h.invalidate(
		func(s *tier.Store, ctx context.Context, _ ...string) (tier.AsOf, error) { return s.InvalidateAll(ctx) }))
	mux.HandleFunc("GET /stats", h.stats)
	for _, r := range s.replicas {
		mux.Handle("/debug/tiercache/"+r.Name+"/", tierdebug.New(r.Store, tierdebug.WithActions()))
	}
	// A page of another site must not be able to make a browser edit documents here.
	return http.NewCrossOriginProtection().Handler(mux)
}

type handler struct{ *Service }

const (
	maxQuestion = 1000    // bytes
	maxDocument = 1 << 20 // bytes
)

// reply is an answer as JSON.
type reply struct {
	Question string   `json:"question"`
	Area     string   `json:"area"`
	Answer   string   `json:"answer"`
	Sources  []string `json:"sources"`
	Replica  string   `json:"replica"`
	Origin   string   `json:"origin"`
	Latency  string   `json:"latency"`
}

func (h *handler) ask(w http.ResponseWriter, r *http.Request) {
	read, err := h.read(w, r)
	if err != nil {
		fail(w, err)
		return
	}
	respond(w, http.StatusOK, reply{read.Question.Text, read.Question.Area, read.Value.Text,
		read.Value.Sources, read.Replica, read.From, latency(read.Latency)})
}

// read answers the question of a request, and says in headers how it came by the answer, even if
// the answer is that there is none.
func (h *handler) read(w http.ResponseWriter, r *http.Request) (Read, error) {
	text := strings.TrimSpace(r.FormValue("q"))
	if text == "" || len(text) > maxQuestion {
		return Read{}, badRequest("q: want a question of 1 to %d bytes", maxQuestion)
	}
	replica, err := h.replica(r)
	if err != nil {
		return Read{}, err
	}
	read, err := replica.Ask(r.Context(), findArea(text))
	if err != nil && !errors.Is(err, tier.ErrNotFound) {
		return Read{}, err
	}
	header := w.Header()
	header.Set("X-Cache-Replica", read.Replica)
	header.Set("X-Cache-Origin", read.From)
	header.Set("Server-Timing", fmt.Sprintf("cache;desc=%s;dur=%.3f", read.From, read.Latency.Seconds()*1000))
	if err == nil {
		header.Set("X-Cache-Age", seconds(read.Age))
		header.Set("X-Cache-TTL", seconds(read.TTL))
		header.Set("X-Cache-Sources", strings.Join(read.Sources, ", "))
	}
	return read, err
}

func (h *handler) document(w http.ResponseWriter, r *http.Request) {
	d, ok := h.corpus.Document(r.PathValue("id"))
	if !ok {
		fail(w, noDocument(r.PathValue("id")))
		return
	}
	respond(w, http.StatusOK, map[string]string{"id": d.ID, "kind": d.Kind, "text": d.Text})
}

// edit rewrites a document and then invalidates what was made from it: in this order, or an answer
// could be made from the old text after the invalidation.
func (h *handler) edit(rewrite func(old, body string) string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		id := r.PathValue("id")
		replica, err := h.replica(r)
		if err != nil {
			fail(w, err)
			return
		}
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxDocument))
		if err != nil {
			fail(w, badRequest("body: %v", err))
			return
		}
		if err := h.corpus.Edit(id, func(old string) string { return rewrite(old, string(body)) }); err != nil {
			fail(w, err)
			return
		}
		// The edit is made: the caches must hear of it even if the client has gone.
		asOf, err := replica.Store.InvalidateSource(context.WithoutCancel(r.Context()), id)
		if err != nil {
			fail(w, err)
			return
		}
		respond(w, http.StatusOK, map[string]string{"edited": id, "asOf": asOf.String()})
	}
}

// invalidate serves one of the store's three ways to invalidate.
func (h *handler) invalidate(change func(*tier.Store, context.Context, ...string) (tier.AsOf, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		replica, err := h.replica(r)
		if err != nil {
			fail(w, err)
			return
		}
		asOf, err := change(replica.Store, r.Context(), r.PathValue("name"))
		if err != nil {
			if !errors.Is(err, tier.ErrUnavailable) {
				err = badRequest("%v", err) // the store found the name wanting
			}
			fail(w, err)
			return
		}
		respond(w, http.StatusOK, map[string]string{"invalidated": r.URL.Path, "asOf": asOf.String()})
	}
}

func (h *handler) stats(w http.ResponseWriter, _ *http.Request) {
	stats := map[string]rates{}
	for _, replica := range h.replicas {
		stats["replica "+replica.Name] = ratesOf(replica.Store.Stats())
	}
	respond(w, http.StatusOK, stats)
}

// replica returns the replica that a request asks for.
func (h *handler) replica(r *http.Request) (*Replica, error) {
	name := r.URL.Query().Get("replica")
	if name == "" {
		return h.replicas[0], nil
	}
	replica, err := h.Replica(name)
	if err != nil {
		return nil, badRequest("%v", err)
	}
	return replica, nil
}
