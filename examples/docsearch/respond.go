package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/tiercache/tiercache/tier"
)

// badRequestError is the client's mistake.
type badRequestError struct{ text string }

func (e *badRequestError) Error() string { return e.text }

func badRequest(format string, args ...any) error {
	return &badRequestError{fmt.Sprintf(format, args...)}
}

func fail(w http.ResponseWriter, err error) {
	status := http.StatusInternalServerError
	var mistake *badRequestError
	switch {
	case errors.As(err, &mistake):
		status = http.StatusBadRequest
	case errors.Is(err, tier.ErrNotFound), errors.Is(err, errNoDocument):
		status = http.StatusNotFound
	case errors.Is(err, tier.ErrUnavailable):
		status = http.StatusServiceUnavailable
	}
	respond(w, status, map[string]string{"error": message(err)})
}

// message is an error for people who use the service.
func message(err error) string {
	if errors.Is(err, tier.ErrNotFound) {
		return "the documentation has no answer"
	}
	return err.Error()
}

func respond(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	_ = e.Encode(body) // an error means that the client has gone
}

func seconds(d time.Duration) string {
	return strconv.FormatFloat(max(d, 0).Seconds(), 'f', 3, 64)
}
