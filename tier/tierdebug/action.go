package tierdebug

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tiercache/tiercache/tier"
	"github.com/tiercache/tiercache/tier/internal/inspect"
)

// action is what the page asks to have changed.
type action struct {
	Do        string `json:"do"`      // source, namespace, key, all, bypass, unbypass
	Minutes   int    `json:"minutes"` // of a bypass
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
	case "bypass":
		if a.Minutes < 1 || a.Minutes > 24*60 {
			return "", errors.New("minutes: must be between 1 and 1440")
		}
		return fmt.Sprintf("the namespace %s is bypassed for %d minutes: its values come from loaders", show(a.Name), a.Minutes),
			store.Bypass(ctx, a.Name, time.Duration(a.Minutes)*time.Minute)
	case "unbypass":
		return fmt.Sprintf("the namespace %s is cached again", show(a.Name)), store.Bypass(ctx, a.Name, 0)
	default:
		err = errors.New("do: must be source, namespace, key, all, bypass or unbypass")
	}
	if err != nil {
		return "", err
	}
	if a.Do == "all" {
		return fmt.Sprintf("invalidated everything, as of %v", at), nil
	}
	return fmt.Sprintf("invalidated the %s %s, as of %v", a.Do, show(a.Name), at), nil
}
