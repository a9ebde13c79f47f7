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
	mux.Handle("GET /ask", answering(h.ask))
	mux.Handle("GET /docs/{id...}", answering(h.document))
	mux.Handle("PUT /docs/{id...}", h.edit(func(_, body string) string { return body }))
	mux.Handle("POST /docs/{id...}", h.edit(func(old, body string) string { return old + "\n" + body }))
	mux.Handle("POST /invalidate/source/{name...}", h.invalidate((*tier.Store).InvalidateSource))
	mux.Handle("POST /invalidate/namespace/{name...}", h.invalidate((*tier.Store).InvalidateNamespace))
	mux.Handle("POST /invalidate/all", h.invalidate(
		func(s *tier.Store, ctx context.Context, _ ...string) (tier.AsOf, error) { return s.InvalidateAll(ctx) }))
	mux.Handle("GET /stats", answering(h.stats))
	for _, r := range s.replicas {
		mux.Handle("/debug/tiercache/"+r.Name+"/", tierdebug.New(r.Store, tierdebug.WithActions()))
	}
	// A page of another site must not be able to make a browser edit documents here.
	return http.NewCrossOriginProtection().Handler(mux)
}

type handler struct{ *Service }

// answering serves what it returns as JSON, or its error.
type answering func(w http.ResponseWriter, r *http.Request) (any, error)

func (f answering) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := f(w, r)
	if err != nil {
		fail(w, err)
		return
	}
	respond(w, http.StatusOK, body)
}

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

func (h *handler) ask(w http.ResponseWriter, r *http.Request) (any, error) {
	read, err := h.read(w, r)
	return reply{read.Question.Text, read.Question.Area, read.Value.Text,
		read.Value.Sources, read.Replica, read.From, latency(read.Latency)}, err
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

func (h *handler) document(_ http.ResponseWriter, r *http.Request) (any, error) {
	d, ok := h.corpus.Document(r.PathValue("id"))
	if !ok {
		return nil, noDocument(r.PathValue("id"))
	}
	return map[string]string{"id": d.ID, "kind": d.Kind, "text": d.Text}, nil
}

// edit rewrites a document and then invalidates what was made from it: in this order, or an answer
// could be made from the old text after the invalidation.
func (h *handler) edit(rewrite func(old, body string) string) answering {
	return func(w http.ResponseWriter, r *http.Request) (any, error) {
		id := r.PathValue("id")
		replica, err := h.replica(r)
		if err != nil {
			return nil, err
		}
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxDocument))
		if err != nil {
			return nil, badRequest("body: %v", err)
		}
		if err := h.corpus.Edit(id, func(old string) string { return rewrite(old, string(body)) }); err != nil {
			return nil, err
		}
		// The edit is made: the caches must hear of it even if the client has gone.
		asOf, err := replica.Store.InvalidateSource(context.WithoutCancel(r.Context()), id)
		return map[string]string{"edited": id, "asOf": asOf.String()}, err
	}
}

// invalidate serves one of the store's three ways to invalidate.
func (h *handler) invalidate(change func(*tier.Store, context.Context, ...string) (tier.AsOf, error)) answering {
	return func(_ http.ResponseWriter, r *http.Request) (any, error) {
		replica, err := h.replica(r)
		if err != nil {
			return nil, err
		}
		asOf, err := change(replica.Store, r.Context(), r.PathValue("name"))
		if err != nil && !errors.Is(err, tier.ErrUnavailable) {
			err = badRequest("%v", err) // the store found the name wanting
		}
		return map[string]string{"invalidated": r.URL.Path, "asOf": asOf.String()}, err
	}
}

func (h *handler) stats(http.ResponseWriter, *http.Request) (any, error) {
	stats := map[string]rates{}
	for _, replica := range h.replicas {
		stats["replica "+replica.Name] = ratesOf(replica.Store.Stats())
	}
	return stats, nil
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
