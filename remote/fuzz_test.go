package remote

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/valkey-io/valkey-go"

	"github.com/tiercache/tiercache/internal/backend"
	"github.com/tiercache/tiercache/internal/changelog"
	"github.com/tiercache/tiercache/invalidation"
)

// FuzzConnection has a server answer as it pleases, at every state of its connections, while
// requests are called off at any time: nothing that it says makes a goroutine of the
// client's panic, or keeps Close from returning. The first byte says what the server is, and each
// that follows how the next command is answered, or what is asked. Most of its time is waiting:
//
//	go test -run '^$' -fuzz FuzzConnection -fuzztime 10m -parallel 16 -timeout 0 ./remote
func FuzzConnection(f *testing.F) {
	for topology := range byte(topologies) {
		f.Add([]byte{topology})
		for op := range byte(numOps) {
			// In the greeting, before the first answer, later, and time after time.
			f.Add([]byte{topology, op})
			f.Add(slices.Concat([]byte{topology}, make([]byte, 12), []byte{op, op, 7, op}))
			f.Add(slices.Concat([]byte{topology}, make([]byte, 25), []byte{op, 200, op, 100, op}))
			f.Add(slices.Concat([]byte{topology}, make([]byte, 8), slices.Repeat([]byte{op, opAnswer, opAnswer, 33}, 20)))
		}
		for i := range nasty {
			f.Add(slices.Concat([]byte{topology}, make([]byte, i%16), []byte{opNasty, byte(i), opNasty, byte(i)}))
		}
	}
	f.Fuzz(func(t *testing.T, script []byte) {
		if len(script) == 0 || len(script) > 1000 {
			return
		}
		s := &fuzzServer{topology: int(script[0]) % topologies, script: script[1:]}
		s.run(t)
	})
}

const (
	standalone = iota
	clustered
	sentinels
	pooled // of connections, without tracking
	resp2  // likewise, and it does not know HELLO
	topologies
)

const (
	opAnswer = iota
	opTwice
	opNothing
	opClose
	opHalf
	opError
	opNull
	opEmptyList
	opNumber
	opText
	opInvalidationFirst
	opInvalidationAfter
	opUnknownPush
	opSubscribed
	opUnsubscribed
	opMessage
	opChopped
	opLater
	opRaw // what follows in the script
	opNasty
	numOps
)

// nasty is what a server may say instead of an answer.
var nasty = []string{
	"-ERR max number of clients reached\r\n", "-DENIED protected mode\r\n", "-MOVED\r\n", "-MOVED 1\r\n", "-MOVED 1 a:1\r\n", "-ASK 1 b:2\r\n", "-ASK\r\n", "-REDIRECT\r\n",
	"-NOAUTH no\r\n", "-LOADING yes\r\n", "-CLUSTERDOWN yes\r\n", "-NOPROTO no\r\n", "-NOSCRIPT no\r\n", "-PONG\r\n", "+PONG\r\n", "+QUEUED\r\n", "+\r\n",
	"*1\r\n+pong\r\n", "*-1\r\n", "$-1\r\n", "_\r\n", "*-2\r\n", "$-2\r\n", "%-1\r\n", ">-1\r\n", "$999999999999\r\n", "*2147483647\r\n", "%2147483647\r\n", "$?\r\n;-1\r\n", "*?\r\n.\r\n",
	"|1\r\n+a\r\n+b\r\n", "#x\r\n", ":x\r\n", ":99999999999999999999\r\n", ",nan\r\n", "(1\r\n", "=3\r\ntxt\r\n", "!3\r\nASK\r\n", "~1\r\n*0\r\n", "%1\r\n*0\r\n:1\r\n",
	">0\r\n", ">1\r\n+subscribe\r\n", ">2\r\n*0\r\n_\r\n", ">2\r\n+invalidate\r\n:1\r\n", ">2\r\n+invalidate\r\n*1\r\n*0\r\n", ">3\r\n+message\r\n:1\r\n_\r\n", ">3\r\n+subscribe\r\n_\r\n_\r\n",
	">3\r\n+message\r\n++switch-master\r\n+m\r\n", ">3\r\n+message\r\n++switch-master\r\n+m a 1 b 2\r\n", ">3\r\n+message\r\n++reboot\r\n+master\r\n", ">3\r\n+message\r\n++sentinel\r\n+x\r\n",
	"*3\r\n+message\r\n+a\r\n+b\r\n", "*3\r\n+subscribe\r\n+a\r\n:1\r\n", strings.Repeat("*1\r\n", 100_000), "HTTP/1.1 200 OK\r\n\r\n", "\r\n", "\x16\x03\x01",
}

