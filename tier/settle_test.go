package tier_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/internal/interpose"
	"github.com/tiercache/tiercache/internal/valkeytest"
	"github.com/tiercache/tiercache/tier"
)

// ways to change what the entry "k" of "docs", made from the source "doc", depends on.
var settlingChanges = map[string]func(ctx context.Context, s *tier.Store) error{
	"source": func(ctx context.Context, s *tier.Store) error {
		_, err := s.InvalidateSource(ctx, "doc")
		return err
	},
	"namespace": func(ctx context.Context, s *tier.Store) error {
		_, err := s.InvalidateNamespace(ctx, "docs")
		return err
	},
	"all": func(ctx context.Context, s *tier.Store) error {
		_, err := s.InvalidateAll(ctx)
		return err
	},
}

// S1, S3: the process that recorded the change has ended by the time at which it has settled.
func TestAChangeSettlesThoughItsProcessHasEnded(t *testing.T) {
	for what, change := range settlingChanges {
		t.Run(what, func(t *testing.T) {
			inBubbles(t, func(t *testing.T, f *fleet) {
				a := f.process(tier.Settle(time.Minute))
				b := view[string](t, f.process(), "docs", tier.WithTTL(time.Hour), tier.WithStaleOnError(time.Hour), tier.WithStaleWhileRevalidate(time.Hour))
				require.NoError(t, change(t.Context(), a))
				require.NoError(t, a.Close())
				synctest.Wait()
				sd := f.process() // has heard of it from the log alone
				d := view[string](t, sd, "docs", tier.WithTTL(time.Hour))
				h := sd.Health(t.Context())
				require.Equal(t, 1, h.Settling)
				require.InDelta(t, time.Minute, h.SettlesIn, float64(time.Millisecond))
				time.Sleep(10 * time.Second)
				find(t, b, "k", is("old, of the replica", "doc"))
				find(t, d, "of d", is("old, of the replica", "doc"))
				c := view[string](t, f.process(), "docs", tier.WithTTL(time.Hour))
				synctest.Wait()
				time.Sleep(50*time.Second - 2*time.Millisecond)
				for _, c := range []*tier.Cache[string]{b, c, d} {
					assert.Equal(t, "old, of the replica", find(t, c, "k", unneeded).Value)
				}
				time.Sleep(3 * time.Millisecond)
				assert.Equal(t, "new", find(t, c, "k", is("new", "doc")).Value)
				assert.Equal(t, "new", find(t, b, "k", is("new", "doc")).Value)
				assert.Equal(t, "new", find(t, d, "k", is("new", "doc")).Value)
				assert.Equal(t, "new", find(t, d, "of d", is("new", "doc")).Value)
				require.Zero(t, sd.Health(t.Context()).Settling)
				time.Sleep(30 * time.Minute)
				assert.Equal(t, "new", find(t, c, "k", unneeded).Value, "what was loaded later lives as long as it may")
			})
		})
	}
}

// S3: when the load began decides, not when it ended. S4: a caller that comes after the end loads again.
func TestALoadThatBeganBeforeAChangeHasSettled(t *testing.T) {
	for name, answer := range map[string]error{"value": nil, "not found": tier.ErrNotFound} {
		t.Run(name, func(t *testing.T) {
			inBubbles(t, func(t *testing.T, f *fleet) {
				b := view[string](t, f.process(), "docs", tier.WithTTL(time.Hour), tier.WithLoadTimeout(time.Hour))
				a := f.process(tier.Settle(time.Minute))
				_, err := a.InvalidateAll(t.Context())
				require.NoError(t, err)
				require.NoError(t, a.Close())
				synctest.Wait()
				time.Sleep(30 * time.Second)
				goOn := make(chan struct{})
				early, late := make(chan string, 1), make(chan string, 1)
				get := func(read chan string, load tier.Loader[string]) {
					v, err := b.Get(context.Background(), "k", load)
					if err != nil {
						v = err.Error()
					}
					read <- v
				}
				go get(early, func(context.Context, *tier.Entry) (string, error) { <-goOn; return "old", answer })
				synctest.Wait()
				time.Sleep(40 * time.Second)
				go get(late, is("new"))
				synctest.Wait()
				close(goOn)
				synctest.Wait()
				first, second := <-early, <-late
				if answer == nil {
					require.Equal(t, "old", first)
				}
				require.Equal(t, "new", second, "it came after the change has settled")
				require.Equal(t, "new", find(t, b, "k", unneeded).Value)
			})
		})
	}
}

