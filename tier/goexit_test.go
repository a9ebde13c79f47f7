package tier_test

import (
	"context"
	"encoding/json"
	"errors"
	"runtime"
	"strconv"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/internal/backend"
	"github.com/tiercache/tiercache/remote"
	"github.com/tiercache/tiercache/tier"
)

// quitting is a codec that ends the goroutines that call it, as one does that
// calls FailNow in a test.
type quitting struct{ encoding, decoding *atomic.Bool }

func (q quitting) Marshal(v any) ([]byte, error) {
	if q.encoding.Load() {
		runtime.Goexit()
	}
	return json.Marshal(v)
}

func (q quitting) Unmarshal(b []byte, v any) error {
	if q.decoding.Load() {
		runtime.Goexit()
	}
	return json.Unmarshal(b, v)
}

// A codec that calls Goexit ends the goroutine that flies, and no caller waits for ever.
func TestACodecThatCallsGoexitLeavesNoCallerWaiting(t *testing.T) {
	for _, first := range []struct {
		name             string
		leases, encoding bool
	}{{"encoding", false, true}, {"encoding, the lease read along", true, true}, {"decoding", false, false}, {"decoding, the lease read along", true, false}} {
		t.Run(first.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				server := remote.NewEmbedded(0)
				s, err := tier.Open(t.Context(), tier.WithRemote(server))
				require.NoError(t, err)
				defer s.Close()
				codec := quitting{new(atomic.Bool), new(atomic.Bool)}
				c := view[int](t, s, "docs", tier.WithCodec(codec))
				if first.leases {
					tier.LeaseFirst(c)
				}
				if !first.encoding {
					other, err := tier.Open(t.Context(), tier.WithRemote(server))
					require.NoError(t, err)
					defer other.Close()
					require.NoError(t, view[int](t, other, "docs", tier.WithCodec(codec)).Set(t.Context(), "k", 7))
				}
				(map[bool]*atomic.Bool{true: codec.encoding, false: codec.decoding})[first.encoding].Store(true)
				get := func() error {
					_, err := c.Get(t.Context(), "k", func(context.Context, *tier.Entry) (int, error) { return 7, nil })
					return err
				}
				many := func() error {
					_, err := c.GetMany(t.Context(), []string{"k", "l"}, func(_ context.Context, keys []string, _ tier.Entries) (map[string]int, error) {
						return map[string]int{"k": 7, "l": 8}, nil
					})
					return err
				}
				for _, read := range []func() error{get, many} {
					errs := make(chan error, 10)
					for range cap(errs) {
						go func() {
							err := errors.New("its own goroutine was ended")
							defer func() { errs <- err }()
							err = read()
						}()
					}
					for range cap(errs) {
						require.Error(t, <-errs)
					}
				}
				codec.encoding.Store(false)
				codec.decoding.Store(false)
				begun := time.Now()
				require.NoError(t, get())
				require.NoError(t, many())
				require.Less(t, time.Since(begun), time.Second, "no lease is left")
			})
		})
	}
}

// A caller that takes the lease along with a read, finds a value and cannot decode it, for its
// goroutine is being ended, gives the lease up: another's refresh need not wait for it.
func TestACodecThatCallsGoexitLeavesNoLease(t *testing.T) {
	onEachRemote(t, func(t *testing.T, f *fleet) {
		codec := quitting{new(atomic.Bool), new(atomic.Bool)}
		load := func(context.Context, *tier.Entry) (int, error) { return 7, nil }
		c := view[int](t, f.process(), "docs", tier.WithCodec(codec))
		other := view[int](t, f.process(), "docs", tier.WithCodec(quitting{new(atomic.Bool), new(atomic.Bool)}))
		for _, read := range []func(keys ...string){
			func(keys ...string) { _, _ = c.Get(t.Context(), keys[0], load) },
			func(keys ...string) {
				_, _ = c.GetMany(t.Context(), keys, func(context.Context, []string, tier.Entries) (map[string]int, error) { return nil, nil })
			},
		} {
			require.NoError(t, other.Set(t.Context(), "k", 7))
			f.sync()
			tier.LeaseFirst(c)
			codec.decoding.Store(true)
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				read("k", "l")
				t.Error("it was to be ended")
			}()
			<-ended
			codec.decoding.Store(false)
			ctx, cancel := context.WithTimeout(t.Context(), backend.DefaultLeaseTTL*2/3)
			_, err := other.Refresh(ctx, "k", load)
			cancel()
			require.NoError(t, err)
		}
	})
}

