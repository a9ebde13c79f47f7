package core

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/tier/internal/inflight"
	"github.com/tiercache/tiercache/tier/internal/record"
	"github.com/tiercache/tiercache/tier/internal/values"
)

// A call keeps its outcome until its last caller has it, and a value that it put into the local tier may leave that meanwhile:
//
//	A: loads k, and puts it into the local tier
//	B: puts another key, and k leaves; the user is told, and closes the value
//	C: begins, and joins A's call, which has not been unregistered yet
func TestAValueThatHasLeftIsNotSharedAnyMore(t *testing.T) {
	kind := record.NewKind[string]("docs")
	c := Cache{typed: values.Type{Kind: kind}}
	out := inflight.Outcome{Served: inflight.Served{It: record.NewItemOf(kind, "v"), Origin: inflight.FromLoader}}
	require.True(t, c.canServe(&out))
	out.It.Once(record.Left)
	require.False(t, c.canServe(&out))
}
