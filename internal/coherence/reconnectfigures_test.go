package coherence

import (
	"bufio"
	"bytes"
	"context"
	"encoding/csv"
	"fmt"
	"io"
	"log/slog"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/valkey-io/valkey-go"

	"github.com/tiercache/tiercache/internal/faultproxy"
	"github.com/tiercache/tiercache/internal/valkeytest"
	"github.com/tiercache/tiercache/internal/zipf"
	"github.com/tiercache/tiercache/tier"
)

// What a lost connection, a failover and a restart cost the local tier, in figures: local hit rate over time, loads at the
// origin, and what the server sends. They are printed, and not judged, since a busy machine would fail them:
//
//	make reconnect
//
// The curves go to the folder that TIERCACHE_RECONNECT names, as name.csv with seconds and percent. Each happens at a rate that a
// service may have, and with readers that do nothing but read: those leave no processor to anything else.

const (
	reconnectEntries = 100_000
	reconnectBytes   = 4 << 10
	reconnectReaders = 16
	reconnectBin     = 50 * time.Millisecond
	reconnectBefore  = time.Second
	reconnectAfter   = 5 * time.Second

	stormProcesses = 50
	stormEntries   = 5_000
	stormBytes     = 1 << 10
	stormBin       = 500 * time.Millisecond
	stormBefore    = 3 * time.Second
)

func TestReconnectFigures(t *testing.T) {
	folder := os.Getenv("TIERCACHE_RECONNECT")
	if folder == "" {
		t.Skip("prints figures; TIERCACHE_RECONNECT=folder runs it (make reconnect)")
	}
	fmt.Println("| what happens | reads a second | local hits before | 0.5 s later | 1 s | 2 s | back at 99 % of before | loads while away, and then | sent by the server, of the values |")
	fmt.Println("|---|---|---|---|---|---|---|---|---|")
	for _, k := range []struct {
		name  string
		begin func(t *testing.T) (s *valkeytest.Server, do func(*faultproxy.Proxy) *valkeytest.Server)
	}{
		{"connection killed", func(t *testing.T) (*valkeytest.Server, func(*faultproxy.Proxy) *valkeytest.Server) {
			s := valkeytest.Start(t)
			return s, func(*faultproxy.Proxy) *valkeytest.Server {
				s.Do(t, "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
				return s
			}
		}},
		{"failover", func(t *testing.T) (*valkeytest.Server, func(*faultproxy.Proxy) *valkeytest.Server) {
			primary, replica, _ := pair(t)
			return primary, func(p *faultproxy.Proxy) *valkeytest.Server {
				replica.AwaitReplica(t, primary)
				primary.Kill()
				replica.Follow(t, "")
				p.Retarget(replica.Addr)
				p.Cut()
				return replica
			}
		}},
		{"restart", func(t *testing.T) (*valkeytest.Server, func(*faultproxy.Proxy) *valkeytest.Server) {
			s := valkeytest.Start(t, valkeytest.Config("save", `""`))
			return s, func(*faultproxy.Proxy) *valkeytest.Server {
				s.Save(t)
				s.Kill()
				s.Restart()
				return s
			}
		}},
	} {
		for _, rate := range []struct {
			name     string
			eachTick int
		}{{"", 2}, {" at full speed", 25}} {
			t.Run(k.name+rate.name, func(t *testing.T) {
				s, do := k.begin(t)
				addr := s.Addr
				p, err := faultproxy.StartRaw(addr, 1)
				require.NoError(t, err)
				defer p.Close()
				if k.name == "failover" {
					addr = p.Addr()
				}
				r := newReconnectRun(t, addr, reconnectEntries, reconnectBytes)
				var sent int64
				r.measure(reconnectReaders, rate.eachTick, time.Millisecond, reconnectBefore, reconnectAfter, func() {
					now := do(p)
					sent = -field(t, now, "total_net_output_bytes")
					s = now
				})
				sent += field(t, s, "total_net_output_bytes")
				r.write(folder, k.name+rate.name)
				fmt.Printf("| %s | %.0f | %.2f %% | %.2f %% | %.2f %% | %.2f %% | %s | %d, %d | %.1f %% |\n", k.name, r.rate, r.before(), r.at(500*time.Millisecond), r.at(time.Second), r.at(2*time.Second),
					r.back(), r.away, r.loads.Load(), 100*float64(sent)/reconnectEntries/reconnectBytes)
			})
		}
	}
	t.Run("storm", func(t *testing.T) { stormFigures(t) })
}

// stormFigures has the connections of many processes end at once, and asks what another client of the server sees of that. So that it
// sees what the server does, and not which process has the processors, it may be run by a command, such as "taskset -c 0 chrt -f 30".
func stormFigures(t *testing.T) {
	s := valkeytest.Start(t)
	var members []*stormMember
	for range stormProcesses {
		members = append(members, startMember(t, s.Addr))
	}
	for _, m := range members {
		require.Equal(t, "ready", m.says(t))
	}
	s.Do(t, "ACL", "SETUSER", "other", "on", ">secret", "~*", "+@all")
	words := append(strings.Fields(os.Getenv("TIERCACHE_OTHER_BY")), os.Args[0], "-test.run=^TestOtherClient$")
	other := exec.Command(words[0], words[1:]...)
	other.Env = append(os.Environ(), "TIERCACHE_OTHER="+s.Addr)
	phase, err := other.StdinPipe()
	require.NoError(t, err)
	var said bytes.Buffer
	other.Stdout = &said
	require.NoError(t, other.Start())
	for _, m := range members {
		m.tell(t)
	}
	<-time.After(stormBefore)
	_, err = io.WriteString(phase, "\n")
	require.NoError(t, err)
	s.Do(t, "CLIENT", "KILL", "USER", "default", "SKIPME", "yes")
	for _, m := range members {
		m.tell(t)
	}
	var back []time.Duration
	var loads int64
	for _, m := range members {
		var took time.Duration
		var n int64
		_, err := fmt.Sscan(m.says(t), &took, &n)
		require.NoError(t, err)
		back, loads = append(back, took), loads+n
	}
	require.NoError(t, phase.Close())
	require.NoError(t, other.Wait())
	slices.Sort(back)
	fmt.Printf("\n%d processes of %d entries: back at 99 %% after %v (median), %v (the last); loads: %d; another client's p99: %s", stormProcesses, stormEntries,
		back[len(back)/2], back[len(back)-1], loads, said.String())
}

// stormMember is one of the processes.
type stormMember struct {
	in  io.Writer
	out *bufio.Reader
}

func startMember(t *testing.T, addr string) *stormMember {
	cmd := exec.Command(os.Args[0], "-test.run=^TestStormMember$")
	cmd.Env = append(os.Environ(), "TIERCACHE_MEMBER="+addr)
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = in.Close()
		_ = cmd.Wait()
	})
	return &stormMember{in, bufio.NewReader(out)}
}

