// Package waits has what processes tell each other of loaders that wait for keys that another process loads, so that
// loaders in different processes that wait for each other are found.
//
//	A: loads x, and its loader asks for y
//	B: loads y, and its loader asks for x
//	each waits for the other's lease to end, which is renewed for as long as the load runs
//
// A loader that has waited for a while notes, beside the key that it loads, for which key it waits. Then it follows the
// notes: from the key that it waits for to the one that the loader of that waits for, and so on. If they lead back
// to a key that it loads itself, at two looks that are farther apart than a note lasts, each of these waits has gone on
// between the looks, and none of them can end.
package waits

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/tiercache/tiercache/internal/mono"
)

// Key is a key that is loaded.
type Key struct {
	Name       string // of the remote key
	Space, Key string // for messages
}

// mostNamed is how many bytes of a key a message has.
const mostNamed = 80

func (k Key) String() string {
	return fmt.Sprintf("%s %q", k.Space, k.Key[:min(len(k.Key), mostNamed)])
}

// Note says for which key the loader of another waits. It is the token of a lease on NameOf that.
type Note struct {
	By  string // the token of the load that waits
	For Key
}

// NameOf is the name under which it is noted for what the loader of a key waits.
func NameOf(name string) string { return name + "&" }

const (
	version = "w1"
	// mostBytes bounds a note that is read: stored bytes may be anyone's.
	mostBytes = 4096
)

// Encode returns the note as a token.
func (n Note) Encode() string {
	return strings.Join([]string{version, n.By, n.For.Name, n.For.Space, n.For.Key[:min(len(n.For.Key), mostNamed)]}, "\x00")
}

// Parse is the opposite. It reports whether it is a note.
func Parse(token string) (n Note, ok bool) {
	if len(token) > mostBytes {
		return n, false
	}
	parts := strings.SplitN(token, "\x00", 5)
	// What is read is named in errors: the key is quoted there.
	if len(parts) != 5 || parts[0] != version || !utf8.ValidString(parts[3]) || strings.ContainsFunc(parts[3], unicode.IsControl) {
		return n, false
	}
	return Note{parts[1], Key{parts[2], parts[3], parts[4]}}, true
}

// mostSteps bounds the notes that are followed.
const mostSteps = 16

// Follow follows the notes from a key to the first that own reports to be loaded here, and returns the notes on that way.
// If they do not lead to one, it returns nil.
func Follow(ctx context.Context, from string, own func(name string) bool, read func(ctx context.Context, name string) (token string, err error)) ([]Note, error) {
	var way []Note
	for at := from; len(way) < mostSteps; {
		token, err := read(ctx, NameOf(at))
		if err != nil {
			return nil, err
		}
		n, ok := Parse(token)
		if !ok {
			return nil, nil
		}
		way = append(way, n)
		if own(n.For.Name) {
			return way, nil
		}
		at = n.For.Name
	}
	return nil, nil
}

// Looks are those of one waiting loader.
type Looks struct {
	way   []Note
	first mono.Time // at which this way was seen
}

// Confirmed takes the way that was seen at now, nil if there was none. It reports whether it was seen before, longer
// ago than a note lasts: then each has been renewed since.
func (l *Looks) Confirmed(way []Note, now mono.Time, lasts time.Duration) bool {
	if way == nil || !slices.Equal(way, l.way) {
		l.way, l.first = way, now
		return false
	}
	// guard: fleet-cycle-seen-twice
	return now.Sub(l.first) > lasts
}

// Describe names the keys of a way from a key, whose last note is for a key that is loaded here.
func Describe(from Key, way []Note) string {
	var b strings.Builder
	b.WriteString("it waits for " + from.String() + ", which another process loads")
	for _, n := range way {
		b.WriteString(", which waits for " + n.For.String())
	}
	return b.String()
}
