package api

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"
)

// An option that the README's tables lack is not found by those that read them.
func TestEachOptionIsInTheReadme(t *testing.T) {
	listed, err := os.ReadFile(filepath.Join(root, "api", "tier.txt"))
	require.NoError(t, err)
	page, err := os.ReadFile(filepath.Join(root, "README.md"))
	require.NoError(t, err)
	names := regexp.MustCompile(`(?m)^pkg tier, func (\w+)[\[(].* \w*Option$`).FindAllStringSubmatch(string(listed), -1)
	require.Greater(t, len(names), 35, "the test is blind")
	for _, name := range names {
		// With or without arguments; also as code in an example.
		if !regexp.MustCompile(`\b` + name[1] + `\b`).Match(page) {
			t.Errorf("%s is not in README.md", name[1])
		}
	}
}
