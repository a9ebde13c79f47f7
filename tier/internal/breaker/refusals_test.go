package breaker

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/internal/backend"
	"github.com/tiercache/tiercache/internal/remoteerr"
)

func TestAnEntryThatIsReplacedWhileItIsReadIsNoRefusal(t *testing.T) {
	var r Refusals
	r.recordRead(Reads, nil, remoteerr.OfRest{Err: remoteerr.ErrReplaced})
	require.Empty(t, r.Now())
	r.recordRead(Reads, nil, remoteerr.OfRest{Err: remoteerr.Refusal("NOPERM no")})
	require.Contains(t, r.Now(), "reading a large entry")
	r.recordRead(Reads, []backend.Item{{Raw: "small"}}, nil)
	require.Contains(t, r.Now(), "reading a large entry", "a small one was read")
	r.recordRead(Reads, []backend.Item{{Raw: string(make([]byte, backend.LargeLen+1))}}, nil)
	require.Empty(t, r.Now())
}
