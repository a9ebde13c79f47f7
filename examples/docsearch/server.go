package main

import (
	"context"
	"net"
	"net/http"
	"time"
)

const (
	readTimeout     = 5 * time.Second // of a request's headers
	shutdownTimeout = 5 * time.Second // of the requests under way when the server is told to end
)

// serve answers over HTTP until ctx ends, and then lets the requests under way finish.
func serve(ctx context.Context, s *Service, l net.Listener, out *terminal) error {
	server := &http.Server{Handler: newHandler(s), ReadHeaderTimeout: readTimeout}
	done := make(chan error, 1)
	go func() { done <- server.Serve(l) }()
	out.heading("The service")
	introduce(ctx, s, out)
	out.say("Listening on http://%s/ until interrupted.", l.Addr())
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
	defer cancel()
	return server.Shutdown(ctx)
}