// fuzzServer is a server, and all others there are.
type fuzzServer struct {
	topology int

	mu     sync.Mutex // guards what follows
	script []byte
	conns  []net.Conn
	ended  bool
	all    sync.WaitGroup
}

// next is the next byte of the script, and whether there was one.
func (s *fuzzServer) next() (byte, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.script) == 0 {
		return 0, false
	}
	b := s.script[0]
	s.script = s.script[1:]
	return b, true
}

func (s *fuzzServer) dial(context.Context, string, *net.Dialer, *tls.Config) (net.Conn, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended { // a client that came too late to be used
		return nil, net.ErrClosed
	}
	here, there := net.Pipe()
	s.conns = append(s.conns, there)
	s.all.Go(func() { defer there.Close(); s.serve(there) })
	return here, nil
}

// serve answers the commands of a connection.
func (s *fuzzServer) serve(conn net.Conn) {
	// Answers are written beside the reading, as into a socket's buffer.
	answers := make(chan string, 1000)
	s.all.Go(func() {
		defer conn.Close()
		for a := range answers {
			if _, err := io.WriteString(conn, a); err != nil {
				break
			}
		}
		for range answers { // no caller reads them
		}
	})
	defer close(answers)
	say := func(text string) {
		select {
		case answers <- text:
		default:
		}
	}
	if op, _ := s.next(); op%8 == 7 { // before it is asked
		if !s.act(op, "+first\r\n", say) {
			return
		}
	}
	r := bufio.NewReader(conn)
	for {
		words, err := commandOf(r)
		if err != nil {
			return
		}
		op, _ := s.next()
		if !s.act(op%numOps, s.answer(words), say) {
			return
		}
	}
}

// act says an answer, or something else. It returns false to end the connection.
func (s *fuzzServer) act(op byte, answer string, say func(string)) bool {
	const invalidation, confirmed = ">2\r\n$10\r\ninvalidate\r\n*1\r\n$5\r\np:{k}\r\n", ">3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n"
	switch op {
	case opTwice:
		say(answer + answer)
	case opNothing:
	case opClose:
		return false
	case opHalf:
		say(answer[:len(answer)/2])
		return false
	case opError:
		say("-ERR no\r\n")
	case opNull:
		say("_\r\n")
	case opEmptyList:
		say("*0\r\n")
	case opNumber:
		say(":-1\r\n")
	case opText:
		say("$5\r\nhello\r\n")
	case opInvalidationFirst:
		say(invalidation + answer)
	case opInvalidationAfter:
		say(answer + invalidation)
	case opUnknownPush:
		say(">2\r\n+unheard\r\n*1\r\n:1\r\n" + answer)
	case opSubscribed:
		say(confirmed + answer)
	case opUnsubscribed:
		say(strings.Replace(confirmed, "$9\r\n", "$11\r\nun", 1) + answer)
	case opMessage:
		say(">3\r\n+message\r\n+" + changelog.Channel("p") + "\r\n+x\r\n" + answer)
	case opChopped:
		for i := range answer {
			say(answer[i : i+1])
		}
	case opLater:
		<-time.After(3 * time.Millisecond) // what is done to the client: nothing waits for it
		say(answer)
	case opRaw:
		s.mu.Lock()
		n := min(len(s.script), 20)
		raw := string(s.script[:n])
		s.script = s.script[n:]
		s.mu.Unlock()
		say(raw)
	case opNasty:
		which, _ := s.next()
		say(nasty[int(which)%len(nasty)])
	default:
		say(answer)
	}
	return true
}

