package remote_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/valkey-io/valkey-go"

	"github.com/tiercache/tiercache/internal/backend"
	"github.com/tiercache/tiercache/internal/valkeytest"
	"github.com/tiercache/tiercache/remote"
)

// A step of a scan looks at a number of keys that the server does not tell: what is told is never more than there are.
func TestAPurgeTellsHowManyKeysItHasLookedAt(t *testing.T) {
	s := valkeytest.Start(t)
	fill := func(db, prefix, n string) {
		s.Do(t, "EVAL", "redis.call('SELECT', ARGV[1]); for i = 1, ARGV[3] do redis.call('SET', ARGV[2] .. i, 'v') end", "0", db, prefix, n)
	}
	fill("3", "other:", "1500")
	fill("3", "tiercache:d:n:", "700")
	fill("0", "other:", "100")
	conn := connect(t, remote.Valkey(valkey.ClientOption{InitAddress: []string{s.Addr}, SelectDB: 3}), "tiercache", newInvalidations())
	steps := 0
	done, err := conn.Purge(within(t), backend.PurgeRequest{Prefixes: []string{"tiercache:d:n:"}, Progress: func(p backend.PurgeProgress) {
		steps++
		require.LessOrEqual(t, p.Scanned, int64(2210))
	}})
	require.NoError(t, err)
	require.EqualValues(t, 700, done.Removed)
	require.GreaterOrEqual(t, done.Scanned, int64(2200))
	require.LessOrEqual(t, done.Scanned, int64(2210), "beside the change log")
	require.Greater(t, steps, 1)
	again, err := conn.Purge(within(t), backend.PurgeRequest{Prefixes: []string{"tiercache:d:n:"}})
	require.NoError(t, err)
	require.GreaterOrEqual(t, again.Scanned, int64(1500))
	require.LessOrEqual(t, again.Scanned, int64(1510))
}
