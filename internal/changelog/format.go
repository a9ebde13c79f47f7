package changelog

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/tiercache/tiercache/invalidation"
)

// Format is the version of the change log and of published messages that this package
// reads and writes.
//
// A log states its format in the member "l<newest>:<least>" (score -1): the newest format
// of anything in it, and the least format that a version must know to read it or add to
// it. A later format that only adds what earlier versions may ignore leaves the least as
// it is; a log without the member is of format 1.
//
// A scope of a later format is spelt "~<format>:…" if earlier versions are to skip it, and
// "|<format>:…" if they cannot judge an entry without knowing what it means. Anything
// else that is not spelt as this package spells scopes is no member, and a log that
// holds it is damaged. (Versions before format 1 take either for a scope on which
// nothing depends, and do not look for the member.)
const Format = 1

// maxMember is the greatest length of a member of any format, in bytes.
const maxMember = 1024

// kind says how this version treats a member of the log, or a scope in a message.
type kind uint8

const (
	ours             kind = iota // a scope of this format
	skippable                    // of a later format, and to be skipped
	fromLaterVersion             // of a later format, and not to be skipped
	foreign                      // no member at all
)

// kindOf returns the kind of a scope that was read, and with fromLaterVersion its format.
func kindOf(s invalidation.Scope) (k kind, format int) {
	if len(s) < 2 || len(s) > maxMember {
		return foreign, 0
	}
	switch s[0] {
	case 's', 'n', 'k', 'w', 'b':
		if isScope(string(s[1:])) {
			return ours, 0
		}
	case 'z': // z, a number in base 36, and a scope's name
		if i := strings.IndexAny(string(s), ":#"); i > 1 {
			if _, err := strconv.ParseUint(string(s[1:i]), 36, 64); err == nil && isScope(string(s[i:])) {
				return ours, 0
			}
		}
	case '~', '|':
		number, _, ok := strings.Cut(string(s[1:]), ":")
		format, err := strconv.Atoi(number)
		switch {
		case !ok || err != nil || format <= Format || number[0] == '+' || number[0] == '0':
		case s[0] == '~':
			return skippable, format
		default:
			return fromLaterVersion, format
		}
	}
	return foreign, 0
}

// isScope reports whether s can follow the kind of a scope: see scope.
func isScope(s string) bool {
	name := s[1:]
	switch s[0] {
	case ':':
		return len(name) <= invalidation.MaxPlain
	case '#':
		return len(name) == 32 && strings.Trim(name, "0123456789abcdef") == ""
	}
	return false
}

var errForeign = errors.New("the change log holds members that no store writes")

// read removes the changes that this version is to skip from the delta. It returns
// errForeign if the log is damaged, and another error if it is of a later format.
func (d *Delta) read() error {
	if d.Damaged {
		return errForeign
	}
	d.Changes, d.bypass = cutBypass(d.Changes)
	kept := d.Changes[:0]
	damaged, newest := false, 0
	for _, c := range d.Changes {
		switch k, format := kindOf(c.Scope); k {
		case ours:
			kept = append(kept, c)
		case fromLaterVersion:
			newest = max(newest, format)
		case foreign:
			// guard: unknown-member-is-damage
			damaged = true
		}
	}
	d.Changes = kept
	switch {
	// guard: later-member-format
	case newest > 0: // the log is not replaced, even if it is damaged too
		return fmt.Errorf("the change log holds members of format %d; this version reads formats up to %d: use a later version, or delete the log, which makes every entry a miss", newest, Format)
	case damaged:
		return errForeign
	}
	return nil
}
