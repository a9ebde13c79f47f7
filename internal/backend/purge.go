package backend

import (
	"fmt"
	"strconv"
	"strings"
)

// PurgeRequest says what to remove. Keys are removed in batches; Progress, if
// not nil, is called after each.
type PurgeRequest struct {
	Prefixes []string
	Resume   string // a Progress.Resume of an earlier purge, or empty
	Progress func(PurgeProgress)
}

// PurgeProgress counts what a purge has done so far.
type PurgeProgress struct {
	Scanned int64 // keys looked at, of the whole server; with Valkey about 1000 more each time
	Removed int64 // keys removed, leases included
	// Resume continues the purge after the last finished batch; it is empty
	// when the purge is complete.
	Resume string
}

// PurgePosition is where a purge is: in the scan for which prefix, on which server. The
// servers of a cluster are scanned one after the other, by address.
type PurgePosition struct {
	Prefix  int // of PurgeRequest.Prefixes
	Cursor  uint64
	Address string // empty where there is one server
}

// String is PurgeProgress.Resume of the position.
func (p PurgePosition) String() string {
	s := fmt.Sprintf("%d:%d", p.Prefix, p.Cursor)
	if p.Address != "" {
		s += "@" + p.Address
	}
	return s
}

// Position is that of p.Resume, or the first. Its error matches [ErrResume].
func (p PurgeRequest) Position() (PurgePosition, error) {
	if p.Resume == "" {
		return PurgePosition{}, nil
	}
	rest, address, _ := strings.Cut(p.Resume, "@")
	a, b, ok := strings.Cut(rest, ":")
	prefix, err1 := strconv.Atoi(a)
	cursor, err2 := strconv.ParseUint(b, 10, 64)
	if !ok || err1 != nil || err2 != nil || prefix < 0 || prefix >= len(p.Prefixes) {
		return PurgePosition{}, fmt.Errorf("purge cannot be resumed at %q: it is %w", p.Resume, ErrResume)
	}
	return PurgePosition{prefix, cursor, address}, nil
}
