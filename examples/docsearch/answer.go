package main

import (
	"cmp"
	"context"
	"slices"
	"strings"
)

// Answer is what is cached: sentences taken from documents, and the ids of all documents that were
// looked at to choose them, the quoted ones first.
type Answer struct {
	Text    string
	Sources []string
}

const (
	retrieved = 5 // documents that an answer is made from
	quoted    = 2 // sentences in an answer
)

// answer looks a question up in the documents and quotes the sentences that fit best. ok is false
// if nothing fits. This is the work that the cache saves; with a language model behind the
// retrieval it would take a second instead of a millisecond.
func answer(ctx context.Context, corpus *Corpus, question string) (a Answer, ok bool, err error) {
	docs, err := corpus.Retrieve(question, retrieved)
	if err != nil {
		return Answer{}, false, err
	}
	if err := ctx.Err(); err != nil {
		return Answer{}, false, err
	}
	wanted := corpus.Terms(question)
	passages := rank(corpus, docs, wanted)
	if len(passages) == 0 || 2*passages[0].matched <= len(wanted) {
		return Answer{}, false, nil
	}
	passages = passages[:min(quoted, len(passages))]
	var texts, ids []string
	for _, p := range passages {
		texts, ids = append(texts, p.text), append(ids, p.id)
	}
	for _, d := range docs {
		ids = append(ids, d.ID) // the others too: with other words they would have been quoted
	}
	return Answer{Text: strings.Join(texts, " "), Sources: distinct(ids)}, true, nil
}

// distinct drops what came before, and keeps the order.
func distinct(ids []string) []string {
	var out []string
	for _, id := range ids {
		if !slices.Contains(out, id) {
			out = append(out, id)
		}
	}
	return out
}

// passage is a sentence of a document.
type passage struct {
	id      string // of the document
	text    string
	matched int     // terms of the question in the sentence or in the name of its document
	score   float64 // among passages of one question
}

// rank returns the sentences of docs that share a term with the question, the best first.
func rank(corpus *Corpus, docs []Document, wanted map[string]bool) []passage {
	var passages []passage
	seen := map[string]bool{}
	for place, d := range docs {
		named := corpus.Terms(d.ID)
		for i, sentence := range sentences(d.Text) {
			if seen[sentence] {
				continue // many symbols repeat a sentence of their siblings
			}
			seen[sentence] = true
			own, all := 0, 0
			terms := corpus.Terms(sentence)
			for term := range wanted {
				if terms[term] {
					own++
				}
				if terms[term] || named[term] {
					all++
				}
			}
			if own == 0 {
				continue
			}
			// Its own words count most; then those of its document's name, the document's rank, and
			// being the first sentence, which in a Go comment says what the thing does.
			score := float64(own) + 0.6*float64(all-own) - 0.4*float64(place)
			if i == 0 {
				score += 0.5
			}
			passages = append(passages, passage{d.ID, sentence, all, score})
		}
	}
	slices.SortStableFunc(passages, func(a, b passage) int { return cmp.Compare(b.score, a.score) })
	return passages
}

// sentences splits a document's text, leaving out code, the sentences that lead up to it, and
// headings: none of them can stand alone.
func sentences(text string) []string {
	var out []string
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "\t") || strings.HasPrefix(line, "#") {
			continue
		}
		line = strings.TrimSpace(line)
		for line != "" {
			end := sentenceEnd(line)
			if sentence := strings.TrimSpace(line[:end]); !strings.HasSuffix(sentence, ":") {
				out = append(out, sentence)
			}
			line = strings.TrimSpace(line[end:])
		}
	}
	return out
}

// sentenceEnd returns the index after the first sentence: a full stop or a question mark, then a
// space, but neither within "e.g. this" nor after a lone capital as in "U.S. Federal".
func sentenceEnd(s string) int {
	for i := 1; i+2 < len(s); i++ {
		if s[i] != '.' && s[i] != '?' || s[i+1] != ' ' {
			continue
		}
		small := 'a' <= s[i+2] && s[i+2] <= 'z'
		initial := 'A' <= s[i-1] && s[i-1] <= 'Z' && (i == 1 || s[i-2] == '.' || s[i-2] == ' ')
		if !small && !initial {
			return i + 1
		}
	}
	return len(s)
}
