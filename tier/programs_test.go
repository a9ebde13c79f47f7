package tier_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/internal/embedded"
	"github.com/tiercache/tiercache/tier"
)

// Hours of fake time have some hundred thousand heartbeats at the default.
var forHours = []tier.Option{tier.WithHeartbeat(5 * time.Second), tier.WithMaxStaleness(10 * time.Second)}

const twoPrograms = `namespace "docs": for over an hour entries have been written in another encoding`

// Two programs that were given one prefix have namespaces of one name, with values of their own. Each is told, once.
func TestTwoProgramsUnderOnePrefixAreFound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := embedded.New(0)
		var logs [2]journal
		var stores [2]*tier.Store
		for i := range stores {
			s, err := tier.Open(t.Context(), append(forHours, tier.WithRemote(hub), tier.WithLogger(logs[i].logger()))...)
			require.NoError(t, err)
			defer s.Close()
			stores[i] = s
		}
		type user struct{ Name string }
		type account struct{ Number int }
		users, accounts := view[user](t, stores[0], "docs"), view[account](t, stores[1], "docs")
		use := func(i int) { // each is the first to load some keys
			k := fmt.Sprint("k", i)
			if i%2 == 0 {
				find(t, users, k, is(user{"name"}))
				synctest.Wait()
			}
			find(t, accounts, k, is(account{1}))
			synctest.Wait()
			find(t, users, k, is(user{"name"}))
			synctest.Wait()
		}
		warned := func() (n int) {
			for _, s := range stores {
				if strings.Contains(strings.Join(s.Health(t.Context()).Warnings, "\n"), twoPrograms) {
					n++
				}
			}
			return n
		}
		for i := range 12 {
			use(i)
			require.Zero(t, warned(), "it may be a deployment")
			time.Sleep(5 * time.Minute)
		}
		use(12)
		time.Sleep(5 * time.Minute)
		use(13)
		require.Equal(t, 2, warned())
		time.Sleep(5 * time.Minute)
		use(14)
		for i := range logs {
			require.Equal(t, 1, strings.Count(logs[i].String(), "for over an hour entries have been written in another encoding"), "%s", logs[i].String())
		}
		time.Sleep(2 * time.Hour)
		require.Zero(t, warned(), "the other program has ended")
	})
}

// A deployment leaves entries of the version before, which are read for as long as they live.
func TestADeploymentIsNoSecondProgram(t *testing.T) {
	inBubbles(t, func(t *testing.T, f *fleet) {
		before, after := f.process(forHours...), f.process(forHours...)
		old, now := version(t, before, 1, tier.WithTTL(24*time.Hour), tier.WithJitter(0)), version(t, after, 2, tier.WithLocalTTL(time.Second))
		for i := range 10 {
			find(t, old, fmt.Sprint(i), is("old"))
			synctest.Wait()
			find(t, now, fmt.Sprint(i), is("new"))
			time.Sleep(5 * time.Minute)
		}
		for range 5 { // well beyond the hour after which it would be told
			time.Sleep(30 * time.Minute)
			for i := range 10 {
				find(t, now, fmt.Sprint(i), is("new"))
				synctest.Wait()
			}
			require.NotContains(t, strings.Join(after.Health(t.Context()).Warnings, "\n"), twoPrograms)
		}
	})
}
