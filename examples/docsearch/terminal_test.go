package main

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

func TestTableAligns(t *testing.T) {
	var b strings.Builder
	newTerminal(&b).table([]string{"what", ">took"}, [][]string{{"ünï", "1µs"}, {"longer", "100ms"}})
	assert.Equal(t, "   what      took\n   ünï        1µs\n   longer   100ms\n", b.String())
}

func TestColourDoesNotDisturbTheTable(t *testing.T) {
	var b strings.Builder
	out := &terminal{w: &b, colour: true}
	out.table([]string{"origin", "x"}, [][]string{{"local", "y"}})
	assert.Contains(t, b.String(), "\x1b[32mlocal\x1b[0m    y\n")
}

func TestSayWraps(t *testing.T) {
	var b strings.Builder
	newTerminal(&b).say("%s", strings.Repeat("word ", 60))
	checkReadable(t, b.String())
	assert.Equal(t, 4, strings.Count(b.String(), "\n"))
}

func TestLatencyHasThreeDigits(t *testing.T) {
	for d, want := range map[time.Duration]string{
		7: "7ns", 1234: "1.23µs", 56789: "56.8µs", 1234567: "1.23ms", 999999: "1ms", 12345678901: "12.3s",
	} {
		assert.Equal(t, want, latency(d))
	}
}

func TestShort(t *testing.T) {
	assert.Equal(t, "äöü", short("äöü", 3))
	assert.Equal(t, "äö…", short("äöüx", 3))
}