func bulk(text string) string { return fmt.Sprintf("$%d\r\n%s\r\n", len(text), text) }

func list(elements ...string) string {
	return fmt.Sprintf("*%d\r\n", len(elements)) + strings.Join(elements, "")
}

// answer is the right one.
func (s *fuzzServer) answer(words []string) string {
	first, second := strings.ToUpper(words[0]), ""
	if len(words) > 1 {
		second = strings.ToUpper(words[1])
	}
	switch first + " " + second {
	case "HELLO 3":
		if s.topology == resp2 {
			return "-ERR unknown command 'HELLO'\r\n"
		}
		return "%3\r\n" + bulk("version") + bulk("8.0.1") + bulk("proto") + ":3\r\n" + bulk("role") + bulk("master")
	case "HELLO 2":
		return list(bulk("version"), bulk("5.0.0"))
	case "CLIENT ID":
		return ":7\r\n"
	case "CLUSTER SLOTS", "CLUSTER SHARDS":
		switch {
		case s.topology != clustered:
			return "-ERR This instance has cluster support disabled\r\n"
		case second == "SLOTS":
			return list(list(":0\r\n", ":16383\r\n", list(bulk("127.0.0.1"), ":7000\r\n", bulk("id"))))
		}
		return list("%2\r\n" + bulk("slots") + list(":0\r\n", ":16383\r\n") + bulk("nodes") +
			list("%4\r\n"+bulk("endpoint")+bulk("127.0.0.1")+bulk("port")+":7000\r\n"+bulk("role")+bulk("master")+bulk("health")+bulk("online")))
	case "SENTINEL SENTINELS":
		return "*0\r\n"
	case "SENTINEL GET-MASTER-ADDR-BY-NAME":
		return list(bulk("127.0.0.1"), bulk("7000"))
	}
	switch first {
	case "PING":
		return "+PONG\r\n"
	case "ROLE":
		return list(bulk("master"), ":1\r\n", "*0\r\n")
	case "SUBSCRIBE", "SSUBSCRIBE", "UNSUBSCRIBE", "SUNSUBSCRIBE":
		all, kind := "", ">"
		if s.topology == resp2 {
			kind = "*"
		}
		for _, ch := range words[1:] {
			all += kind + "3\r\n" + bulk(strings.ToLower(first)) + bulk(ch) + ":1\r\n"
		}
		return all
	case "GET", "GETRANGE":
		return bulk("value")
	case "MGET":
		return list(slices.Repeat([]string{bulk("value")}, len(words)-1)...)
	case "EXISTS", "UNLINK":
		return ":1\r\n"
	case "SCAN":
		return list(bulk("0"), list(bulk("p:a"), bulk("p:b")))
	case "INFO":
		return bulk("valkey_version:8.0.1\r\n")
	case "CONFIG":
		return list(bulk("tracking-table-max-keys"), bulk("10"))
	case "EVALSHA", "EVALSHA_RO", "EVAL", "EVAL_RO":
		switch words[1] {
		case scriptDelta.sha:
			return list(bulk("master"), bulk("abc"), bulk("1"), bulk("2"), bulk("1f"), bulk("1"), bulk("0"), ":0\r\n", "*0\r\n", "*0\r\n", bulk(""))
		case scriptProbe.sha:
			return list(bulk("master"), bulk("abc"), bulk("1"), bulk("2"), bulk("ok"), bulk("id 127.0.0.1:7000 myself,master - 0 0 1 connected 0-16383"))
		case scriptAppend.single.sha, scriptAppend.sharded.sha:
			return list(bulk("1f"), bulk("1"), bulk("2"))
		}
		return ":1\r\n"
	}
	return "+OK\r\n"
}

