package fleet

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/internal/backend"
)

// table is a Conn whose keys are in memory.
type table struct {
	mu     sync.Mutex // guards keys
	keys   map[string]backend.Write
	broken atomic.Bool
}

func (t *table) GetUntracked(_ context.Context, keys []string) ([]backend.Item, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.broken.Load() {
		return nil, errors.New("broken")
	}
	items := make([]backend.Item, len(keys))
	for i, k := range keys {
		if w, ok := t.keys[k]; ok && w.Expires.After(time.Now()) {
			items[i] = backend.Item{Raw: string(w.Envelope), Present: true}
		}
	}
	return items, nil
}

func (t *table) Write(_ context.Context, writes []backend.Write) ([]backend.Written, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, w := range writes {
		t.keys[w.Key] = w
	}
	return []backend.Written{{Stored: true}}, nil
}

func TestEachProcessIsInTheFleetWhileItRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn := &table{keys: make(map[string]backend.Write)}
		const n = 100
		var reporters []*Reporter
		for i := range n {
			reporters = append(reporters, NewReporter(conn, "p", time.Second, time.Now, func(span time.Duration) Report {
				return Report{Host: "host", PID: i, Reads: float64(i) / span.Seconds()}
			}))
		}
		for range 3 { // not at the same time, so each finds a slot of its own
			for _, r := range reporters {
				require.NoError(t, r.write(t.Context(), func() Report { x := r.tell(time.Second); x.ID, x.At = r.id, time.Now(); return x }()))
			}
		}
		all, err := Read(t.Context(), conn, "p", time.Now())
		require.NoError(t, err)
		require.Len(t, all, n)
		for i, r := range all {
			require.Equal(t, i, r.PID)
		}
		require.Len(t, conn.keys, n, "each keeps its slot")
		time.Sleep(Lasts + time.Second)
		all, err = Read(t.Context(), conn, "p", time.Now())
		require.NoError(t, err)
		require.Empty(t, all)

		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { reporters[7].Run(ctx); close(done) }()
		for range 10 {
			time.Sleep(10 * time.Second)
			synctest.Wait()
			all, err = Read(t.Context(), conn, "p", time.Now())
			require.NoError(t, err)
			require.Len(t, all, 1)
		}
		conn.broken.Store(true)
		time.Sleep(time.Minute)
		conn.broken.Store(false)
		time.Sleep(Every)
		synctest.Wait()
		all, err = Read(t.Context(), conn, "p", time.Now())
		require.NoError(t, err)
		require.Len(t, all, 1, "after an outage")
		cancel()
		<-done
	})
}

func TestAReportIsSmallWhateverIsInIt(t *testing.T) {
	worst := Report{ID: strings.Repeat("a", 16), Host: strings.Repeat("<\x00\u2028", 300), PID: math.MaxInt32, At: time.Now().UTC(), Opened: time.Now().UTC(), Mode: strings.Repeat("<&>", 100),
		LagMs: 1 << 62, MaxStalenessMs: 1 << 62, Pending: math.MaxInt, Reads: 1.23456789e300, Local: 1e-300, Entries: math.MaxInt, Bytes: 1 << 62}
	for i := range 50 {
		worst.Top = append(worst.Top, Hot{Namespace: strings.Repeat("<", i), Hash: strings.Repeat("h", 22), PerSecond: 1e9 / 3})
	}
	worst.Top = append(worst.Top, Hot{Namespace: "\xff"})
	b := worst.Encode()
	require.LessOrEqual(t, len(b), MaxReport)
	usual := Report{ID: "0123456789abcdef", Host: "web-7f9c6d5b8-x2x4z", PID: 4711, At: time.Now(), Opened: time.Now(), Mode: "cluster, RESP3, tracking"}
	for i := range 10 {
		usual.Top = append(usual.Top, Hot{Namespace: "docs:technical", Hash: strings.Repeat("h", 22), PerSecond: float64(1000 - i)})
	}
	r, err := Parse(string(usual.Encode()))
	require.NoError(t, err)
	require.GreaterOrEqual(t, len(r.Top), 8)
	require.EqualValues(t, 1000, r.Top[0].PerSecond)
}

func TestWhatIsNoReportIsRefused(t *testing.T) {
	for _, raw := range []string{"", "{}", "null", "7", `{"v":1}`, `{"v":2,"id":"a"}`, strings.Repeat(" ", 2000), `{"v":1,"id":"a","top":[` + strings.Repeat("{},", 100) + `{}]}`} {
		_, err := Parse(raw)
		require.Error(t, err, raw)
	}
	now := time.Now()
	old, ahead := Report{ID: "a", At: now.Add(-time.Minute)}, Report{ID: "b", At: now.Add(time.Hour)}
	require.Empty(t, Sort([]Report{old, ahead}, now))
	require.Len(t, Sort([]Report{{ID: "a", At: now, PID: 1}, {ID: "a", At: now.Add(-time.Second), PID: 2}}, now), 1)
}

func TestTheHottestKeysOfAllAreSummed(t *testing.T) {
	var reports []Report
	for i := range 3 {
		reports = append(reports, Report{Top: []Hot{{"docs", "a", 10}, {"docs", fmt.Sprint(i), 25}, {"users", "a", 1}}})
	}
	top := Top(reports)
	require.Equal(t, Total{Hot{"docs", "a", 30}, 3}, top[0])
	require.Equal(t, 1, top[1].Processes)
	require.Equal(t, Total{Hot{"users", "a", 3}, 3}, top[len(top)-1])
	b, err := json.Marshal(top)
	require.NoError(t, err)
	require.NotEmpty(t, b)
}

func TestALagThatIsNotKnownIsToldSo(t *testing.T) {
	for ms, want := range map[int64]string{177: "177ms", 20_000: "20s", math.MaxInt64: "unknown", time.Duration(math.MaxInt64).Milliseconds(): "unknown", -1: "unknown"} {
		r := Report{LagMs: ms}
		require.Equal(t, want, r.Lag())
	}
}
