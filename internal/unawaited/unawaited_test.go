package unawaited

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAMarkIsKeptByDerivedContexts(t *testing.T) {
	require.False(t, Is(t.Context()))
	ctx, cancel := context.WithCancel(Mark(t.Context()))
	defer cancel()
	require.True(t, Is(ctx))
	require.True(t, Is(context.WithoutCancel(ctx)))
	require.True(t, Is(Background()))
	require.Equal(t, ctx, Mark(ctx), "once")
}
