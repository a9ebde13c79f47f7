package remote

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// One table says what is asked of a server, and the page says the same of each command.
func TestEachAbilityIsAskedForOnceAndTold(t *testing.T) {
	page, err := os.ReadFile("../docs/providers.md")
	require.NoError(t, err)
	_, table, ok := strings.Cut(string(page), "## What a store needs")
	require.True(t, ok)
	table, _, ok = strings.Cut(table, "\n## ")
	require.True(t, ok)
	without := make(map[string]string)
	for line := range strings.Lines(table) {
		cells := strings.Split(line, "|")
		if len(cells) != 5 {
			continue
		}
		for _, command := range regexp.MustCompile("`([A-Z_ ]+)`").FindAllStringSubmatch(cells[1], -1) {
			require.NotContains(t, without, command[1], "it has one row")
			without[command[1]] = strings.TrimSpace(cells[3])
		}
	}
	asked := make(map[string]bool)
	for _, a := range abilities {
		command := strings.ToUpper(strings.ReplaceAll(a.right, "|", " "))
		require.False(t, asked[command], "%s is asked for twice", command)
		asked[command] = true
		require.Contains(t, without, command)
		require.Equal(t, a.without == "", strings.HasPrefix(without[command], "`Open` fails"), "%s: %s", command, without[command])
	}
}
