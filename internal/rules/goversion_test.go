package rules

import (
	"regexp"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Regression: go.work asked for a later Go than the module, so the README's first command failed with the oldest that it names.
func TestTheWorkspaceNeedsNoLaterGoThanTheModule(t *testing.T) {
	version := regexp.MustCompile(`(?m)^go (\d+\.\d+)\.\d+$`)
	find := func(file string) string {
		m := version.FindStringSubmatch(read(t, file))
		require.NotNil(t, m, file)
		return m[1]
	}
	oldest := find("go.mod")
	assert.Equal(t, oldest, find("go.work"))
	for _, m := range regexp.MustCompile(`(?m)^\t\./(\S+)$`).FindAllStringSubmatch(read(t, "go.work"), -1) {
		assert.Equal(t, oldest, find(m[1]+"/go.mod"), m[1])
	}
	assert.Contains(t, read(t, "README.md"), "It needs Go "+oldest+",")
	assert.Contains(t, read(t, "docs/stability.md"), "`go.mod` names the oldest: Go "+oldest+".")
}
