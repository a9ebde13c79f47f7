package main

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestGorootHoldsThousandsOfDocuments(t *testing.T) {
	docs, err := allDocuments()
	require.NoError(t, err)
	assert.Greater(t, len(docs), 2000)
	byID := map[string]Document{}
	for _, d := range docs {
		assert.NotContains(t, byID, d.ID, "ids are unique")
		byID[d.ID] = d
	}
	for id, kind := range map[string]string{
		"net/http": "package", "net/http.Server": "type", "net/http.Server.Shutdown": "method", "net/http.ListenAndServe": "func",
		"net/http.NewRequest": "func", "io.EOF": "var", "builtin.append": "func",
	} {
		assert.Equal(t, kind, byID[id].Kind, id)
		assert.NotEmpty(t, byID[id].Text, id)
	}
}

func TestReadGorootSaysWhatIsMissing(t *testing.T) {
	_, err := readGoroot(t.Context(), t.TempDir())
	require.ErrorContains(t, err, "cannot read the documentation of Go")
}
