package changelog

import (
	"encoding/json"
	"errors"
	"time"

	"github.com/tiercache/tiercache/invalidation"
)

// BypassScope changes when the list of bypassed namespaces does, which is stored under BypassKey. It is spelt as one of a later
// format that may be skipped: earlier versions skip it, and nothing depends on it. The list itself is no part of the log, which
// remembers a scope by its name alone and forgets it in time.
const BypassScope invalidation.Scope = "~2:bypass"

// BypassKey returns the name under which the list of bypassed namespaces is stored, in the slot of the log.
func BypassKey(prefix string) string { return prefix + ":{" + prefix + "}:bypass" }

// Bypass says until when, by the server's clock, processes use no tier for a namespace and those below it.
type Bypass struct {
	Namespace string    `json:"namespace"`
	Until     time.Time `json:"until"`
}

// MaxBypass is the longest time that a bypass can last.
const MaxBypass = 24 * time.Hour

// mostBypasses bounds a list, and mostBypassBytes its stored form, which any program may have written.
const (
	mostBypasses    = 1000
	mostBypassBytes = 1 << 20
)

// EncodeBypasses returns the stored form of a list.
func EncodeBypasses(list []Bypass) ([]byte, error) {
	if len(list) > mostBypasses {
		return nil, errors.New("too many namespaces are bypassed: bypass one that they have in common")
	}
	return json.Marshal(list)
}

// ParseBypasses reads the stored form of a list. What has passed at now, or lasts for longer than a bypass can, is left out.
func ParseBypasses(raw string, now time.Time) ([]Bypass, error) {
	if raw == "" {
		return nil, nil
	}
	if len(raw) > mostBypassBytes {
		return nil, errBypasses
	}
	var list []Bypass
	if err := json.Unmarshal([]byte(raw), &list); err != nil || len(list) > mostBypasses {
		return nil, errBypasses
	}
	kept := list[:0]
	for _, b := range list {
		if invalidation.CheckNamespace(b.Namespace) == nil && b.Until.After(now) && b.Until.Before(now.Add(MaxBypass+time.Minute)) {
			kept = append(kept, b)
		}
	}
	return kept, nil
}

var errBypasses = errors.New("the list of bypassed namespaces cannot be read, and is taken to be empty: bypass a namespace again, or delete the key")

// isBypass reports whether s is what tells that the list has changed. It is applied nowhere, not where it is recorded either: it would be a
// witness there, and a later one of another process, which is not applied, would look like a log of another history:
//
//	A: records that the list has changed, at 1
//	B: does so, at 2; A hears of it, so that its watermark is 2
//	A: asks for what changed after 2, with the change at 1 as a witness; its scope has changed at 2, which A has not applied
func isBypass(s invalidation.Scope) bool { return s == BypassScope }

// cutBypass removes BypassScope from scopes that were read, and reports whether it was there.
func cutBypass(changes []ScopeTick) (rest []ScopeTick, found bool) {
	rest = changes[:0]
	for _, c := range changes {
		if isBypass(c.Scope) {
			found = true
			continue
		}
		rest = append(rest, c)
	}
	return rest, found
}
