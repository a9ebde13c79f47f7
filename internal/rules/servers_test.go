package rules

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The page says on which servers the tests run; the workflow and the CI's script run them there, and get each from where the page says.
func TestTheCITestsTheServersOfThePage(t *testing.T) {
	page := read(t, "docs/stability.md")
	row := regexp.MustCompile(`(?m)^\| Valkey ([\d., ]+) \| every test, in the CI`).FindStringSubmatch(page)
	require.NotNil(t, row)
	promised := strings.Split(row[1], ", ")

	var versions []string
	for _, m := range regexp.MustCompile(`\{version: "([\d.]+)", suite: (\w+)\}`).FindAllStringSubmatch(read(t, ".github/workflows/ci.yml"), -1) {
		versions = append(versions, m[1])
		assert.Regexp(t, regexp.QuoteMeta(m[1])+` from `+m[2]+`\b`, page, "where the page says that it is from")
	}
	assert.Equal(t, promised, versions, "the workflow")

	// Of bookworm, which has the first of them, is the server that the script's other phases run on.
	names := regexp.MustCompile(`(?m)^\s*for name in (.+); do$`).FindStringSubmatch(read(t, ".ci/run"))
	require.NotNil(t, names)
	var run []string
	for name := range strings.FieldsSeq(names[1]) {
		run = append(run, strings.TrimPrefix(name, "valkey-"))
	}
	assert.Equal(t, promised[1:], slices.Sorted(slices.Values(run)), ".ci/run")
}
