package core

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/tiercache/tiercache/tier/internal/encodings"
	"github.com/tiercache/tiercache/tier/internal/record"
	"github.com/tiercache/tiercache/tier/internal/session"
)

// maxKey is the longest key in bytes.
const MaxKey = 1 << 20

func checkKey(key string) error {
	if key == "" {
		return errors.New("tier: a key must not be empty")
	}
	if len(key) > MaxKey {
		return fmt.Errorf("tier: key %.40q… is %d bytes long, the limit is %d", key, len(key), MaxKey)
	}
	return nil
}

// Namespace is what the views of one namespace share in a store while it is used. It refers to what lasts longer.
type Namespace struct {
	session.Namespace
	Stats   *Counters
	Kinds   record.Kinds
	lasting *Lasting
	// unencoded says what was wrong with the latest value that could not be encoded.
	unencoded atomic.Pointer[string]
	// guessed is the type of values whose size is a guess.
	guessed atomic.Pointer[string]
	other   encodings.Other
}

// hasNotes reports whether it has something to warn of, which would be lost with it.
func (n *Namespace) hasNotes() bool {
	return n.unencoded.Load() != nil || n.guessed.Load() != nil || n.other.HasSeen()
}

// tokenPrefix returns a random prefix for one store's tokens.
func tokenPrefix() string {
	var b [12]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}
