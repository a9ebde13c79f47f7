package rules

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/tiercache/tiercache/internal/backend"
)

// The length of a lease is written by hand where users read it.
func TestThePagesSayHowLongALeaseLasts(t *testing.T) {
	length := fmt.Sprintf("%g s", backend.DefaultLeaseTTL.Seconds())
	third, twice := fmt.Sprintf("%g s", backend.DefaultLeaseTTL.Seconds()/3), fmt.Sprintf("%g s", 2*backend.DefaultLeaseTTL.Seconds())
	assert.Contains(t, read(t, "docs/rules.md"), "is renewed every "+third)
	assert.Contains(t, read(t, "docs/images/read.svg"), "renew lease, each "+third)
	assert.Contains(t, read(t, "docs/strategies.md"), "in different processes within "+twice+".")
	assert.Contains(t, read(t, "tier/errors.go"), "lease periods ("+twice+")")
	for file, words := range map[string]string{
		"docs/rules.md":                "A lease lasts %s (",
		"docs/format.md":               "| string, TTL %s | the lease of",
		"docs/providers.md":            "leases of loads that take more than %s",
		"docs/tierctl.md":              "loads of more than %s may run twice",
		"remote/trial.go":              "loads longer than %s may run twice",
		"cmd/tierctl/doctor_rights.go": "loads of more than %s may run twice",
	} {
		assert.True(t, strings.Contains(read(t, file), fmt.Sprintf(words, length)), "%s does not say "+words, file, length)
	}
}
