package bench

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/tiercache/tiercache/local"
)

func key(s string) local.Key { return KeyOf([]byte(s)) }

func wantTrace(t *testing.T, got *Trace, format string, writes, others int, want ...Request) {
	t.Helper()
	if got.Format != format || got.Writes != writes || got.Others != others || got.Bad != 0 {
		t.Errorf("format %s, %d writes, %d others, bad: %v; want %s, %d, %d", got.Format, got.Writes, got.Others, got.BadLines, format, writes, others)
	}
	if len(got.Requests) != len(want) {
		t.Fatalf("%d reads, want %d: %+v", len(got.Requests), len(want), got.Requests)
	}
	for i := range want {
		if got.Requests[i] != want[i] {
			t.Errorf("read %d: %+v, want %+v", i, got.Requests[i], want[i])
		}
	}
}

// What MONITOR printed of a client that read a miss, filled it, and read it again; and of a script.
const monitored = `OK
1796003128.100000 [0 127.0.0.1:33344] "HELLO" "3"
1796003128.200000 [0 127.0.0.1:33344] "GET" "user:1"
1796003128.300000 [0 127.0.0.1:33344] "SET" "user:1" "a \"quoted\" value\x00\n" "EX" "60"
1796003129.200000 [0 unix:/run/valkey.sock] "get" "user:1"
1796003129.300000 [0 127.0.0.1:33344] "MGET" "user:1" "user:2"
1796003129.400000 [0 127.0.0.1:33344] "setex" "user:2" "5" "12345"
1796003129.500000 [0 127.0.0.1:33344] "EVALSHA" "abc" "1" "user:1"
1796003129.500001 [0 lua] "ZRANGE" "log" "0" "2"
1796003129.500002 [0 lua] "GET" "user:1"
1796003129.600000 [0 127.0.0.1:33344] "DEL" "user:1"
1796003129.700000 [0 127.0.0.1:33344] "PING"
`

func TestMonitorOutputIsReadAndItsWritesAreNoReads(t *testing.T) {
	read := func(k string, at time.Duration) Request {
		if k == "user:2" {
			return Request{Key: key(k), At: at, Size: 5, TTL: 5 * time.Second}
		}
		return Request{Key: key(k), At: at, Size: int64(len("a \"quoted\" value\x00\n")), TTL: time.Minute}
	}
	got := readString(t, monitored, Limits{})
	for i := range got.Requests { // a float has no µs so large
		got.Requests[i].At = got.Requests[i].At.Round(10 * time.Microsecond)
	}
	wantTrace(t, got, "monitor", 3, 4,
		read("user:1", 100*time.Millisecond), read("user:1", 1100*time.Millisecond), read("user:1", 1200*time.Millisecond), read("user:2", 1200*time.Millisecond),
		read("user:1", 1400*time.Millisecond))
}

func TestLinesThatMonitorDoesNotPrintAreBad(t *testing.T) {
	got := readString(t, strings.Repeat(monitored, 3)+"1796003130.0 [0 127.0.0.1:1] \"GET\" \"open\n1796003130.0 [0 127.0.0.1:1] \"GET\" open\nx\n", Limits{})
	if got.Format != "monitor" || got.Bad != 3 || len(got.Requests) != 15 {
		t.Errorf("%s, %d reads, bad: %v", got.Format, len(got.Requests), got.BadLines)
	}
}

func TestTwittersTracesAreRead(t *testing.T) {
	wantTrace(t, readString(t, `0,nz:u:eeW511W3dcH3de3d15ec,23,0,17,get,0
1,nz:u:eeW511W3dcH3de3d15ec,23,304,17,set,86400
3,nz:u:eeW511W3dcH3de3d15ec,23,304,18,gets,0
3,other,5,10,18,delete,0
`, Limits{}), "twitter", 2, 0,
		Request{Key: key("nz:u:eeW511W3dcH3de3d15ec"), Size: 304, TTL: 24 * time.Hour},
		Request{Key: key("nz:u:eeW511W3dcH3de3d15ec"), Size: 304, TTL: 24 * time.Hour, At: 3 * time.Second})
}