// run connects, asks and closes.
func (s *fuzzServer) run(t *testing.T) {
	o := valkey.ClientOption{InitAddress: []string{"127.0.0.1:7000"}, DialCtxFn: s.dial, ConnWriteTimeout: 40 * time.Millisecond,
		Dialer: net.Dialer{Timeout: 40 * time.Millisecond, KeepAlive: 20 * time.Millisecond}, ForceSingleClient: s.topology == standalone || s.topology >= pooled,
		DisableAutoPipelining: s.topology == pooled}
	if s.topology == sentinels {
		o.InitAddress, o.Sentinel.MasterSet = []string{"127.0.0.1:26000"}, "m"
		o.Sentinel.Dialer = o.Dialer
	}
	nothing := func() {}
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Millisecond)
	defer cancel()
	c, err := Valkey(o).Connect(ctx, backend.Options{Prefix: "p", Timeout: 20 * time.Millisecond, Heartbeat: 5 * time.Millisecond, NoTracking: s.topology >= pooled,
		Events: backend.Events{Changed: func([]string) {}, Lost: nothing, Published: func(string) {}}})
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		if err == nil {
			s.ask(c)
			_ = c.Close()
		}
		s.mu.Lock()
		s.ended = true
		for _, conn := range s.conns {
			_ = conn.Close()
		}
		s.mu.Unlock()
		s.all.Wait()
	}()
	select {
	case <-closed:
	case <-time.After(time.Minute):
		panic("it does not end") // with all goroutines
	}
}

// ask asks for all there is, as the script says, and gives some of it up.
func (s *fuzzServer) ask(c backend.Conn) {
	var all sync.WaitGroup
	defer all.Wait()
	keys := []string{"p:{k}", "p:{l}", "p:{m}"} // as those of a store
	writes := []backend.Write{{Key: keys[0], Envelope: []byte("v"), Expires: time.Now().Add(time.Minute)}}
	for range 12 {
		what, _ := s.next()
		ctx, cancel := context.WithTimeout(context.Background(), 15*time.Millisecond)
		if what >= 128 {
			cancel()
			ctx, cancel = context.WithTimeout(context.Background(), time.Duration(what-128)*20*time.Microsecond)
		}
		call := func() {
			defer cancel()
			switch what % 11 {
			case 0:
				_, _ = c.GetOne(ctx, keys[0])
			case 1:
				_, _, _ = c.Get(ctx, keys, nil)
			case 2:
				_, _ = c.GetUntracked(ctx, keys)
			case 3:
				_, _, _ = c.Get(ctx, keys, &changelog.DeltaQuery{Limit: 1})
			case 4:
				_, _ = c.Write(ctx, writes)
			case 5:
				c.WriteLater(ctx, writes, func([]backend.Written, error) {})
			case 6:
				_, _ = c.Lease(ctx, []backend.LeaseRequest{{Key: keys[0], Token: "t", TTL: time.Minute}})
			case 7:
				_, _ = c.Append(ctx, changelog.Change{Scopes: []invalidation.Scope{"s:x"}, Retention: time.Hour})
			case 8:
				_, _ = c.Info(ctx)
			case 9:
				_, _ = c.Purge(ctx, backend.PurgeRequest{Prefixes: []string{"p:"}})
			case 10:
				_, _ = c.Delete(ctx, []backend.Deletion{{Key: keys[0]}})
			}
		}
		if what%2 == 0 {
			all.Go(call)
		} else {
			call()
		}
	}
}

// commandOf reads a command.
func commandOf(r *bufio.Reader) (words []string, err error) {
	number := func(kind byte) (int, error) {
		line, err := r.ReadString('\n')
		if err != nil || line[0] != kind {
			return 0, io.ErrUnexpectedEOF
		}
		return strconv.Atoi(strings.TrimRight(line[1:], "\r\n"))
	}
	n, err := number('*')
	for range n {
		var size int
		if size, err = number('$'); err != nil {
			return nil, err
		}
		b := make([]byte, size+2)
		if _, err = io.ReadFull(r, b); err != nil {
			return nil, err
		}
		words = append(words, string(b[:size]))
	}
	return words, err
}
