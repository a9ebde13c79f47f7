package tier_test

import (
	"strconv"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/tier"
)

// What was loaded while the server was away is believed when it is back, if the log tells all that could have changed it: without
// tracking. With it a key may have been set or deleted, and nothing tells.
func TestAfterAnOutageTheOriginIsSparedWhereTheLogTellsAll(t *testing.T) {
	partitioned(t, func(t *testing.T, p *partition) {
		const keys = 50
		c := view[string](t, p.store, "docs", tier.WithTTL(time.Minute))
		var loads atomic.Int64
		load := counted(&loads, is("v", "doc"))
		read := func() int64 {
			was := loads.Load()
			for i := range keys {
				require.Equal(t, "v", find(t, c, strconv.Itoa(i), load).Value)
			}
			return loads.Load() - was
		}
		read()
		synctest.Wait()
		p.begin()
		time.Sleep(2 * time.Minute) // all of it has expired
		require.EqualValues(t, keys, read())
		require.EqualValues(t, keys, read(), "in the outage nothing is believed")
		p.end()
		if !p.tracked {
			require.Zero(t, read(), "what was loaded meanwhile is")
			require.Equal(t, tier.Local, find(t, c, "0", unneeded).Origin)
			require.False(t, find(t, c, "0", unneeded).Outage)
		} else {
			require.EqualValues(t, keys, read())
		}
	})
}

// Whatever another process changes meanwhile, it is known before a copy is served.
func TestI2WhatWasLoadedInAnOutageIsJudgedByTheLog(t *testing.T) {
	for name, change := range map[string]func(t *testing.T, p *partition, b *tier.Cache[string]) error{
		"set":    func(t *testing.T, _ *partition, b *tier.Cache[string]) error { return b.Set(t.Context(), "k", "new") },
		"delete": func(t *testing.T, _ *partition, b *tier.Cache[string]) error { return b.Delete(t.Context(), "k") },
		"set, and deleted": func(t *testing.T, _ *partition, b *tier.Cache[string]) error {
			require.NoError(t, b.Set(t.Context(), "k", "other"))
			return b.Delete(t.Context(), "k")
		},
		"source": func(t *testing.T, p *partition, _ *tier.Cache[string]) error {
			_, err := p.other.InvalidateSource(t.Context(), "doc")
			return err
		},
		"namespace": func(t *testing.T, p *partition, _ *tier.Cache[string]) error {
			_, err := p.other.InvalidateNamespace(t.Context(), "docs")
			return err
		},
		"all": func(t *testing.T, p *partition, _ *tier.Cache[string]) error {
			_, err := p.other.InvalidateAll(t.Context())
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			partitioned(t, func(t *testing.T, p *partition) {
				a, b := view[string](t, p.store, "docs"), view[string](t, p.other, "docs")
				leave := view[string](t, p.store, "docs", tier.WithOutageTTL(time.Hour))
				p.begin()
				find(t, a, "k", is("old", "doc"))
				find(t, a, "other", is("v"), tier.Fresh())
				find(t, leave, "left", is("v"))
				require.NoError(t, change(t, p, b))
				p.end()
				require.Equal(t, "new", find(t, a, "k", is("new")).Value)
				if !p.tracked && (name == "set" || name == "delete" || name == "source" || name == "set, and deleted") {
					assert.Equal(t, tier.Local, find(t, a, "other", unneeded).Origin)
					assert.Equal(t, tier.Local, find(t, leave, "left", unneeded).Origin)
				}
			})
		})
	}
}

// What this process changed, or tried to, ends what it had loaded before.
func TestI1WhatWasLoadedInAnOutageEndsWithAChangeHere(t *testing.T) {
	partitioned(t, func(t *testing.T, p *partition) {
		a := view[string](t, p.store, "docs")
		p.begin()
		for _, key := range []string{"set", "deleted", "source"} {
			find(t, a, key, is("old", "doc of "+key))
		}
		require.Error(t, a.Set(t.Context(), "set", "new"))
		require.Error(t, a.Delete(t.Context(), "deleted"))
		_, err := p.store.InvalidateSource(t.Context(), "doc of source")
		require.Error(t, err)
		p.end()
		for _, key := range []string{"set", "deleted", "source"} {
			require.Equal(t, "new", find(t, a, key, is("new")).Value, key)
		}
	})
}
