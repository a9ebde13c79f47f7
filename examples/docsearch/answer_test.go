package main

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestAnswersOfTheWholeLibrary(t *testing.T) {
	docs, err := allDocuments()
	require.NoError(t, err)
	corpus := openCorpus(t, docs)
	ask := func(question string) (Answer, bool) {
		a, ok, err := answer(t.Context(), corpus, question)
		require.NoError(t, err)
		return a, ok
	}

	t.Run("every question of the tour has one", func(t *testing.T) {
		for _, q := range append(questions, deprecated) {
			a, ok := ask(q.Text)
			assert.True(t, ok, q.Text)
			assert.NotEmpty(t, a.Text, q.Text)
			assert.Len(t, a.Sources, retrieved, q.Text)
		}
	})
	t.Run("no answer is better than nonsense", func(t *testing.T) {
		for _, question := range []string{unanswerable.Text, "What is the capital of France?", "the of", ""} {
			a, ok := ask(question)
			assert.False(t, ok, "%s: %s", question, a.Text)
		}
	})
	for question, want := range map[string]struct{ source, text string }{
		questions[0].Text:                         {"net/http.Server.Shutdown", "Shutdown gracefully shuts down the server"},
		"What must not be copied in a Mutex?":     {"sync.Mutex", "A Mutex must not be copied after first use."},
		"How do I read a whole file?":             {"os.ReadFile", "ReadFile reads the named file and returns the contents."},
		"How do I stop a ticker?":                 {"time.Ticker.Stop", "Stop turns off a ticker."},
		"what replaces deprecated ioutil ReadAll": {"io/ioutil.ReadAll", "Deprecated:"},
	} {
		t.Run(question, func(t *testing.T) {
			a, ok := ask(question)
			assert.True(t, ok)
			assert.Contains(t, a.Sources, want.source)
			assert.Contains(t, a.Text, want.text)
		})
	}
}

func TestEditChangesTheAnswer(t *testing.T) {
	corpus := openCorpus(t, documentsOf(t, "net/http"))
	before, _, err := answer(t.Context(), corpus, questions[0].Text)
	require.NoError(t, err)
	id := before.Sources[0]
	old, ok := corpus.Document(id)
	require.True(t, ok)
	require.NoError(t, corpus.Edit(id, func(text string) string { return text + "\n" + added }))

	after, _, err := answer(t.Context(), corpus, questions[0].Text)
	require.NoError(t, err)
	assert.NotContains(t, before.Text, added)
	assert.Contains(t, after.Text, added)
	assert.NotContains(t, old.Text, added, "an edit leaves the copies that readers hold alone")
	require.ErrorIs(t, corpus.Edit("no/such", func(s string) string { return s }), errNoDocument)
}

func TestSentences(t *testing.T) {
	got := sentences("Do it, e.g. this way. See U.S. Federal law? Yes.\n\tcode. Here.\n# Heading\nAs follows:\n  - One item.\n")
	assert.Equal(t, []string{"Do it, e.g. this way.", "See U.S. Federal law?", "Yes.", "- One item."}, got)
}

func TestWords(t *testing.T) {
	assert.Equal(t, "net http Server Strip Prefix HTTP", words("net/http.Server.StripPrefix_HTTP"))
}