func TestMetasTracesAreReadWhateverTheOrderOfTheirFields(t *testing.T) {
	wantTrace(t, readString(t, `op_time,key,key_size,op,op_count,size,cache_hits,ttl,usecase,sub_usecase
10,a,3,GET,3,100,2,0,u,s
11,b,3,SET,1,70,0,300,u,s
12,b,3,GET_LEASE,1,0,0,0,u,s
12,b,3,DELETE,1,0,0,0,u,s
12,b,3,TOUCH,1,0,0,0,u,s
`, Limits{}), "meta", 2, 1,
		Request{Key: key("a"), Size: 100}, Request{Key: key("a"), Size: 100}, Request{Key: key("a"), Size: 100},
		Request{Key: key("b"), Size: 70, TTL: 5 * time.Minute, At: 2 * time.Second})
	wantTrace(t, readString(t, "key,op,size,op_count,key_size\na,GET,9,1,1\n", Limits{}), "meta", 0, 0, Request{Key: key("a"), Size: 9})
}

func oracleGeneral(records ...[4]int64) (b []byte) {
	for _, r := range records {
		b = binary.LittleEndian.AppendUint32(b, uint32(r[0]))
		b = binary.LittleEndian.AppendUint64(b, uint64(r[1]))
		b = binary.LittleEndian.AppendUint32(b, uint32(r[2]))
		b = binary.LittleEndian.AppendUint64(b, uint64(r[3]))
	}
	return b
}

func TestOracleGeneralIsReadAlsoCompressed(t *testing.T) {
	raw := oracleGeneral([4]int64{5, 1 << 60, 100, 3}, [4]int64{5, 2, 4096, -1}, [4]int64{9, 1 << 60, 100, -1})
	id := func(n uint64) local.Key { return KeyOf(binary.LittleEndian.AppendUint64(nil, n)) }
	want := []Request{{Key: id(1 << 60), Size: 100}, {Key: id(2), Size: 4096}, {Key: id(1 << 60), Size: 100, At: 4 * time.Second}}
	wantTrace(t, readString(t, string(raw), Limits{}), "oracleGeneral", 0, 0, want...)
	z, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	wantTrace(t, readString(t, string(z.EncodeAll(raw, nil)), Limits{}), "oracleGeneral", 0, 0, want...)
	cut := readString(t, string(raw)+"cut", Limits{Format: "oracleGeneral"})
	if len(cut.Requests) != 3 || cut.Bad != 1 {
		t.Errorf("%+v", cut)
	}
}

const weblog = `203.0.113.9 - - [10/Oct/2025:13:55:36 +0000] "GET /a?x=1 HTTP/1.1" 200 2326 "-" "curl/8"
203.0.113.9 - frank [10/Oct/2025:13:55:37 +0000] "POST /a HTTP/1.1" 200 5
203.0.113.9 - - [10/Oct/2025:13:55:36 +0000] "GET /missing HTTP/1.1" 404 9
2001:db8::1 - - [10/Oct/2025:15:55:38 +0200] "GET /a?x=1 HTTP/2.0" 304 -
`

func TestAccessLogsOfWebServersAreRead(t *testing.T) {
	wantTrace(t, readString(t, weblog, Limits{}), "weblog", 1, 1,
		Request{Key: key("/a?x=1"), Size: 2326}, Request{Key: key("/a?x=1"), At: 2 * time.Second})
}

func TestAPatternFindsTheFields(t *testing.T) {
	pattern := regexp.MustCompile(`^(?P<time>\S+) (?P<op>\w+) key=(?P<key>\S+)(?: bytes=(?P<size>\d+))?(?: ttl=(?P<ttl>\S+))?`)
	if err := CheckPattern(pattern); err != nil {
		t.Error(err)
	}
	wantTrace(t, readString(t, `2025-10-10T13:55:36.5Z hit key=a bytes=10 ttl=90
2025-10-10T13:55:37Z put key=a
2025-10-10T13:55:37.5Z get key=b ttl=5m
`, Limits{Pattern: pattern}), "pattern", 1, 0,
		Request{Key: key("a"), Size: 10, TTL: 90 * time.Second}, Request{Key: key("b"), TTL: 5 * time.Minute, At: time.Second})
	for _, bad := range []string{`^(\S+)$`, `^(?P<name>\S+) (?P<key>\S+)$`} {
		if CheckPattern(regexp.MustCompile(bad)) == nil {
			t.Errorf("%s is taken for a pattern", bad)
		}
	}
}

