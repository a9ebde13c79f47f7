package tier

import (
	"context"
	"fmt"
	"time"

	"github.com/tiercache/tiercache/tier/internal/core"
)

// Explanation says what each tier holds for a key, whether that is believed,
// and if not, why.
type Explanation struct {
	Namespace, Key string
	// RemoteKey is the name under which the remote tier has the key.
	RemoteKey     string
	Local, Remote Holding
}

// Holding is what one tier has for a key.
type Holding struct {
	Present bool
	// Unknown: it could not be asked, or was not, and Why says why.
	Unknown bool
	// Valid: a read would be answered with it. If not, Why says why not; Changed
	// and ChangedAt are set if that is a change: "source …", "namespace …" or
	// "everything".
	Valid     bool
	Why       string
	Changed   string
	ChangedAt AsOf
	Negative  bool
	// Outage: it is valid only as long as the remote tier is away (WithOutageTTL).
	Outage   bool
	AsOf     AsOf
	Age, TTL time.Duration
	Sources  []string
}

func (h Holding) String() string {
	switch {
	case h.Unknown:
		return "not known: " + h.Why
	case !h.Present:
		return "nothing"
	}
	verdict := "valid"
	if !h.Valid {
		verdict = "not valid: " + h.Why
	}
	if h.Outage {
		verdict += " while the remote tier is away"
	}
	return fmt.Sprintf("%s, as of %v, age %v, TTL %v, sources %q",
		verdict, h.AsOf, h.Age.Round(time.Millisecond), h.TTL.Round(time.Millisecond), h.Sources)
}

func (e Explanation) String() string {
	return fmt.Sprintf("%s/%.80q (%s)\n  local:  %v\n  remote: %v", e.Namespace, e.Key, e.RemoteKey, e.Local, e.Remote)
}

// Explain reads both tiers and the change log, changes nothing and never loads.
// A value that was just loaded here and is still being stored is waited for. It
// returns ErrUnavailable, with what is known locally, if the remote tier does
// not answer; its Holding is Unknown then.
func (c *Cache[V]) Explain(ctx context.Context, key string) (Explanation, error) {
	e, err := c.view.Cache().Explain(ctx, key)
	return explanationOf(e), err
}

func explanationOf(e core.Explanation) Explanation {
	return Explanation{Namespace: e.Namespace, Key: e.Key, RemoteKey: e.RemoteKey, Local: holdingOf(e.Local), Remote: holdingOf(e.Remote)}
}

func holdingOf(h core.Holding) Holding {
	return Holding{Present: h.Present, Unknown: h.Unknown, Valid: h.Valid, Why: h.Why, Changed: h.Changed, ChangedAt: h.ChangedAt,
		Negative: h.Negative, Outage: h.Outage, AsOf: h.AsOf, Age: h.Age, TTL: h.TTL, Sources: h.Sources}
}
