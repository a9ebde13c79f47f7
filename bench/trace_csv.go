package bench

import (
	"bytes"
	"errors"
	"fmt"
)

var errColumns = errors.New("another number of fields than the format has")

// twitterOps are the operations of Twitter's traces; true: it reads.
var twitterOps = map[string]bool{"get": true, "gets": true, "set": false, "add": false, "replace": false, "cas": false, "append": false,
	"prepend": false, "delete": false, "incr": false, "decr": false}

func isTwitter(line []byte) bool {
	f := bytes.Split(line, []byte{','})
	if len(f) != 7 {
		return false
	}
	_, known := twitterOps[string(f[5])]
	return known
}

// parseTwitter reads time (s), key, size of the key, size of the value, client, operation, TTL (s, 0 of a read).
func parseTwitter(t *Trace, line []byte) error {
	f := bytes.Split(line, []byte{','})
	if len(f) != 7 {
		return errColumns
	}
	at, err := seconds(f[0])
	if err != nil {
		return err
	}
	size, err := count("size", f[3])
	if err != nil {
		return err
	}
	ttl, err := count("TTL", f[6])
	if err != nil {
		return err
	}
	if len(f[1]) == 0 {
		return errors.New("no key")
	}
	key, now := KeyOf(f[1]), t.clock.at(at)
	reads, known := twitterOps[string(f[5])]
	switch {
	case !known:
		return fmt.Errorf("operation %.20q", f[5])
	case reads:
		t.readOf(key, size, now, 0)
	default:
		t.writeOf(key, size, ttlOf(ttl))
	}
	return nil
}

// metaColumns finds the fields that are used in the header of a trace of Meta's. Their order differs by year.
func metaColumns(header []byte) (columns map[string]int, ok bool) {
	columns = make(map[string]int)
	for i, name := range bytes.Split(header, []byte{','}) {
		columns[string(bytes.TrimSpace(name))] = i
	}
	for _, needed := range []string{"key", "op", "size"} {
		if _, there := columns[needed]; !there {
			return nil, false
		}
	}
	return columns, true
}

// mostRepeats is how many reads of one key a line of Meta's traces may stand for.
const mostRepeats = 1 << 20

// metaLines reads what the header, which is the first line, says. A line stands for op_count operations.
func metaLines(Limits) lineParser {
	var columns map[string]int
	return func(t *Trace, line []byte) error {
		if columns == nil {
			var ok bool
			if columns, ok = metaColumns(line); !ok {
				columns = map[string]int{}
				return errors.New("the header lacks key, op or size")
			}
			return nil
		}
		f := bytes.Split(line, []byte{','})
		if len(f) != len(columns) {
			return errColumns
		}
		field := func(name string) []byte {
			if i, ok := columns[name]; ok {
				return bytes.TrimSpace(f[i])
			}
			return nil
		}
		at, err := seconds(field("op_time"))
		if err != nil {
			return err
		}
		var n [3]int64
		for i, name := range []string{"size", "ttl", "op_count"} {
			if n[i], err = count(name, field(name)); err != nil {
				return err
			}
		}
		if len(field("key")) == 0 {
			return errors.New("no key")
		}
		key, now := KeyOf(field("key")), t.clock.at(at)
		switch op := field("op"); {
		case bytes.HasPrefix(op, []byte("GET")):
			for range min(max(n[2], 1), mostRepeats) {
				t.readOf(key, n[0], now, ttlOf(n[1]))
			}
		case bytes.HasPrefix(op, []byte("SET")), bytes.HasPrefix(op, []byte("DELETE")):
			t.writeOf(key, n[0], ttlOf(n[1]))
		case len(op) == 0:
			return errors.New("no operation")
		default:
			t.Others++
		}
		return nil
	}
}
