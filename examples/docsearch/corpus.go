package main

import (
	"errors"
	"fmt"
	"sync"
)

var errNoDocument = errors.New("no document")

func noDocument(id string) error { return fmt.Errorf("%w %q", errNoDocument, id) }

// Corpus is the source of truth: the documents as they are now, and the index over them. All
// replicas share it, as the processes of a service share a database.
type Corpus struct {
	index *Index

	mu   sync.RWMutex // guards docs, and makes an edit and its indexing one step for other edits
	docs map[string]Document
}

func newCorpus(docs []Document) (*Corpus, error) {
	index, err := newIndex(docs)
	if err != nil {
		return nil, err
	}
	c := &Corpus{index: index, docs: make(map[string]Document, len(docs))}
	for _, d := range docs {
		c.docs[d.ID] = d
	}
	return c, nil
}

// Len is the number of documents.
func (c *Corpus) Len() int {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return len(c.docs)
}

// Packages is the number of documents that describe a package.
func (c *Corpus) Packages() (n int) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	for _, d := range c.docs {
		if d.Kind == "package" {
			n++
		}
	}
	return n
}

// Document returns the present version of a document.
func (c *Corpus) Document(id string) (Document, bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	d, ok := c.docs[id]
	return d, ok
}

// Edit replaces a document by a copy with another text. It tells no cache: that is the caller's
// next step, and it has to come after this one.
//
// A search that runs meanwhile may find the old index and the new text, or the reverse. That needs
// no lock: the answer made of them is as of before the change, so no cache will believe it.
func (c *Corpus) Edit(id string, rewrite func(text string) string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	d, ok := c.docs[id]
	if !ok {
		return noDocument(id)
	}
	d.Text = rewrite(d.Text)
	if err := c.index.Put(d); err != nil {
		return fmt.Errorf("index %s: %w", id, err)
	}
	c.docs[id] = d
	return nil
}

// Retrieve returns the n documents that fit the question best, the best first.
func (c *Corpus) Retrieve(question string, n int) ([]Document, error) {
	ids, err := c.index.Search(question, n)
	if err != nil {
		return nil, err
	}
	c.mu.RLock()
	defer c.mu.RUnlock()
	docs := make([]Document, len(ids))
	for i, id := range ids {
		docs[i] = c.docs[id]
	}
	return docs, nil
}

// Terms returns the words of text that count in a search.
func (c *Corpus) Terms(text string) map[string]bool { return c.index.Terms(text) }

// Close frees the index.
func (c *Corpus) Close() error { return c.index.Close() }
