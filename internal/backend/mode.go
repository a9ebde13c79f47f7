package backend

import "errors"

// Mode is how a connection works with what its server offers.
type Mode struct {
	// NoTracking: as in Options, or because the server tells of no changed keys. The
	// store is then one without tracking in every respect.
	NoTracking bool
	// Kind says in a few words what the connection is to.
	Kind string
	// Without says what the connection does without and why, in plain words.
	Without []string
}

// Moded is a [Conn] whose Mode depends on its server.
type Moded interface{ Mode() Mode }

// ModeOf returns the mode of a connection that was made with o.
func ModeOf(c Conn, o Options) Mode {
	if m, ok := c.(Moded); ok {
		return m.Mode()
	}
	return Mode{NoTracking: o.NoTracking, Kind: "embedded"}
}

// MayPass reports whether err says of itself that the same attempt may succeed later, without a change
// of what was asked for; ok is false if it says nothing about that.
func MayPass(err error) (passes, ok bool) {
	var says interface{ MayPass() bool }
	if !errors.As(err, &says) {
		return false, false
	}
	return says.MayPass(), true
}
