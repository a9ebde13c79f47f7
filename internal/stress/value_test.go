package stress

import (
	"bytes"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"strings"
)

// object is a value that has structure.
type object struct {
	Key  string
	Text string
	Tags []string
	Sum  uint32
}

const maxText = 1500

// text is a value that names its key and holds a checksum.
func text(key string, rng *rand.Rand) string {
	n := rng.IntN(maxText)
	if rng.IntN(4) == 0 {
		n = rng.IntN(40) // short ones are often treated apart
	}
	body := fmt.Sprintf("%s|%d|%s", key, rng.Uint32(), strings.Repeat(string(rune('a'+rng.IntN(26))), n))
	return fmt.Sprintf("%s|%08x", body, crc32.ChecksumIEEE([]byte(body)))
}

// checkText returns why v is no value of key, or nil.
func checkText(key, v string) error {
	cut := strings.LastIndexByte(v, '|')
	if cut < 0 || fmt.Sprintf("%08x", crc32.ChecksumIEEE([]byte(v[:cut]))) != v[cut+1:] {
		return fmt.Errorf("key %s: a value that no call made: %.80q (%d bytes)", key, v, len(v))
	}
	if !strings.HasPrefix(v, key+"|") {
		return fmt.Errorf("key %s: the value of another key: %.80q", key, v)
	}
	return nil
}

func blob(key string, rng *rand.Rand) []byte { return []byte(text(key, rng)) }

func checkBlob(key string, v []byte) error { return checkText(key, string(bytes.Clone(v))) }

func structure(key string, rng *rand.Rand) object {
	o := object{Key: key, Text: text(key, rng), Tags: []string{key, key + "!"}}
	o.Sum = crc32.ChecksumIEEE([]byte(o.Text + o.Tags[0] + o.Tags[1]))
	return o
}

func checkStructure(key string, o object) error {
	if err := checkText(key, o.Text); err != nil {
		return err
	}
	if o.Key != key || len(o.Tags) != 2 || o.Sum != crc32.ChecksumIEEE([]byte(o.Text+o.Tags[0]+o.Tags[1])) {
		return fmt.Errorf("key %s: a structure that no call made: %.200q", key, fmt.Sprint(o))
	}
	return nil
}
