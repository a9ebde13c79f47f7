package tier_test

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/tiercache/tiercache/remote"
	"github.com/tiercache/tiercache/tier"
)

// What the examples answer questions from.
type (
	Answer   struct{ Text string }
	document struct{ id, text string }
)

func search(_ context.Context, question string) ([]document, error) {
	return []document{{"doc-42", "Two tiers: this process, and Valkey."}}, nil
}

func generate(_ context.Context, question string, docs []document) (Answer, error) {
	fmt.Println("generating")
	return Answer{docs[0].text}, nil
}

func ids(docs []document) (out []string) {
	for _, d := range docs {
		out = append(out, d.id)
	}
	return out
}

// With tier.WithValkey("valkey://127.0.0.1:6379") the remote tier is a server
// that other processes share; without it, it is in this process.
func Example() {
	ctx := context.Background()
	store, err := tier.Open(ctx)
	if err != nil {
		panic(err)
	}
	defer store.Close()

	answers, err := tier.New[Answer](store, "docs:technical", tier.WithTTL(tier.Documentation))
	if err != nil {
		panic(err)
	}
	ask := func(question string) {
		a, err := answers.Get(ctx, question, func(ctx context.Context, e *tier.Entry) (Answer, error) {
			docs, err := search(ctx, question)
			if err != nil {
				return Answer{}, err
			}
			e.DependsOn(ids(docs)...)
			return generate(ctx, question, docs)
		})
		fmt.Println(a.Text, err)
	}
	ask("How many tiers?")
	ask("How many tiers?")

	store.InvalidateSource(ctx, "doc-42")  // a document changed: every answer made from it is gone
	store.InvalidateNamespace(ctx, "docs") // docs and all below it
	store.InvalidateAll(ctx)               // the version bump
	ask("How many tiers?")
	// Output:
	// generating
	// Two tiers: this process, and Valkey. <nil>
	// Two tiers: this process, and Valkey. <nil>
	// generating
	// Two tiers: this process, and Valkey. <nil>
}

// Strategy 1: each kind of content has its TTL, and a loader knows better for
// its entry.
func Example_ttl() {
	ctx := context.Background()
	store, _ := tier.Open(ctx)
	defer store.Close()
	pages, _ := tier.New[string](store, "pages", tier.WithTTL(tier.Documentation))

	load := func(ctx context.Context, e *tier.Entry) (string, error) { return "manual", nil }
	quick := func(ctx context.Context, e *tier.Entry) (string, error) {
		e.SetTTL(tier.RealTime)
		return "status page", nil
	}
	for key, load := range map[string]tier.Loader[string]{"manual": load, "status": quick} {
		r, _ := pages.Lookup(ctx, key, load)
		fmt.Println(r.Value, "lives for", r.TTL.Round(time.Minute))
	}
	fmt.Println(pages.Set(ctx, "k", "v", tier.WithTTL(time.Microsecond)))
	// Unordered output:
	// manual lives for 6h0m0s
	// status page lives for 1m0s
	// tier: set: TTL 1µs: must be at least 1ms
}

// Strategy 2: the version bump. A deployment changes what all answers look like.
func ExampleStore_InvalidateAll() {
	ctx := context.Background()
	store, _ := tier.Open(ctx)
	defer store.Close()
	pages, _ := tier.New[string](store, "pages")
	users, _ := tier.New[string](store, "users")
	pages.Set(ctx, "home", "of version 1")
	users.Set(ctx, "ada", "of version 1")

	store.InvalidateAll(ctx) // one command, however many entries there are

	_, there, _ := pages.Peek(ctx, "home")
	_, here, _ := users.Peek(ctx, "ada")
	fmt.Println(there, here)
	// Output: false false
}

// Strategy 3: source documents. Two processes share a remote tier; one learns
// that a document has changed.
func ExampleStore_InvalidateSource() {
	ctx := context.Background()
	valkey := remote.NewEmbedded(0) // in place of a server
	one, _ := tier.Open(ctx, tier.WithRemote(valkey))
	defer one.Close()
	two, _ := tier.Open(ctx, tier.WithRemote(valkey))
	defer two.Close()

	text := "draft"
	load := func(ctx context.Context, e *tier.Entry) (string, error) {
		e.DependsOn("doc-42", "doc-7")
		return text, nil
	}
	answers, _ := tier.New[string](one, "answers")
	fmt.Println(answers.Get(ctx, "what?", load))

	text = "final"
	two.InvalidateSource(ctx, "doc-42")

	// The store "one" learns of it within a moment; Fresh and Sync are for callers that cannot wait.
	fmt.Println(answers.Get(ctx, "what?", load, tier.Fresh()))
	// Output:
	// draft <nil>
	// final <nil>
}

// Strategy 4: namespaces. An invalidation is one command and leaves the memory
// to expiry; a purge gives it back now.
func ExampleStore_Purge() {
	ctx := context.Background()
	store, _ := tier.Open(ctx)
	defer store.Close()
	for _, path := range []string{"docs:technical", "docs:legal", "users"} {
		c, _ := tier.New[string](store, path)
		c.SetMany(ctx, map[string]string{"a": "…", "b": "…"})
	}
	store.InvalidateNamespace(ctx, "docs:technical") // docs:legal stays

	done, err := store.Purge(ctx, "docs", func(p tier.PurgeProgress) {
		fmt.Println(p.Removed, "so far")
	})
	fmt.Println(done.Removed, "removed,", err)

	users, _ := tier.New[string](store, "users")
	_, ok, _ := users.Peek(ctx, "a")
	fmt.Println("users stay:", ok)
	// Output:
	// 4 so far
	// 4 removed, <nil>
	// users stay: true
}

