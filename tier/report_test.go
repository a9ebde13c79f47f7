package tier_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/remote"
	"github.com/tiercache/tiercache/tier"
	"github.com/tiercache/tiercache/tier/internal/inspect"
)

func TestStoresReportWhatTheyDo(t *testing.T) {
	shared := remote.NewEmbedded(0)
	synctest.Test(t, func(t *testing.T) {
		var stores []*tier.Store
		for _, options := range [][]tier.Option{{tier.WithReport()}, {tier.WithReport()}, {}} {
			s, err := tier.Open(t.Context(), append(options, tier.WithRemote(shared))...)
			require.NoError(t, err)
			t.Cleanup(func() { require.NoError(t, s.Close()) })
			stores = append(stores, s)
		}
		docs, err := tier.New[int](stores[0], "docs")
		require.NoError(t, err)
		var loads int
		for i := range 40 {
			_, err := docs.Get(t.Context(), fmt.Sprint("key-", i%4), counting(&loads))
			require.NoError(t, err)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		fleet, err := inspect.Of(stores[2]).Fleet(t.Context())
		require.NoError(t, err)
		require.Len(t, fleet, 2, "those that opt in")
		reads, e := 0.0, tier.Explanation{}
		e, err = docs.Explain(t.Context(), "key-1")
		require.NoError(t, err)
		hashes := ""
		for _, r := range fleet {
			reads += r.Reads
			require.Equal(t, "embedded", r.Mode)
			require.Empty(t, r.Trouble())
			for _, h := range r.Top {
				require.Equal(t, "docs", h.Namespace)
				hashes += "{" + h.Hash + "}"
			}
		}
		require.Positive(t, reads)
		require.Contains(t, hashes, e.RemoteKey[len(e.RemoteKey)-24:])
		require.NotContains(t, hashes, "key-1")
		require.NoError(t, stores[0].Close())
		time.Sleep(40 * time.Second)
		fleet, err = inspect.Of(stores[2]).Fleet(t.Context())
		require.NoError(t, err)
		require.Len(t, fleet, 1, "one that has ended is forgotten")
	})
}