func TestJSONLinesAreReadAndTellTheirShare(t *testing.T) {
	got := readString(t, `{"time":"2025-10-10T13:55:36Z","msg":"read","namespace":"docs","key":"3VYoue7Uf8Z34UYgi8mVDw","result":"hit","bytes":301,"ttl":3600,"one_in":100}
{"time":"2025-10-10T13:55:37Z","msg":"read","namespace":"users","key":"3VYoue7Uf8Z34UYgi8mVDw","op":"get"}
{"time":"2025-10-10T13:55:37Z","namespace":"users","key":"3VYoue7Uf8Z34UYgi8mVDw","op":"delete"}
`, Limits{})
	wantTrace(t, got, "json", 1, 0,
		Request{Key: key("docs\x003VYoue7Uf8Z34UYgi8mVDw"), Size: 301, TTL: time.Hour}, Request{Key: key("users\x003VYoue7Uf8Z34UYgi8mVDw"), At: time.Second})
	if got.Share != 0.01 {
		t.Error(got.Share)
	}
}

func TestWhatIsOfNoKnownFormatIsAnError(t *testing.T) {
	for _, raw := range []string{"\x00\x01\x02\x03binary\xff", `{"no":"fields"}` + "\n", "[ ]"[:0] + "{\n}"} {
		if trace, err := ReadTrace(strings.NewReader(raw), Limits{}); err == nil {
			t.Errorf("%q is taken for %s", raw, trace.Format)
		}
	}
	if _, err := ReadTrace(strings.NewReader("a"), Limits{Format: "nope"}); err == nil || !strings.Contains(err.Error(), "oracleGeneral, meta, monitor") {
		t.Error(err)
	}
	if _, err := ReadTrace(strings.NewReader("a"), Limits{Format: "pattern"}); err == nil {
		t.Error("a pattern is missing")
	}
}

// Formats that are named are not guessed at.
func TestAFormatThatIsNamedIsUsed(t *testing.T) {
	got := readString(t, "0,k,1,2,3,get,0\n", Limits{Format: "keys"})
	if got.Format != "keys" || got.Bad != 1 {
		t.Errorf("%+v", got)
	}
	wantTrace(t, readString(t, "a\nb\n", Limits{}), "keys", 0, 0, Request{Key: key("a")}, Request{Key: key("b")})
}

func FuzzFormats(f *testing.F) {
	f.Add([]byte(monitored))
	f.Add([]byte(weblog))
	f.Add([]byte("0,k,1,2,3,get,0\n"))
	f.Add([]byte("key,op,size\nk,GET,1\n"))
	f.Add([]byte(`{"key":"k","ttl":1e300,"time":-1e300,"one_in":1e-300}`))
	f.Add(oracleGeneral([4]int64{1, 2, 3, -1}, [4]int64{2, 2, 3, -1}))
	f.Fuzz(func(t *testing.T, raw []byte) {
		trace, err := ReadTrace(bytes.NewReader(raw), Limits{Requests: 1000})
		if err == nil && trace.Format == "" {
			t.Fatal("no format and no error")
		}
		var last time.Duration
		for _, r := range trace.Requests {
			if r.At < last || r.Size < 0 || r.TTL < 0 {
				t.Fatalf("%+v", r)
			}
			last = r.At
		}
		if len(trace.Requests) > 1000 {
			t.Fatal(len(trace.Requests))
		}
	})
}

// A value whose TTL has passed is no hit, under any policy and at any size.
func TestTTLsBoundTheHitRate(t *testing.T) {
	var b strings.Builder
	b.WriteString("op_time,key,op,size,ttl\n")
	for second := range 2000 {
		fmt.Fprintf(&b, "%d,k%d,GET,50,25\n", second, second%10) // each key every 10 s: two hits, then a miss
	}
	trace := readString(t, b.String(), Limits{})
	if best := BestHitRate(trace.Requests); best < 66 || best > 67 {
		t.Errorf("%v", best)
	}
	a, err := Advise(trace.Requests, 60, 1)
	if err != nil {
		t.Fatal(err)
	}
	if a.TTLs != 1 || a.Sized != 1 || a.EntryBytes != 50+local.Overhead {
		t.Errorf("%+v", a)
	}
	for _, w := range a.Wanted {
		if w.Size.Entries == 0 || w.Size.HitRate > a.Best+0.01 || w.Doubled.HitRate > a.Best+0.01 {
			t.Errorf("%+v, best %v", w, a.Best)
		}
	}
	none, err := Advise(trace.Requests, 90, 1)
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range none.Wanted {
		if w.Size.Entries != 0 {
			t.Errorf("%v hits 90 %%, although a third of the values has ended", w.Policy)
		}
	}
	a.Scale(0.1)
	if a.Keys != 100 || a.Requests != 20000 {
		t.Errorf("%+v", a)
	}
}
