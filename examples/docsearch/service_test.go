package main

import (
	"context"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/tiercache/tiercache/internal/valkeytest"
)

func TestMain(m *testing.M) {
	// bleve starts these when it is imported, and they live as long as the process.
	valkeytest.Main(m, goleak.IgnoreTopFunction("github.com/blevesearch/bleve_index_api.AnalysisWorker"))
}

// allDocuments reads the documentation once for all tests.
var allDocuments = sync.OnceValues(func() ([]Document, error) {
	root, err := findGoroot(context.Background())
	if err != nil {
		return nil, err
	}
	return readGoroot(context.Background(), root)
})

// documentsOf returns the documents of packages: few of them are indexed at once.
func documentsOf(t *testing.T, packages ...string) []Document {
	t.Helper()
	all, err := allDocuments()
	require.NoError(t, err)
	var docs []Document
	for _, d := range all {
		for _, p := range packages {
			if d.Package == p {
				docs = append(docs, d)
			}
		}
	}
	require.NotEmpty(t, docs)
	return docs
}

func openCorpus(t *testing.T, docs []Document) *Corpus {
	t.Helper()
	c, err := newCorpus(docs)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	return c
}

// openService opens a small service on an embedded remote.
func openService(t *testing.T) *Service {
	t.Helper()
	s := &Service{}
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	require.NoError(t, s.openStores(t.Context(), config{replicas: 2}))
	var err error
	s.corpus, err = newCorpus(documentsOf(t, "net/http", "sync"))
	require.NoError(t, err)
	require.NoError(t, s.openCaches())
	return s
}

// checkReadable checks that s is text for people: no line too long, nothing left unformatted.
func checkReadable(t *testing.T, s string) {
	t.Helper()
	require.NotContains(t, s, "%!")
	require.NotContains(t, s, "\x1b")
	for line := range strings.Lines(s) {
		require.LessOrEqual(t, length(strings.TrimRight(line, "\n")), 100, line)
	}
}
