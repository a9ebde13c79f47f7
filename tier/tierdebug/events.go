package tierdebug

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"
)

// maxViewers is how many pages may follow events at a time.
const maxViewers = 32

// sendTimeout is how long a page may take to read an event.
const sendTimeout = 10 * time.Second

// events sends the state every two seconds, and changes with it, until the page, the store or the server ends.
func (h *handler) events(w http.ResponseWriter, r *http.Request) {
	leave := h.view()
	defer leave()
	if h.viewers.Load() > maxViewers {
		fail(w, http.StatusServiceUnavailable, fmt.Errorf("%d pages are open already", maxViewers))
		return
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	if server, ok := r.Context().Value(http.ServerContextKey).(*http.Server); ok {
		// Shutdown would wait for these requests, which do not end by themselves.
		// guard: debug-events-end-with-shutdown
		defer context.AfterFunc(h.shutdownOf(server), cancel)()
	}
	header := w.Header()
	header.Set("Content-Type", "text/event-stream")
	header.Set("X-Accel-Buffering", "no")
	control := http.NewResponseController(w)
	send := func(event string, v any) error {
		b, err := json.Marshal(v)
		if err != nil {
			return err
		}
		if err := control.SetWriteDeadline(time.Now().Add(sendTimeout)); err != nil && !errors.Is(err, http.ErrNotSupported) {
			return err
		}
		if _, err := fmt.Fprintf(w, "event: %s\ndata: %s\n\n", event, b); err != nil { // JSON has no line breaks
			return err
		}
		return control.Flush()
	}
	var last *state
	for {
		s, changes, err := h.next(ctx, last)
		if err != nil {
			_ = send("end", map[string]string{"error": err.Error()})
			return
		}
		sent := *s
		if last != nil {
			sent.History = nil // the page has it
		}
		last = s
		if send("state", &sent) != nil || len(changes) > 0 && send("changes", changes) != nil {
			return
		}
	}
}

// shutdownOf returns a context that ends when a server is told to shut down.
func (h *handler) shutdownOf(server *http.Server) context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	known, loaded := h.shutdowns.LoadOrStore(server, ctx)
	if loaded {
		cancel()
	} else {
		server.RegisterOnShutdown(cancel)
	}
	return known.(context.Context)
}
