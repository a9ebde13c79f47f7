package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Taking all guards out takes long; that each is still where the list says is quickly seen.
func TestEveryGuardIsFoundInTheSource(t *testing.T) {
	for _, g := range guards {
		source, err := os.ReadFile(filepath.Join("..", "..", g.file))
		require.NoError(t, err, g.name)
		assert.True(t, strings.Contains(string(source), g.old), "%q is not in %s any more", g.name, g.file)
	}
}
