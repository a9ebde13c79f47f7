package tierdebug

import (
	"context"
	"errors"
	"fmt"

	"github.com/tiercache/tiercache/tier"
	"github.com/tiercache/tiercache/tier/internal/inspect"
)

// action is what the page asks to have changed.
type action struct {
	Do        string `json:"do"` // source, namespace, key, all
	Name      string `json:"name"`
	Namespace string `json:"namespace"`
}

// perform does it, and says what was done.
func (a *action) perform(ctx context.Context, store *tier.Store, inside *inspect.Store) (string, error) {
	var at tier.AsOf
	var err error
	switch a.Do {
	case "source":
		at, err = store.InvalidateSource(ctx, a.Name)
	case "namespace":
		at, err = store.InvalidateNamespace(ctx, a.Name)
	case "all":
		at, err = store.InvalidateAll(ctx)
	case "key":
		return fmt.Sprintf("deleted the key %s of %s", show(a.Name), show(a.Namespace)), inside.Delete(ctx, a.Namespace, a.Name)
	default:
		err = errors.New("do: must be source, namespace, key or all")
	}
	if err != nil {
		return "", err
	}
	if a.Do == "all" {
		return fmt.Sprintf("invalidated everything, as of %v", at), nil
	}
	return fmt.Sprintf("invalidated the %s %s, as of %v", a.Do, show(a.Name), at), nil
}