// Strategy 5: LRU. Both tiers drop what was used least when they are full; a
// server does by its maxmemory-policy, which Health judges.
func ExampleStore_Health() {
	ctx := context.Background()
	store, _ := tier.Open(ctx, tier.WithLocalEntries(2), tier.WithRemote(remote.NewEmbedded(64<<10)))
	defer store.Close()
	pages, _ := tier.New[string](store, "pages")
	for i := range 100 {
		pages.Set(ctx, fmt.Sprint(i), strings.Repeat("x", 4<<10))
	}
	h := store.Health(ctx)
	fmt.Println(h.Healthy, h.Policy, h.UsedMemory <= h.MaxMemory)
	fmt.Println(store.Stats().LocalEntries, "in the local tier")
	_, oldest, _ := pages.Peek(ctx, "0")
	_, newest, _ := pages.Peek(ctx, "99")
	fmt.Println(oldest, newest)
	// Output:
	// true allkeys-lru (log kept) true
	// 2 in the local tier
	// false true
}

// The strategies combine in one cache.
func Example_combined() {
	ctx := context.Background()
	store, _ := tier.Open(ctx, tier.WithLocalBytes(8<<20)) // LRU
	defer store.Close()
	answers, _ := tier.New[string](store, "docs:technical",
		tier.WithTTL(tier.Documentation), tier.WithJitter(0.1), // TTL
		tier.WithStaleOnError(time.Hour),
		tier.WithEarlyRefresh(0.8))

	n := 0
	load := func(ctx context.Context, e *tier.Entry) (int, error) { n++; e.DependsOn("doc-42"); return n, nil }
	ask := func() {
		v, err := answers.Get(ctx, "q", func(ctx context.Context, e *tier.Entry) (string, error) {
			n, err := load(ctx, e)
			return fmt.Sprint("answer ", n), err
		})
		fmt.Println(v, err)
	}
	ask()
	ask()
	store.InvalidateSource(ctx, "doc-42")
	ask()
	store.InvalidateNamespace(ctx, "docs")
	ask()
	store.InvalidateAll(ctx)
	ask()
	e, _ := answers.Explain(ctx, "q")
	fmt.Println(e.Local.Valid, e.Local.Sources)
	// Output:
	// answer 1 <nil>
	// answer 1 <nil>
	// answer 2 <nil>
	// answer 3 <nil>
	// answer 4 <nil>
	// true [doc-42]
}

// Without Valkey every read would be a load; here, one in 30 s for each key and
// process. Result.Outage tells such an answer from one that is proven.
func ExampleWithOutageTTL() {
	ctx := context.Background()
	store, _ := tier.Open(ctx)
	defer store.Close()
	prices, _ := tier.New[string](store, "prices", tier.WithTTL(tier.RealTime), tier.WithOutageTTL(30*time.Second))
	load := func(ctx context.Context, e *tier.Entry) (string, error) { return "1.08", nil }
	for range 2 {
		price, err := prices.Lookup(ctx, "EURUSD", load)
		fmt.Println(price.Value, price.Origin, price.Outage, err)
	}
	// Output:
	// 1.08 loaded false <nil>
	// 1.08 local false <nil>
}

// What a loader does not find is remembered, too.
func ExampleCache_GetMany() {
	ctx := context.Background()
	store, _ := tier.Open(ctx)
	defer store.Close()
	users, _ := tier.New[string](store, "users", tier.WithTTL(tier.UserData))
	load := func(ctx context.Context, keys []string, e tier.Entries) (map[string]string, error) {
		fmt.Println("loading", len(keys))
		found := map[string]string{}
		for _, key := range keys {
			if key != "nobody" {
				e.For(key).DependsOn("user-" + key)
				found[key] = strings.ToUpper(key)
			}
		}
		return found, nil
	}
	fmt.Println(users.GetMany(ctx, []string{"ada", "nobody", "bob"}, load))
	fmt.Println(users.GetMany(ctx, []string{"bob", "nobody", "eve"}, load))
	// Output:
	// loading 3
	// map[ada:ADA bob:BOB] <nil>
	// loading 1
	// map[bob:BOB eve:EVE] <nil>
}

// A caller that has read the source before says as of when, so that a change
// that came in between is not lost.
func ExampleWithAsOf() {
	ctx := context.Background()
	store, _ := tier.Open(ctx)
	defer store.Close()
	pages, _ := tier.New[string](store, "pages")

	asOf := store.AsOf()
	text := "what the source said"                                                // the source is read,
	store.InvalidateSource(ctx, "doc-42")                                         // changes,
	pages.Set(ctx, "home", text, tier.WithAsOf(asOf), tier.WithSources("doc-42")) // and what was read is stored

	_, ok, _ := pages.Peek(ctx, "home")
	fmt.Println("believed:", ok)
	// Output: believed: false
}

// Explain answers "why was this not a hit?".
func ExampleCache_Explain() {
	ctx := context.Background()
	store, _ := tier.Open(ctx)
	defer store.Close()
	pages, _ := tier.New[string](store, "pages")
	pages.Set(ctx, "home", "…", tier.WithSources("doc-42"))
	store.InvalidateSource(ctx, "doc-42")

	e, _ := pages.Explain(ctx, "home")
	fmt.Println(e.Remote.Present, e.Remote.Valid, e.Remote.Why)
	// Output: true false source "doc-42" changed
}
