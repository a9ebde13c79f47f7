package bench

import (
	"bytes"
	"errors"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// monitorLine is a command as MONITOR prints it: 1339518083.107412 [0 127.0.0.1:60866] "get" "key".
var monitorLine = regexp.MustCompile(`^\d+\.\d+ \[\d+ [^\]]+\] "`)

// monitorReads are the commands that read a value; monitorWrites those that change one.
var (
	monitorReads = words("GET GETEX GETRANGE SUBSTR MGET HGET HMGET HGETALL HVALS LRANGE LINDEX SMEMBERS ZRANGE ZRANGEBYSCORE ZREVRANGE JSON.GET JSON.MGET")
	// Those of a script that are no reads of a value, such as what stores of this library ask their change log.
	scriptReads   = words("GET GETEX MGET")
	monitorWrites = words(`SET SETEX PSETEX SETNX GETSET GETDEL MSET MSETNX APPEND SETRANGE INCR INCRBY INCRBYFLOAT DECR DECRBY DEL UNLINK
		EXPIRE PEXPIRE EXPIREAT PEXPIREAT PERSIST HSET HMSET HDEL HINCRBY LPUSH RPUSH LPOP RPOP SADD SREM ZADD ZREM RENAME JSON.SET JSON.DEL`)
)

func words(s string) map[string]bool {
	all := make(map[string]bool)
	for w := range strings.FieldsSeq(s) {
		all[w] = true
	}
	return all
}

// parseMonitor reads a line of MONITOR's output.
func parseMonitor(t *Trace, line []byte) error {
	if len(line) == 0 || string(line) == "OK" {
		return nil
	}
	if !monitorLine.Match(line) {
		return errors.New("no command of MONITOR")
	}
	stamp, rest, _ := bytes.Cut(line, []byte{' '})
	at, err := seconds(stamp)
	if err != nil {
		return err
	}
	client, rest, _ := bytes.Cut(rest, []byte("] "))
	args, err := monitorArgs(rest)
	if err != nil {
		return err
	}
	now := t.clock.at(at)
	name := strings.ToUpper(string(args[0]))
	inScript := bytes.HasSuffix(client, []byte(" lua"))
	switch {
	case len(args) < 2:
		t.Others++
	case inScript && scriptReads[name], !inScript && monitorReads[name]:
		keys := args[1:2]
		if name == "MGET" || name == "JSON.MGET" {
			keys = args[1:]
		}
		for _, key := range keys {
			t.readOf(KeyOf(key), 0, now, 0)
		}
	case monitorWrites[name]:
		t.monitorWrite(name, args, at)
	default:
		t.Others++
	}
	return nil
}

// monitorWrite finds the sizes and TTLs of what is written.
func (t *Trace) monitorWrite(name string, args [][]byte, now float64) {
	number := func(i int) float64 {
		if i >= len(args) {
			return 0
		}
		n, err := strconv.ParseFloat(string(args[i]), 64)
		if err != nil || n < 0 || n > 1<<45 {
			return 0
		}
		return n
	}
	span := func(seconds float64) time.Duration {
		if !(seconds > 0 && seconds < 100*366*24*3600) {
			return 0
		}
		return time.Duration(seconds * float64(time.Second))
	}
	key, size, ttl := KeyOf(args[1]), int64(0), time.Duration(0)
	switch name {
	case "SET":
		if len(args) > 2 {
			size = int64(len(args[2]))
		}
		for i := 3; i < len(args); i++ {
			switch strings.ToUpper(string(args[i])) {
			case "EX":
				ttl = span(number(i + 1))
			case "PX":
				ttl = span(number(i+1) / 1000)
			case "EXAT":
				ttl = span(number(i+1) - now)
			case "PXAT":
				ttl = span(number(i+1)/1000 - now)
			}
		}
	case "SETEX", "PSETEX":
		if len(args) > 3 {
			size = int64(len(args[3]))
		}
		if ttl = span(number(2)); name == "PSETEX" {
			ttl = span(number(2) / 1000)
		}
	case "SETNX", "GETSET":
		if len(args) > 2 {
			size = int64(len(args[2]))
		}
	case "EXPIRE":
		ttl = span(number(2))
	case "PEXPIRE":
		ttl = span(number(2) / 1000)
	case "EXPIREAT":
		ttl = span(number(2) - now)
	case "PEXPIREAT":
		ttl = span(number(2)/1000 - now)
	case "MSET", "MSETNX":
		for i := 1; i+1 < len(args); i += 2 {
			t.writeOf(KeyOf(args[i]), int64(len(args[i+1])), 0)
		}
		return
	}
	t.writeOf(key, size, ttl)
}

var errQuotes = errors.New("a quote is not closed")

// monitorArgs takes quoted arguments apart.
func monitorArgs(b []byte) (args [][]byte, err error) {
	for {
		if b = bytes.TrimLeft(b, " "); len(b) == 0 {
			break
		}
		if b[0] != '"' {
			return nil, errors.New("an argument is not quoted")
		}
		b = b[1:]
		var arg []byte
		for {
			i := bytes.IndexAny(b, `"\`)
			if i < 0 {
				return nil, errQuotes
			}
			arg = append(arg, b[:i]...)
			if b[i] == '"' {
				b = b[i+1:]
				break
			}
			var c byte
			if c, b, err = unescapeByte(b[i+1:]); err != nil {
				return nil, err
			}
			arg = append(arg, c)
		}
		args = append(args, arg)
	}
	if len(args) == 0 {
		return nil, errors.New("no command")
	}
	return args, nil
}

// unescapeByte reads what follows a backslash.
func unescapeByte(b []byte) (c byte, rest []byte, err error) {
	if len(b) == 0 {
		return 0, nil, errQuotes
	}
	switch c = b[0]; c {
	case 'n':
		c = '\n'
	case 'r':
		c = '\r'
	case 't':
		c = '\t'
	case 'a':
		c = '\a'
	case 'b':
		c = '\b'
	case 'x':
		if len(b) < 3 {
			return 0, nil, errQuotes
		}
		n, err := strconv.ParseUint(string(b[1:3]), 16, 8)
		return byte(n), b[3:], err
	}
	return c, b[1:], nil
}
