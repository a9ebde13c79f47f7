package envelope

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/s2"
	"github.com/stretchr/testify/require"
	"github.com/zeebo/xxh3"

	"github.com/tiercache/tiercache/invalidation"
)

// The corpus is entries as they are stored, one in a file of hexadecimal digits:
// of every version so far, of one that may follow, and damaged ones. What becomes
// of them is in corpus.json: what was read, "other format" or "damaged".
//
//	go test ./internal/envelope -run TestTheCorpus -update
//
// writes the entries that are missing, and corpus.json. It never changes an entry
// that is there: those stand for what servers hold. A later version adds its own,
// and either reads the older ones or has them be of another format.
var update = flag.Bool("update", false, "write entries that the corpus lacks, and what becomes of all")

const corpusDir, corpusFile = "testdata/corpus", "testdata/corpus.json"

// written are the entries of the corpus that today's Encode writes, and how long
// a payload has to be to be compressed.
func written() map[string]struct {
	Entry
	compress int
} {
	plain := Entry{
		Head:  Head{Expires: time.UnixMilli(1_800_000_000_123), Nonce: 0x0123456789abcdef, AsOf: invalidation.AsOf{Incarnation: 0x1122334455667788, Tick: 1_799_999_000_000_001}, Shape: 0xfedcba9876543210},
		Fresh: time.Minute, Life: time.Hour, Namespace: "docs:technical", Key: "key", Sources: []string{"doc-42", "doc-7"},
		Payload: []byte(`{"title":"As of when"}`),
	}
	with := func(change func(e *Entry)) Entry {
		e := plain
		change(&e)
		return e
	}
	type w = struct {
		Entry
		compress int
	}
	return map[string]w{
		"plain":      {plain, 0},
		"no-sources": {with(func(e *Entry) { e.Sources = nil }), 0},
		"no-payload": {with(func(e *Entry) { e.Payload = nil }), 0},
		"negative":   {with(func(e *Entry) { e.Negative, e.Payload = true, nil }), 0},
		"binary-key": {with(func(e *Entry) { e.Key = "\x00\xff{}\r\n" }), 0},
		"compressed": {with(func(e *Entry) { e.Payload = bytes.Repeat([]byte("again and "), 100) }), 1},
		"cost":       {with(func(e *Entry) { e.Cost = 123_456 }), 0},
		"validator":  {with(func(e *Entry) { e.Validator = `W/"67ab43"` }), 0},
		"load-took":  {with(func(e *Entry) { e.LoadTook = 1_234_567 * time.Microsecond }), 0},
		"all-fields": {with(func(e *Entry) {
			e.Cost, e.Validator, e.LoadTook = 1<<40, strings.Repeat("v", MaxValidator), 48*time.Hour
		}), 0},
	}
}

