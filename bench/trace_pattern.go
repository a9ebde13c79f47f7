package bench

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// weblogLine is one of the common or combined format: GET alone reads, and of what it answers 2xx and 304.
var weblogLine = regexp.MustCompile(`^\S+ \S+ .*\[(?P<time>\d\d/\w{3}/\d{4}:\d\d:\d\d:\d\d [-+]\d{4})\] "(?P<op>[A-Z]+) (?P<key>\S+)[^"]*" (?P<status>\d{3}) (?P<size>\d+|-)`)

// readWords are what an operation is called that reads.
var readWords = words("GET GETS MGET READ LOOKUP PEEK FETCH HIT MISS LOCAL REMOTE LOADED LOAD STALE")

// patternLines reads lines by the named groups of a pattern: key; size in bytes; time in seconds, in RFC 3339 or as web
// servers write it; ttl in seconds or as Go writes durations; op, which reads if it is GET or the like; status of HTTP.
func patternLines(pattern *regexp.Regexp) func(Limits) lineParser {
	return func(Limits) lineParser {
		groups := make(map[string]int)
		for i, name := range pattern.SubexpNames() {
			if name != "" {
				groups[name] = i
			}
		}
		return func(t *Trace, line []byte) error {
			m := pattern.FindSubmatch(line)
			if m == nil {
				return errors.New("the pattern does not match")
			}
			field := func(name string) string {
				if i, ok := groups[name]; ok {
					return string(m[i])
				}
				return ""
			}
			return t.fields(field)
		}
	}
}

// CheckPattern returns an error for a pattern that finds no key, or groups that mean nothing.
func CheckPattern(pattern *regexp.Regexp) error {
	found := false
	for _, name := range pattern.SubexpNames() {
		switch name {
		case "key":
			found = true
		case "", "size", "time", "ttl", "op", "status":
		default:
			return fmt.Errorf("the group %q means nothing: want key, size, time, ttl, op or status", name)
		}
	}
	if !found {
		return errors.New("the pattern has no group (?P<key>…)")
	}
	return nil
}

// fields records what was found in a line by name.
func (t *Trace) fields(field func(string) string) error {
	if field("key") == "" {
		return errors.New("no key")
	}
	text := field("size")
	if text == "-" {
		text = ""
	}
	size, err := count("size", []byte(text))
	if err != nil {
		return err
	}
	ttl, err := spanOf(field("ttl"))
	if err != nil {
		return err
	}
	at, err := timeOf(field("time"))
	if err != nil {
		return err
	}
	now, key := t.clock.at(at), KeyOf([]byte(field("key")))
	op := strings.ToUpper(field("op"))
	if word, _, _ := strings.Cut(op, " "); op != "" && !readWords[word] {
		t.writeOf(key, 0, ttl)
		return nil
	}
	if status := field("status"); status != "" && status[0] != '2' && status != "304" {
		t.Others++
		return nil
	}
	if field("status") == "304" {
		size = 0 // of its headers
	}
	t.readOf(key, size, now, ttl)
	return nil
}

// timeOf reads a time, as seconds.
func timeOf(s string) (float64, error) {
	if s == "" {
		return math.NaN(), nil
	}
	if f, err := strconv.ParseFloat(s, 64); err == nil {
		switch { // of milli-, micro- and nanoseconds since 1970 as well
		case f > 1e17:
			f /= 1e9
		case f > 1e14:
			f /= 1e6
		case f > 1e11:
			f /= 1e3
		}
		return f, nil
	}
	for _, layout := range []string{time.RFC3339Nano, "02/Jan/2006:15:04:05 -0700", time.DateTime} {
		if at, err := time.Parse(layout, s); err == nil {
			return float64(at.UnixMicro()) / 1e6, nil
		}
	}
	return 0, fmt.Errorf("time %.40q: want seconds, RFC 3339, or as web servers write it", s)
}

// spanOf reads a TTL.
func spanOf(s string) (time.Duration, error) {
	if s == "" {
		return 0, nil
	}
	if f, err := strconv.ParseFloat(s, 64); err == nil {
		if f < 0 || f > 100*366*24*3600 || math.IsNaN(f) {
			return 0, nil
		}
		return time.Duration(f * float64(time.Second)), nil
	}
	d, err := time.ParseDuration(s)
	if err != nil || d < 0 {
		return 0, fmt.Errorf("TTL %.40q: want seconds, or a duration such as 5m", s)
	}
	return d, nil
}

// jsonNames are what the fields are called, the first that is there.
var jsonNames = map[string][]string{
	"key": {"key", "k"}, "size": {"size", "bytes", "value_size"}, "time": {"time", "ts", "timestamp", "t"}, "ttl": {"ttl", "ttl_s"},
	"op": {"op", "operation", "result"}, "status": {"status"},
}

func isJSONRead(line []byte) bool {
	var fields map[string]any
	if len(line) == 0 || line[0] != '{' || json.Unmarshal(line, &fields) != nil {
		return false
	}
	return jsonField(fields, "key") != ""
}

func jsonField(fields map[string]any, name string) string {
	for _, n := range jsonNames[name] {
		switch v := fields[n].(type) {
		case string:
			return v
		case float64:
			return strconv.FormatFloat(v, 'f', -1, 64)
		}
	}
	return ""
}

// parseJSON reads an object a line. A namespace is a part of the key. one_in says that the trace has the reads of one key
// in so many.
func parseJSON(t *Trace, line []byte) error {
	var fields map[string]any
	if err := json.Unmarshal(line, &fields); err != nil {
		return errors.New("no JSON object")
	}
	if n, ok := fields["one_in"].(float64); ok && n > 1 {
		t.Share = 1 / n
	}
	return t.fields(func(name string) string {
		v := jsonField(fields, name)
		if namespace, ok := fields["namespace"].(string); ok && name == "key" && v != "" {
			return namespace + "\x00" + v
		}
		return v
	})
}
