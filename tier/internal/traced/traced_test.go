package traced

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/internal/backend"
	"github.com/tiercache/tiercache/internal/changelog"
)

// heads is a connection that answers a request for heads.
type heads struct {
	backend.Conn
	items []backend.Item
	err   error
}

func (h *heads) GetHeads(context.Context, []string, []string, *changelog.DeltaQuery) ([]backend.Item, changelog.Delta, error) {
	return h.items, changelog.Delta{}, h.err
}

// Shard: there is one server.
func (h *heads) Shard(string) *backend.Shard { return nil }

// told notes what a tracer is told.
type told struct {
	ops      []Op
	outcomes []Outcome
}

func (t *told) Start(ctx context.Context, op Op) context.Context {
	t.ops = append(t.ops, op)
	return ctx
}

func (t *told) End(_ context.Context, out Outcome) { t.outcomes = append(t.outcomes, out) }

// Guard: the heads that prove suspended copies are a request like any, also together with entries that are read.
func TestATracerIsToldOfHeads(t *testing.T) {
	tracer, inner := &told{}, &heads{items: []backend.Item{{Present: true, Raw: "head"}, {}, {Present: true, Raw: "entry"}}}
	c := Wrap(inner, &Told{Tracer: tracer}, backend.Options{Prefix: "p"}, "server", func(f func()) { f() })
	names := []string{"p:d:docs:{0123456789012345678901}", "p:d:docs:{1123456789012345678901}"}
	items, _, err := c.GetHeads(t.Context(), names, names[:1], nil)
	require.NoError(t, err)
	require.Equal(t, inner.items, items)
	inner.items, inner.err = nil, errors.New("away")
	_, _, err = c.GetHeads(t.Context(), names, nil, nil)
	require.ErrorIs(t, err, inner.err)
	require.Len(t, tracer.outcomes, 2)
	require.Equal(t, []Op{
		{Name: "get", Remote: true, Namespace: "docs", Keys: 3, Server: "server"},
		{Name: "get", Remote: true, Namespace: "docs", Keys: 2, Server: "server"},
	}, tracer.ops)
	require.Equal(t, 2, tracer.outcomes[0].Found)
	require.NoError(t, tracer.outcomes[0].Err)
	require.ErrorIs(t, tracer.outcomes[1].Err, inner.err)
}
