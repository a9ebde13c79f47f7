package tier_test

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/internal/interpose"
	"github.com/tiercache/tiercache/tier"
)

// bypassed returns what a process that knows all changes says is bypassed.
func bypassed(t *testing.T, f *fleet, s *tier.Store) string {
	t.Helper()
	f.sync()
	synctest.Wait()
	return strings.Join(s.Health(t.Context()).Warnings, "\n")
}

// A: has read the list, and is about to write it
// B: bypasses another namespace, or ends a bypass
// A: writes
func TestBypassesThatAreChangedAtOnceAreAllKept(t *testing.T) {
	for what, edit := range map[string]func(t *testing.T, b *tier.Store) error{
		"another": func(t *testing.T, b *tier.Store) error { return b.Bypass(bg, "users", time.Hour) },
		"the end": func(t *testing.T, b *tier.Store) error { return b.Bypass(bg, "pages", 0) },
	} {
		t.Run(what, func(t *testing.T) {
			inBubbles(t, func(t *testing.T, f *fleet) {
				hooks := &interpose.Backend{Inner: f.hub}
				a, b, watching := f.over(hooks), f.process(), f.process()
				require.NoError(t, b.Bypass(bg, "pages", time.Hour))
				done := make(chan error, 1)
				begun := false
				hooks.Before(func(op interpose.Op) error {
					if op == interpose.Write && !begun {
						begun = true
						go func() { done <- edit(t, b) }()
						synctest.Wait()
					}
					return nil
				})
				require.NoError(t, a.Bypass(bg, "docs", time.Hour))
				require.NoError(t, <-done)
				is := bypassed(t, f, watching)
				assert.Contains(t, is, `"docs"`)
				assert.Equal(t, what == "another", strings.Contains(is, `"users"`))
				assert.Equal(t, what == "another", strings.Contains(is, `"pages"`))
			})
		})
	}
}

// A: has read the list, and is stopped for longer than its right to write it lasts
// B: bypasses another namespace
// A: goes on
func TestABypassThatWasStoppedOverwritesNoOther(t *testing.T) {
	inBubbles(t, func(t *testing.T, f *fleet) {
		hooks := &interpose.Backend{Inner: f.hub}
		a, b, watching := f.over(hooks), f.process(), f.process()
		stopped := false
		hooks.Before(func(op interpose.Op) error {
			if op == interpose.Write && !stopped {
				stopped = true
				assert.NoError(t, b.Bypass(bg, "users", time.Hour))
			}
			return nil
		})
		require.NoError(t, a.Bypass(bg, "docs", time.Hour))
		is := bypassed(t, f, watching)
		assert.Contains(t, is, `"docs"`)
		assert.Contains(t, is, `"users"`)
	})
}

// One that fails leaves others their right at once.
func TestABypassThatFailedHoldsUpNoOther(t *testing.T) {
	inBubbles(t, func(t *testing.T, f *fleet) {
		hooks := &interpose.Backend{Inner: f.hub}
		a, b := f.over(hooks), f.process()
		full := errors.New("the test refuses it")
		hooks.Before(func(op interpose.Op) error {
			if op == interpose.Write {
				return full
			}
			return nil
		})
		require.ErrorIs(t, a.Bypass(bg, "docs", time.Hour), full)
		begun := time.Now()
		require.NoError(t, b.Bypass(bg, "docs", time.Hour))
		require.Zero(t, time.Since(begun))
	})
}

// A: is editing the list
// B: waits for its turn, and is closed
func TestABypassThatWaitsEndsWithItsStore(t *testing.T) {
	inBubbles(t, func(t *testing.T, f *fleet) {
		hooks := &interpose.Backend{Inner: f.hub}
		a, b := f.over(hooks), f.process()
		goOn := make(chan struct{})
		hooks.Before(func(op interpose.Op) error {
			if op == interpose.Write {
				<-goOn
			}
			return nil
		})
		edited, waited := make(chan error, 1), make(chan error, 1)
		go func() { edited <- a.Bypass(bg, "docs", time.Hour) }()
		synctest.Wait()
		go func() { waited <- b.Bypass(bg, "users", time.Hour) }()
		synctest.Wait()
		require.Empty(t, waited)
		require.NoError(t, b.Close())
		require.ErrorIs(t, <-waited, tier.ErrClosed)
		close(goOn)
		require.NoError(t, <-edited)
	})
}

// Processes are told that the list has changed, and it is no change of theirs: the log is asked about none of them.
func TestBypassesOfSeveralProcessesLoseNoHistory(t *testing.T) {
	inBubbles(t, func(t *testing.T, f *fleet) {
		a, b := f.process(), f.process()
		docs := view[string](t, a, "docs", tier.WithTTL(time.Hour))
		find(t, docs, "k", is("v"))
		for _, s := range []*tier.Store{a, b, a} {
			require.NoError(t, s.Bypass(bg, "users", time.Hour))
			f.sync()
		}
		require.NoError(t, b.Bypass(bg, "users", 0))
		f.sync()
		require.Equal(t, "v", find(t, docs, "k", unneeded).Value)
		for _, s := range []*tier.Store{a, b} {
			require.Zero(t, s.Stats().HistoryLosses)
		}
	})
}