// S3: as a stale value, too, it is given to no caller that comes after its end.
func TestAStaleValueEndsWhenAChangeHasSettled(t *testing.T) {
	inBubbles(t, func(t *testing.T, f *fleet) {
		b := view[string](t, f.process(), "docs", tier.WithTTL(10*time.Second), tier.WithStaleOnError(time.Hour))
		a := f.process(tier.Settle(time.Minute))
		_, err := a.InvalidateAll(t.Context())
		require.NoError(t, err)
		require.NoError(t, a.Close())
		synctest.Wait()
		find(t, b, "k", is("old"))
		time.Sleep(55 * time.Second)
		goOn, read := make(chan struct{}), make(chan error, 2)
		get := func(load tier.Loader[string]) {
			_, err := b.Get(context.Background(), "k", load)
			read <- err
		}
		go get(func(context.Context, *tier.Entry) (string, error) { <-goOn; return "", errSource })
		synctest.Wait()
		time.Sleep(10 * time.Second)
		go get(fails[string](errSource))
		synctest.Wait()
		close(goOn)
		for range 2 {
			require.ErrorIs(t, <-read, errSource)
		}
	})
}

var errSource = errors.New("the source is away")

// gated is a codec whose reader waits before it decodes.
type gated struct{ wait func() }

func (gated) Marshal(v any) ([]byte, error) { return []byte(v.(string)), nil }
func (g gated) Unmarshal(b []byte, v any) error {
	g.wait()
	*v.(*string) = string(b)
	return nil
}

// S4: a caller that comes after the end does not share what was read before it either, from the remote tier or from a
// copy that was suspended.
//
//	A: reads what ends at 60 s, and is slow to decode or judge it
//	B: begins at 65 s, and joins A
func TestAReadThatBeganBeforeAChangeHasSettled(t *testing.T) {
	for _, way := range []string{"remote", "suspended"} {
		t.Run(way, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := embeddedFleet(t, nil)
				a := f.process(tier.Settle(time.Minute))
				_, err := a.InvalidateAll(t.Context())
				require.NoError(t, err)
				require.NoError(t, a.Close())
				synctest.Wait()
				var wait func()
				codec := tier.WithCodec(gated{wait: func() {
					if wait != nil {
						wait()
					}
				}})
				hooks := &interpose.Backend{Inner: f.hub}
				hour := tier.WithTTL(time.Hour)
				b := view[string](t, f.process(), "docs", hour, codec)
				f.options = []tier.Option{tier.WithRemote(hooks)}
				c := view[string](t, f.process(), "docs", hour, codec)
				time.Sleep(30 * time.Second)
				require.Equal(t, "old", find(t, b, "k", is("old")).Value)
				synctest.Wait()
				goOn := make(chan struct{})
				if way == "suspended" {
					require.Equal(t, "old", find(t, c, "k", unneeded).Value)
					f.hub.Disconnect()
					synctest.Wait()
					hooks.After(func(op interpose.Op) error {
						if op == interpose.Heads {
							<-goOn
						}
						return nil
					})
				} else {
					wait = func() { <-goOn }
				}
				time.Sleep(25 * time.Second)
				early, late := make(chan string, 1), make(chan string, 1)
				get := func(read chan string, load tier.Loader[string]) { read <- find(t, c, "k", load).Value }
				go get(early, is("loaded for the early one"))
				synctest.Wait()
				time.Sleep(8 * time.Second)
				go get(late, is("new"))
				synctest.Wait()
				wait = nil
				close(goOn)
				require.NotEmpty(t, <-early) // it began before the end
				require.NotEqual(t, "old", <-late, "it came after the change has settled")
			})
		})
	}
}

