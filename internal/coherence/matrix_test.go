package coherence

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// faultKinds are all faults that are done to fleets, by what they are done to.
type faultKinds struct {
	of     string
	faults []fault
}

func allFaults() []faultKinds {
	return []faultKinds{{"one server and the network before it", faults}, {"a primary with a replica", topologyFaults}, {"a cluster of three primaries, each with a replica", clusterFaults}}
}

// matrix is the table of docs/faults.md. Each fault is judged by I1, I2, I4 and
// I5, and no read may fail (I8); what differs is for which values.
func matrix() string {
	var out strings.Builder
	out.WriteString("| fault | docs | cells | cells, without tracking |\n|---|---|---|---|\n")
	yes := map[bool]string{true: "–", false: "yes"}
	for _, k := range allFaults() {
		fmt.Fprintf(&out, "| *of %s:* | | | |\n", k.of)
		for _, f := range k.faults {
			fmt.Fprintf(&out, "| %s | %s | %s | %s |\n", f.name, yes[f.lies], yes[f.lies || f.spares.in(Config{})], yes[f.lies || f.spares.in(Config{NoTracking: true})])
		}
	}
	return out.String()
}

const docsFile = "../../docs/faults.md"

// TIERCACHE_DOCS=write puts the table in.
func TestTheDocsHaveEveryFaultInTheirTable(t *testing.T) {
	b, err := os.ReadFile(docsFile)
	require.NoError(t, err)
	text := string(b)
	begin := strings.Index(text, "| fault | docs |")
	require.Positive(t, begin, "the table")
	end := begin + strings.Index(text[begin:], "\n\n") + 1
	if os.Getenv("TIERCACHE_DOCS") == "write" {
		require.NoError(t, os.WriteFile(docsFile, []byte(text[:begin]+matrix()+text[end:]), 0o644))
		return
	}
	require.Equal(t, matrix(), text[begin:end], "TIERCACHE_DOCS=write go test -run TheDocsHave ./internal/coherence")
}

func TestNoTwoFaultsHaveOneName(t *testing.T) {
	seen := make(map[string]bool)
	for _, k := range allFaults() {
		for _, f := range k.faults {
			require.False(t, seen[f.name], f.name)
			seen[f.name] = true
		}
	}
}
