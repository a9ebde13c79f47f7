package tierdebug_test

import (
	"bufio"
	"context"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/tiercache/tiercache/tier"
	"github.com/tiercache/tiercache/tier/tierdebug"
)

// BenchmarkLocalHit is a local hit without a page, with one that nobody looks at (its store looks at some thousand reads a second), and
// with one that is open.
func BenchmarkLocalHit(b *testing.B) {
	for _, page := range []string{"none", "mounted", "open"} {
		b.Run(page, func(b *testing.B) {
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			s, err := tier.Open(ctx, tier.WithMaxStaleness(time.Minute), tier.WithHeartbeat(time.Second))
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			if page != "none" {
				h := tierdebug.New(s)
				if page == "open" {
					server := httptest.NewServer(h)
					defer server.Close()
					request, err := http.NewRequestWithContext(ctx, http.MethodGet, server.URL+"/events", nil)
					if err != nil {
						b.Fatal(err)
					}
					events, err := http.DefaultClient.Do(request)
					if err != nil {
						b.Fatal(err)
					}
					defer events.Body.Close()
					lines := bufio.NewScanner(events.Body)
					lines.Buffer(nil, 1<<20)
					go func() { // ends with the request
						for lines.Scan() {
						}
					}()
				}
			}
			c, err := tier.New[string](s, "docs")
			if err != nil {
				b.Fatal(err)
			}
			load := func(context.Context, *tier.Entry) (string, error) { return "v", nil }
			if _, err := c.Get(ctx, "k", load); err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				if _, err := c.Get(ctx, "k", load); err != nil {
					b.Fatal(err)
				}
			}
			cancel()
		})
	}
}
