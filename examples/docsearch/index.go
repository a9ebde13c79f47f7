package main

import (
	"fmt"
	"strings"
	"unicode"

	"github.com/blevesearch/bleve/v2"
	"github.com/blevesearch/bleve/v2/analysis"
	"github.com/blevesearch/bleve/v2/analysis/lang/en"
	"github.com/blevesearch/bleve/v2/index/scorch"
	"github.com/blevesearch/bleve/v2/mapping"
	bleveindex "github.com/blevesearch/bleve_index_api"
)

// Index is a full-text index of documents, in memory. It may be searched while it is written.
type Index struct {
	bleve   bleve.Index
	english analysis.Analyzer
}

// entry is what of a document is indexed. The words of its name count apart from its text: the
// comment on Shutdown may never say "server", but its name, net/http.Server.Shutdown, does.
type entry struct {
	Name string `json:"name"`
	Text string `json:"text"`
}

func newIndex(docs []Document) (*Index, error) {
	m := indexMapping()
	// An empty path keeps scorch in memory. It indexes several times faster than bleve.NewMemOnly.
	b, err := bleve.NewUsing("", m, scorch.Name, scorch.Name, nil)
	if err != nil {
		return nil, fmt.Errorf("open index: %w", err)
	}
	ix := &Index{bleve: b, english: m.AnalyzerNamed(en.AnalyzerName)}
	const batchSize = 2000 // large batches make few segments, which are quick to search
	batch := b.NewBatch()
	for i, d := range docs {
		if err := batch.Index(d.ID, entry{words(d.ID), d.Text}); err != nil {
			return nil, fmt.Errorf("index %s: %w", d.ID, err)
		}
		if batch.Size() == batchSize || i == len(docs)-1 {
			if err := b.Batch(batch); err != nil {
				return nil, fmt.Errorf("index: %w", err)
			}
			batch.Reset()
		}
	}
	return ix, nil
}

func indexMapping() *mapping.IndexMappingImpl {
	field := bleve.NewTextFieldMapping()
	field.Analyzer = en.AnalyzerName
	field.Store, field.DocValues, field.IncludeInAll, field.IncludeTermVectors = false, false, false, false
	doc := bleve.NewDocumentStaticMapping()
	doc.AddFieldMappingsAt("name", field)
	doc.AddFieldMappingsAt("text", field)
	m := bleve.NewIndexMapping()
	m.DefaultMapping = doc
	m.ScoringModel = bleveindex.BM25Scoring
	return m
}

// Put adds a document or replaces the one with its id.
func (ix *Index) Put(d Document) error {
	return ix.bleve.Index(d.ID, entry{words(d.ID), d.Text})
}

// Search returns the ids of the n documents that match question best, the best first.
func (ix *Index) Search(question string, n int) ([]string, error) {
	name := bleve.NewMatchQuery(question)
	name.SetField("name")
	text := bleve.NewMatchQuery(question)
	text.SetField("text")
	request := bleve.NewSearchRequestOptions(bleve.NewDisjunctionQuery(name, text), n, 0, false)
	result, err := ix.bleve.Search(request)
	if err != nil {
		return nil, fmt.Errorf("search: %w", err)
	}
	ids := make([]string, len(result.Hits))
	for i, h := range result.Hits {
		ids[i] = h.ID
	}
	return ids, nil
}

// Terms returns the distinct words of text as the index sees them: stemmed, without stop words.
func (ix *Index) Terms(text string) map[string]bool {
	terms := map[string]bool{}
	for _, token := range ix.english.Analyze([]byte(words(text))) {
		terms[string(token.Term)] = true
	}
	return terms
}

// Close frees the index.
func (ix *Index) Close() error { return ix.bleve.Close() }

// words splits identifiers into words: "net/http.StripPrefix" gives "net http Strip Prefix".
func words(s string) string {
	var b strings.Builder
	var last rune
	for _, r := range s {
		switch {
		case r == '/' || r == '.' || r == '_':
			b.WriteByte(' ')
		case unicode.IsUpper(r) && unicode.IsLower(last):
			b.WriteByte(' ')
			fallthrough
		default:
			b.WriteRune(r)
		}
		last = r
	}
	return b.String()
}