// corpus makes all entries of the corpus.
func corpus(t *testing.T) map[string][]byte {
	all := make(map[string][]byte)
	for name, w := range written() {
		raw, err := Encode(&w.Entry, w.compress)
		require.NoError(t, err)
		all["v2-"+name] = raw
		if w.Cost == 0 && w.Validator == "" && w.LoadTook == 0 {
			all["v1-"+name] = encodeV1(&w.Entry, w.compress)
		}
	}
	plain, body := all["v2-plain"], func(raw []byte) []byte { return raw[:len(raw)-sumLen] }
	change := func(raw []byte, at int, bit byte) []byte {
		b := bytes.Clone(raw)
		b[(at+len(b))%len(b)] ^= bit
		return b
	}
	fields := func(raw []byte, count byte, more ...byte) []byte {
		_, n := binary.Uvarint(raw[HeadLen:])
		_, m := binary.Uvarint(raw[HeadLen+n:])
		at := HeadLen + n + m
		return slices.Concat(raw[:at], []byte{count}, more, raw[at+1:len(raw)-sumLen])
	}
	later := func(b []byte) []byte { b[versionAt] = 3; return b }
	for name, b := range map[string][]byte{
		"v2-unknown-field":                fields(plain, 2, tagCost, 1, 100, 9, 4, 'n', 'e', 'w', 's'),
		"v2-unknown-field-to-understand":  fields(plain, 2, tagCost, 1, 100, mustUnderstand|9, 4, 'k', 'e', 'y', '7'),
		"v2-unknown-flag":                 change(body(plain), flagsAt, 4),
		"v3-same-layout":                  later(bytes.Clone(body(plain))),
		"v3-unknown-field":                later(fields(plain, 1, 9, 4, 'n', 'e', 'w', 's')),
		"v3-unknown-field-to-understand":  later(fields(plain, 1, mustUnderstand|9, 4, 'k', 'e', 'y', '7')),
		"v3-another-layout-after-head":    append(later(bytes.Clone(plain[:HeadLen])), bytes.Repeat([]byte{0xff}, 40)...),
		"damaged-field-twice":             fields(plain, 2, tagCost, 1, 1, tagCost, 1, 2),
		"damaged-fields-out-of-order":     fields(plain, 2, tagValidator, 1, 'v', tagCost, 1, 1),
		"damaged-field-longer-than-entry": fields(plain, 1, 9, 0xff, 0x7f),
		"damaged-validator-too-long":      fields(plain, 1, append(binary.AppendUvarint([]byte{tagValidator}, MaxValidator+1), make([]byte, MaxValidator+1)...)...),
		"damaged-expiry-no-digits":        append([]byte("18000000001x3"), body(plain)[nonceAt:]...),
		"damaged-cut-but-sealed":          bytes.Clone(plain[:HeadLen+10]),
		"damaged-bomb":                    append(head(flagCompressed, 0, 0, 0, 0, 0, 0), binary.AppendUvarint(nil, MaxPayload+1)...),
		"damaged-bad-compression":         append(head(flagCompressed, 0, 0, 0, 0, 0, 0), s2.Encode(nil, make([]byte, 100))[:4]...),
	} {
		all[name] = []byte(sealed(b))
	}
	old := all["v1-plain"]
	maps.Copy(all, map[string][]byte{
		"damaged-empty":       {},
		"damaged-text":        []byte("hello, world"),
		"damaged-stamp-alone": bytes.Clone(plain[:nonceAt]),
		"damaged-in-expiry":   change(plain, 3, 1),
		"damaged-in-nonce":    change(plain, nonceAt, 1),
		"damaged-in-version":  change(plain, versionAt, 3), // now 1
		"damaged-in-as-of":    change(plain, tickAt+7, 1),
		"damaged-in-check":    change(plain, checkAt, 1),
		"damaged-in-payload":  change(plain, -sumLen-1, 1),
		"damaged-in-sum":      change(plain, -1, 1),
		"damaged-cut-in-head": bytes.Clone(plain[:HeadLen-1]),
		"damaged-cut-at-head": bytes.Clone(plain[:HeadLen]),
		"damaged-cut":         bytes.Clone(plain[:len(plain)-5]),
		"damaged-longer":      append(bytes.Clone(plain), 'x'),
		"damaged-random":      binary.BigEndian.AppendUint64(bytes.Repeat([]byte{0xa5, 0x17, 0x3c}, 40), xxh3.HashString("random")),
		"damaged-v1":          change(old, -sumLen-1, 1),
		"damaged-v1-cut":      bytes.Clone(old[:len(old)-5]),
	})
	return all
}

// result is what is made of an entry.
type result struct {
	Is        string   `json:"is"` // "read", "other format", "damaged"
	Expires   int64    `json:"expires,omitempty"`
	Nonce     string   `json:"nonce,omitempty"`
	AsOf      string   `json:"asOf,omitempty"`
	Shape     string   `json:"shape,omitempty"`
	Negative  bool     `json:"negative,omitempty"`
	Times     string   `json:"freshLifeTook,omitempty"`
	Cost      int64    `json:"cost,omitempty"`
	Validator string   `json:"validator,omitempty"`
	Namespace string   `json:"namespace,omitempty"`
	Key       string   `json:"key,omitempty"`
	Sources   []string `json:"sources,omitempty"`
	Payload   string   `json:"payload,omitempty"`
	// Version1 is what a process of version 1 makes of it.
	Version1 string `json:"version1"`
}

