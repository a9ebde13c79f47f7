package main

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/zeebo/xxh3"

	"github.com/tiercache/tiercache/internal/envelope"
)

// decodeEntry reads a stored entry as a store does: explain says whether a store believes it. The error says why none would.
func decodeEntry(raw string) (envelope.Entry, error) {
	e, err := envelope.DecodeWithin(raw, longestString)
	switch {
	case errors.Is(err, envelope.ErrFormat):
		err = fmt.Errorf("another format: %w", err)
	case err != nil:
		err = fmt.Errorf("damaged: %w", err)
	}
	return e, err
}

// longestString is the longest that a server stores, with its default proto-max-bulk-len.
const longestString = 512 << 20

const leaseSuffix = "!"

// entryName is the name under which the server has a key's entry.
func entryName(prefix, namespace, key string) string {
	h := xxh3.HashString128Seed(key, xxh3.HashString(namespace)).Bytes()
	return namespacePrefix(prefix, namespace) + ":{" + base64.RawURLEncoding.EncodeToString(h[:]) + "}"
}

// namespacePrefix begins the names of a namespace's entries.
func namespacePrefix(prefix, namespace string) string {
	var b strings.Builder
	b.WriteString(prefix + ":d:")
	for i := range len(namespace) {
		if c := namespace[i]; plainByte(c) || c == ':' {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02x", c)
		}
	}
	return b.String()
}

func plainByte(b byte) bool {
	return b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z' || b >= '0' && b <= '9' || b == '-' || b == '_' || b == '.'
}

// parseName takes the name of an entry or of its lease apart.
func parseName(prefix, name string) (namespace string, lease, ok bool) {
	name, ok = strings.CutPrefix(name, prefix+":d:")
	if !ok {
		return "", false, false
	}
	name, lease = strings.CutSuffix(name, leaseSuffix)
	at := strings.LastIndex(name, ":{")
	if at < 1 || !strings.HasSuffix(name, "}") {
		return "", false, false
	}
	namespace, err := url.PathUnescape(name[:at])
	return namespace, lease, err == nil
}