// The end of a load's context ends its calls. A loader that calls Goexit because of it does
// not end them once more.
func TestALoaderThatCallsGoexitWhenItsContextEndsEndsNothingTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, err := tier.Open(t.Context())
		require.NoError(t, err)
		defer s.Close()
		c := view[int](t, s, "docs", tier.WithLoadTimeout(time.Second))
		keys := make([]string, 3000)
		for i := range keys {
			keys[i] = strconv.Itoa(i)
		}
		_, err = c.GetMany(t.Context(), keys, func(ctx context.Context, _ []string, _ tier.Entries) (map[string]int, error) {
			<-ctx.Done()
			runtime.Goexit()
			return nil, nil
		})
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.NotContains(t, err.Error(), "Goexit")
	})
}

// A GetMany whose goroutine a codec ends leaves the loads that it shares: their
// contexts end with the last caller that waits.
func TestAGetManyWhoseCodecCallsGoexitLeavesWhatItShares(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := remote.NewEmbedded(0)
		codec := quitting{new(atomic.Bool), new(atomic.Bool)}
		var views []*tier.Cache[int]
		for range 2 {
			s, err := tier.Open(t.Context(), tier.WithRemote(server))
			require.NoError(t, err)
			defer s.Close()
			views = append(views, view[int](t, s, "docs", tier.WithCodec(codec)))
		}
		require.NoError(t, views[1].Set(t.Context(), "l", 7))
		c := views[0]
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() {
			_, _ = c.Get(ctx, "k", func(ctx context.Context, _ *tier.Entry) (int, error) {
				<-ctx.Done()
				ended <- context.Cause(ctx)
				return 0, ctx.Err()
			})
		}()
		synctest.Wait()
		codec.decoding.Store(true)
		gone := make(chan struct{})
		go func() {
			defer close(gone)
			_, _ = c.GetMany(t.Context(), []string{"k", "l"}, noneLoaded[int])
			t.Error("its goroutine was to be ended")
		}()
		<-gone
		cancel()
		synctest.Wait()
		require.Len(t, ended, 1, "the last caller that waited has left")
	})
}

// A loader runs in a goroutine of its own, however quick it was and whatever the
// context of its callers: a caller can leave it, and its Goexit ends no caller.
func TestEveryLoaderRunsInAGoroutineOfItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, err := tier.Open(t.Context())
		require.NoError(t, err)
		defer s.Close()
		c := view[int](t, s, "docs", tier.WithLoadTimeout(time.Second))
		for i := range 40 {
			find(t, c, strconv.Itoa(i), is(i))
		}
		require.Nil(t, bg.Done(), "these callers cannot be called off")
		_, err = c.Get(bg, "exits", func(context.Context, *tier.Entry) (int, error) { runtime.Goexit(); return 0, nil })
		var ended *tier.LoadPanic
		require.ErrorAs(t, err, &ended)
		_, err = c.GetMany(bg, []string{"exit", "together"}, func(context.Context, []string, tier.Entries) (map[string]int, error) {
			runtime.Goexit()
			return nil, nil
		})
		require.ErrorAs(t, err, &ended)
		hangs := make(chan struct{})
		defer close(hangs)
		begun := time.Now()
		_, err = c.Get(bg, "hangs", func(context.Context, *tier.Entry) (int, error) { <-hangs; return 0, nil })
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, time.Second, time.Since(begun), "the load timeout frees its caller as well")
	})
}