// S3, S6: Set is limited by when its as-of was taken.
func TestASetOfWhatWasReadBeforeAChangeHasSettled(t *testing.T) {
	inBubbles(t, func(t *testing.T, f *fleet) {
		a, sb := f.process(tier.Settle(time.Minute)), f.process()
		b, c := view[string](t, sb, "docs", tier.WithTTL(time.Hour)), view[string](t, f.process(), "docs", tier.WithTTL(time.Hour))
		asOf, err := a.InvalidateSource(t.Context(), "doc")
		require.NoError(t, err)
		require.NoError(t, a.Close()) // else it records the change again, for processes of the release before
		synctest.Wait()
		set := func(v string, as tier.AsOf) {
			require.NoError(t, b.Set(t.Context(), "k", v, tier.WithAsOf(as), tier.WithSources("doc")))
		}
		at0 := sb.AsOf()
		set("early", at0)
		time.Sleep(59 * time.Second)
		assert.Equal(t, "early", find(t, c, "k", unneeded).Value)
		at59 := sb.AsOf()
		time.Sleep(time.Second + time.Millisecond)
		synctest.Wait()
		at60 := sb.AsOf()
		for what, as := range map[string]tier.AsOf{"taken before": at59, "without a time": {Incarnation: asOf.Incarnation, Tick: asOf.Tick}} {
			set("too late", as)
			for _, c := range []*tier.Cache[string]{b, c} {
				v, ok, err := c.Peek(t.Context(), "k")
				require.NoError(t, err)
				require.False(t, ok, "%s: %s", what, v)
			}
		}
		set("settled", at60)
		time.Sleep(30 * time.Minute)
		assert.Equal(t, "settled", find(t, c, "k", unneeded).Value)
		assert.Equal(t, "settled", find(t, b, "k", unneeded).Value)
	})
}

// A job that invalidates and is killed at once, on a real server.
func TestAChangeSettlesThoughItsProcessIsKilled(t *testing.T) {
	const lag = 400 * time.Millisecond
	if url := os.Getenv("TIERCACHE_TEST_JOB"); url != "" {
		s, err := tier.Open(t.Context(), tier.WithValkey(url), tier.WithPrefix(os.Getenv("TIERCACHE_TEST_PREFIX")), tier.Settle(lag), tier.WithRemoteTimeout(10*time.Second))
		require.NoError(t, err)
		_, err = s.InvalidateSource(t.Context(), "doc")
		require.NoError(t, err)
		self, err := os.FindProcess(os.Getpid())
		require.NoError(t, err)
		require.NoError(t, self.Kill())
		select {}
	}
	server := valkeytest.Shared(t)
	f := &fleet{t: t, server: server, prefix: valkeytest.Prefix(t), tracked: true, options: []tier.Option{tier.WithValkey(server.URL())}}
	b, c := view[string](t, f.process(), "docs"), view[string](t, f.process(), "docs")
	find(t, b, "k", is("older", "doc"))
	job := exec.Command(os.Args[0], "-test.run=^TestAChangeSettlesThoughItsProcessIsKilled$")
	job.Env = append(os.Environ(), "TIERCACHE_TEST_JOB="+server.URL(), "TIERCACHE_TEST_PREFIX="+f.prefix)
	output, err := job.CombinedOutput()
	require.ErrorAs(t, err, new(*exec.ExitError), "%s", output)
	f.sync()
	require.NotEqual(t, "older", find(t, b, "k", is("old, of the replica", "doc")).Value)
	for _, c := range []*tier.Cache[string]{b, c} {
		eventually(t, "what the replica gave ends", func() bool { return find(t, c, "k", is("new", "doc")).Value == "new" })
	}
}
