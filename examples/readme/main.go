package main

import (
	"context"
	"fmt"
	"log"

	"github.com/tiercache/tiercache/tier"
)

func main() {
	if err := run(context.Background(), "How do I shut down a server?"); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, question string) error {
	store, err := tier.Open(ctx, tier.WithValkey("valkey://127.0.0.1:6379")) // leave it out: an in-process remote, same semantics
	if err != nil {
		return err
	}
	defer store.Close()

	answers, err := tier.New[Answer](store, "docs:technical", tier.WithTTL(tier.Documentation))
	if err != nil {
		return err
	}

	a, err := answers.Get(ctx, question, func(ctx context.Context, e *tier.Entry) (Answer, error) {
		docs, err := search(ctx, question)
		if err != nil {
			return Answer{}, err
		}
		e.DependsOn(ids(docs)...)
		return generate(ctx, question, docs)
	})
	if err != nil {
		return err
	}
	fmt.Println(a.Text)

	_, err = store.InvalidateSource(ctx, "doc-42")  // a document changed: every answer made from it is gone, in every process
	_, err = store.InvalidateNamespace(ctx, "docs") // docs and all below it
	_, err = store.InvalidateAll(ctx)               // the version bump
	return err
}

// What follows stands in for your own retrieval and generation.

type Answer struct{ Text string }

type Document struct{ ID, Text string }

func search(context.Context, string) ([]Document, error) {
	return []Document{{"doc-42", "Call Shutdown, and wait for it to return."}}, nil
}

func ids(docs []Document) (out []string) {
	for _, d := range docs {
		out = append(out, d.ID)
	}
	return out
}

func generate(_ context.Context, _ string, docs []Document) (Answer, error) {
	return Answer{docs[0].Text}, nil
}
