package tierdebug_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/tiercache/tiercache/tier"
	"github.com/tiercache/tiercache/tier/tierdebug"
)

// The page is mounted where only operators come.
func ExampleNew() {
	ctx := context.Background()
	store, err := tier.Open(ctx)
	if err != nil {
		panic(err)
	}
	defer store.Close()

	operators := http.NewServeMux() // on a port of its own, on localhost or behind what authenticates
	operators.Handle("/debug/tiercache/", tierdebug.New(store))
	server := httptest.NewServer(operators)
	defer server.Close()

	response, err := http.Get(server.URL + "/debug/tiercache/")
	if err != nil {
		panic(err)
	}
	defer response.Body.Close()
	page, err := io.ReadAll(response.Body)
	if err != nil {
		panic(err)
	}
	fmt.Println(response.Status, strings.Contains(string(page), "tiercache"))
	policy, _, _ := strings.Cut(response.Header.Get("Content-Security-Policy"), ";")
	fmt.Println(policy)
	// Output:
	// 200 OK true
	// default-src 'none'
}

// With WithActions the page can also invalidate, and bypass a namespace. A request that does not come from the page itself is refused.
func ExampleWithActions() {
	store, err := tier.Open(context.Background())
	if err != nil {
		panic(err)
	}
	defer store.Close()
	server := httptest.NewServer(tierdebug.New(store, tierdebug.WithActions()))
	defer server.Close()

	response, err := http.Post(server.URL+"/act", "application/json", strings.NewReader(`{"do": "all"}`))
	if err != nil {
		panic(err)
	}
	defer response.Body.Close()
	fmt.Println(response.Status, store.Stats().Changes)
	// Output: 403 Forbidden 0
}