// tell has it go on.
func (m *stormMember) tell(t *testing.T) {
	_, err := io.WriteString(m.in, "\n")
	require.NoError(t, err)
}

func (m *stormMember) says(t *testing.T) string {
	line, err := m.out.ReadString('\n')
	require.NoError(t, err)
	return strings.TrimSpace(line)
}

// TestStormMember is a process of its own: it fills its local tier and says so, reads from when it is given a line, and after a second
// one says how long it took until its local hits were back, and what it loaded.
func TestStormMember(t *testing.T) {
	addr := os.Getenv("TIERCACHE_MEMBER")
	if addr == "" {
		t.Skip("is a part of TestReconnectFigures")
	}
	r := newReconnectRun(t, addr, stormEntries, stormBytes)
	r.bin = stormBin
	in := bufio.NewReader(os.Stdin)
	fmt.Println("ready")
	_, err := in.ReadString('\n')
	require.NoError(t, err)
	r.measure(1, 1, 5*time.Millisecond, stormBefore-500*time.Millisecond, 6*time.Second, func() {
		_, err := in.ReadString('\n')
		require.NoError(t, err)
	})
	fmt.Println(int64(r.backAfter()), r.loads.Load())
}

// TestOtherClient is a process of its own: it asks a server each millisecond, and says how long that took, before it is given a
// line and until its input ends.
func TestOtherClient(t *testing.T) {
	addr := os.Getenv("TIERCACHE_OTHER")
	if addr == "" {
		t.Skip("is a part of TestReconnectFigures")
	}
	c, err := valkey.NewClient(valkey.ClientOption{InitAddress: []string{addr}, Username: "other", Password: "secret", DisableCache: true, ForceSingleClient: true})
	require.NoError(t, err)
	defer c.Close()
	var phase atomic.Int64
	go func() {
		in := bufio.NewReader(os.Stdin)
		for {
			if _, err := in.ReadString('\n'); err != nil {
				phase.Store(2)
				return
			}
			phase.Add(1)
		}
	}()
	var took [2][]time.Duration
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for range tick.C {
		begun, n := time.Now(), phase.Load()
		if n > 1 {
			break
		}
		require.ErrorIs(t, c.Do(t.Context(), c.B().Get().Key("other").Build()).Error(), valkey.Nil)
		took[n] = append(took[n], time.Since(begun))
	}
	for i, d := range took {
		slices.Sort(d)
		fmt.Printf("%v %s", d[len(d)*99/100].Round(time.Microsecond), []string{"before, ", "in the 6 s after\n"}[i])
	}
}

// reconnectRun is one process, whose local tier holds all its keys.
type reconnectRun struct {
	t     *testing.T
	store *tier.Store
	cache *tier.Cache[string]
	keys  []string
	law   zipf.Zipf
	value string
	loads atomic.Int64

	bin      time.Duration
	happened int   // the bin
	away     int64 // loads until it was connected again
	rates    []float64
	rate     float64 // reads a second before it happened
}

