package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// The measured figures are those of BenchmarkFleet (docs/scaling.md). Its times of the processor vary by a third from run to run.
func TestTheSimulationIsLikeTheMeasurement(t *testing.T) {
	for name, x := range map[string]struct {
		f              fleet
		busy, messages float64
	}{
		"50 stores, nothing changes":         {normal.of(50, 0), 50 * 690e-6, 0},
		"50 stores, a bound of 250 ms":       {narrow.of(50, 0), 50 * 1100e-6, 0},
		"200 stores, nothing changes":        {normal.of(200, 0), 200 * 520e-6, 0},
		"200 stores, a bound of 250 ms":      {narrow.of(200, 0), 200 * 860e-6, 0},
		"200 stores, 1,000 changes a second": {normal.of(200, 1000), 200*520e-6 + 990*145e-6, 10_140},
		"200 stores, 3,800 changes a second": {normal.of(200, 3800), 200*520e-6 + 3800*80e-6, 10_200},
	} {
		r := simulate(x.f, 6*time.Second)
		t.Logf("%s: simulated %.3f, measured %.3f", name, r.busy, x.busy)
		require.InDelta(t, 1, r.busy/x.busy, 0.4, name)
		require.InDelta(t, x.messages, r.messages, 0.05*x.messages+1, name)
	}
}

func TestAPaceKeepsALargeFleetFromFallingBehind(t *testing.T) {
	paced, each := simulate(normal.of(500, 1000), 3*time.Second), simulate(unpaced.of(500, 1000), 3*time.Second)
	require.Less(t, paced.busy, 1.0)
	require.Equal(t, 1.0, each.busy)
	require.Less(t, paced.heard9, 250*time.Millisecond)
	require.Zero(t, paced.unproven)
	require.Equal(t, 1.0, simulate(narrow.of(10_000, 0), 3*time.Second).busy)
}

func TestTablesAndPicture(t *testing.T) {
	var b strings.Builder
	tables(&b, 1100*time.Millisecond)
	require.Contains(t, b.String(), "| 200 | 1000 |")
	file := filepath.Join(t.TempDir(), "x.svg")
	require.NoError(t, draw(file, 1100*time.Millisecond))
	svg, err := os.ReadFile(file)
	require.NoError(t, err)
	require.True(t, strings.HasPrefix(string(svg), "<svg "))
}