func resultOf(raw string) result {
	r := result{Version1: "read"}
	if _, err := decodeV1(raw); err != nil {
		r.Version1 = err.Error()
	}
	e, err := Decode(raw)
	switch {
	case errors.Is(err, ErrFormat):
		r.Is = "other format"
		return r
	case err != nil:
		r.Is = "damaged"
		return r
	}
	r.Is, r.Expires, r.Nonce, r.Shape = "read", e.Expires.UnixMilli(), fmt.Sprintf("%x", e.Nonce), fmt.Sprintf("%x", e.Shape)
	r.AsOf, r.Times = fmt.Sprintf("%x/%d", e.AsOf.Incarnation, e.AsOf.Tick), fmt.Sprint(e.Fresh, e.Life, e.LoadTook)
	r.Negative, r.Cost, r.Validator, r.Namespace, r.Key, r.Sources = e.Negative, e.Cost, e.Validator, e.Namespace, fmt.Sprintf("%q", e.Key), e.Sources
	r.Payload = fmt.Sprintf("%d bytes, xxh3 %x", len(e.Payload), xxh3.Hash(e.Payload))
	return r
}

func TestTheCorpusIsReadOrMissed(t *testing.T) {
	if *update {
		updateCorpus(t)
	}
	var expected map[string]result
	b, err := os.ReadFile(corpusFile)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(b, &expected))
	got := readCorpus(t)
	require.Equal(t, slices.Sorted(maps.Keys(expected)), slices.Sorted(maps.Keys(got)))
	for name, raw := range got {
		r := resultOf(raw)
		require.Equal(t, expected[name], r, name)
		require.Equal(t, strings.HasPrefix(name, "v1-"), r.Version1 == "read", name)
		require.Equal(t, strings.HasPrefix(name, "damaged-"), r.Is == "damaged", name)
	}
	for name := range corpus(t) {
		require.Contains(t, got, name, "run with -update")
	}
}

// What Encode writes is what version 2 is: if this fails, the format has changed,
// and takes another number. (What is compressed may differ, and be read alike.)
func TestTheFormatIsThatOfTheCorpus(t *testing.T) {
	got := readCorpus(t)
	for name, w := range written() {
		raw, err := Encode(&w.Entry, w.compress)
		require.NoError(t, err)
		if w.compress == 0 {
			require.Equal(t, hex.Dump([]byte(got["v2-"+name])), hex.Dump(raw), name)
		}
		e, err := Decode(got["v2-"+name])
		require.NoError(t, err, name)
		same(t, w.Entry, e)
	}
}

func readCorpus(t testing.TB) map[string]string {
	files, err := filepath.Glob(filepath.Join(corpusDir, "*.hex"))
	require.NoError(t, err)
	require.NotEmpty(t, files)
	all := make(map[string]string)
	for _, file := range files {
		b, err := os.ReadFile(file)
		require.NoError(t, err)
		raw, err := hex.DecodeString(strings.Join(strings.Fields(string(b)), ""))
		require.NoError(t, err, file)
		all[strings.TrimSuffix(filepath.Base(file), ".hex")] = string(raw)
	}
	return all
}

func updateCorpus(t *testing.T) {
	require.NoError(t, os.MkdirAll(corpusDir, 0o755))
	for name, raw := range corpus(t) {
		file := filepath.Join(corpusDir, name+".hex")
		if _, err := os.Stat(file); err == nil {
			continue
		}
		var text strings.Builder
		for line := range slices.Chunk(raw, 32) {
			fmt.Fprintf(&text, "%x\n", line)
		}
		require.NoError(t, os.WriteFile(file, []byte(text.String()), 0o644))
	}
	results := make(map[string]result)
	for name, raw := range readCorpus(t) {
		results[name] = resultOf(raw)
	}
	b, err := json.MarshalIndent(results, "", "  ")
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(corpusFile, append(b, '\n'), 0o644))
}