func newReconnectRun(t *testing.T, addr string, entries, size int) *reconnectRun {
	s, err := tier.Open(t.Context(), tier.WithValkey("valkey://"+addr), tier.WithLocalBytes(2<<30), tier.WithPrefix("p"), tier.WithRemoteTimeout(2*time.Second),
		tier.WithLogger(slog.New(slog.NewTextHandler(io.Discard, nil))))
	require.NoError(t, err)
	t.Cleanup(func() { s.Close() })
	c, err := tier.New[string](s, "docs", tier.WithTTL(time.Hour))
	require.NoError(t, err)
	r := &reconnectRun{t: t, store: s, cache: c, law: zipf.New(entries, 1), bin: reconnectBin}
	rng := rand.New(rand.NewPCG(1, 2))
	value := make([]byte, size)
	for i := range value {
		value[i] = byte(rng.Uint32())
	}
	r.value = string(value)
	for i := range entries {
		r.keys = append(r.keys, strconv.Itoa(i))
	}
	for filled := false; !filled; {
		before := s.Stats().LocalHits
		for batch := range slices.Chunk(r.keys, 500) {
			_, err := c.GetMany(t.Context(), batch, func(_ context.Context, keys []string, _ tier.Entries) (map[string]string, error) {
				out := make(map[string]string, len(keys))
				for _, k := range keys {
					out[k] = r.value
				}
				return out, nil
			})
			require.NoError(t, err)
		}
		filled = s.Stats().LocalHits-before == int64(entries) && s.Stats().Fills+s.Stats().RemoteHits >= int64(entries)
	}
	return r
}

// measure has readers make so many reads each time, lets something happen, and notes the share of local hits.
func (r *reconnectRun) measure(readers, reads int, every, before, after time.Duration, happen func()) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var counts atomic.Uint64 // reads, above local hits: in one, so that they are of one moment
	read := func() (hits, made int64) {
		n := counts.Load()
		return int64(n & math.MaxUint32), int64(n >> 32)
	}
	var reading sync.WaitGroup
	load := func(context.Context, *tier.Entry) (string, error) { r.loads.Add(1); return r.value, nil }
	for i := range readers {
		reading.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(i), 3))
			pause := time.NewTicker(every)
			defer pause.Stop()
			for ctx.Err() == nil {
				for range reads {
					found, _ := r.cache.Lookup(ctx, r.keys[r.law.Draw(rng)], load)
					n := uint64(1) << 32
					if found.Origin == tier.Local {
						n++
					}
					counts.Add(n)
				}
				<-pause.C
			}
		})
	}
	tick := time.NewTicker(r.bin)
	defer tick.Stop()
	hits, asked := read()
	begun, first := time.Now(), asked
	for done := false; time.Since(begun) < after || !done; {
		<-tick.C
		h, n := read()
		if n > asked {
			r.rates = append(r.rates, 100*float64(h-hits)/float64(n-asked))
		} else {
			r.rates = append(r.rates, 0)
		}
		hits, asked = h, n
		if !done && time.Since(begun) > before {
			done = true
			r.rate = float64(n-first) / time.Since(begun).Seconds()
			r.loads.Store(0)
			happen()
			for r.store.Sync(ctx) != nil { // it is connected again
				<-tick.C
			}
			begun, r.happened, r.away = time.Now(), len(r.rates), r.loads.Swap(0)
			hits, asked = read()
		}
	}
	cancel()
	reading.Wait()
}

func (r *reconnectRun) before() (sum float64) {
	for _, v := range r.rates[:r.happened] {
		sum += v / float64(r.happened)
	}
	return sum
}

// at is the rate in the quarter of a second up to d after it happened.
func (r *reconnectRun) at(d time.Duration) (sum float64) {
	last := min(r.happened+int(d/r.bin), len(r.rates))
	for _, v := range r.rates[last-5 : last] {
		sum += v / 5
	}
	return sum
}

// backAfter is from when on the rate stays at 99 % of what it was.
func (r *reconnectRun) backAfter() time.Duration {
	last := r.happened
	for i := r.happened; i < len(r.rates); i++ {
		if r.rates[i] < 0.99*r.before() {
			last = i + 1
		}
	}
	return time.Duration(last-r.happened) * r.bin
}

func (r *reconnectRun) back() string {
	if d := r.backAfter(); d < time.Duration(len(r.rates)-r.happened)*reconnectBin {
		return d.String()
	}
	return "not in " + reconnectAfter.String()
}

func (r *reconnectRun) write(folder, name string) {
	f, err := os.Create(filepath.Join(folder, name+".csv"))
	require.NoError(r.t, err)
	defer f.Close()
	w := csv.NewWriter(f)
	for i, v := range r.rates {
		at := (time.Duration(i-r.happened) * r.bin).Seconds()
		require.NoError(r.t, w.Write([]string{strconv.FormatFloat(at, 'f', 2, 64), strconv.FormatFloat(v, 'f', 2, 64)}))
	}
	w.Flush()
	require.NoError(r.t, w.Error())
}

// field returns a number of INFO.
func field(t *testing.T, s *valkeytest.Server, name string) int64 {
	text, err := s.Do(t, "INFO", "stats").ToString()
	require.NoError(t, err)
	var n int64
	for line := range strings.SplitSeq(text, "\r\n") {
		if _, err := fmt.Sscanf(line, name+":%d", &n); err == nil {
			return n
		}
	}
	t.Fatalf("INFO has no %s", name)
	return 0
}
