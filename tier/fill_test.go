package tier_test

import (
	"context"
	"log/slog"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/internal/interpose"
	"github.com/tiercache/tiercache/internal/valkeytest"
	"github.com/tiercache/tiercache/remote"
	"github.com/tiercache/tiercache/tier"
)

// No caller waits for the answer to a fill, and so the reader goroutine hears it;
// what is told of it then may need the connection.
func TestACallerThatIsToldOfAFillMayAskTheServer(t *testing.T) {
	srv := valkeytest.Shared(t)
	var s *tier.Store
	told := make(chan error, 1)
	s, err := tier.Open(t.Context(), tier.WithValkey(srv.URL()), tier.WithPrefix(valkeytest.Prefix(t)), tier.WithRemoteTimeout(10*time.Second),
		tier.WithObserver(func(e tier.Event) {
			if e.Kind == tier.EventFill {
				told <- s.Sync(context.Background())
			}
		}))
	require.NoError(t, err)
	defer s.Close()
	c := view[string](t, s, "docs")
	for _, key := range []string{"a", "b"} { // the second finds the connection
		require.Equal(t, "v", find(t, c, key, is("v")).Value)
		require.NoError(t, <-told)
	}
}

// Nor does the reader goroutine delete what is older than a value that there is no room for.
func TestAFillThatTheServerHasNoRoomForDoesNotHoldUpTheConnection(t *testing.T) {
	srv := valkeytest.Start(t, valkeytest.Config("maxmemory-policy", "noeviction"))
	s, err := tier.Open(t.Context(), tier.WithValkey(srv.URL()), tier.WithRemoteTimeout(10*time.Second))
	require.NoError(t, err)
	defer s.Close()
	c := view[string](t, s, "docs")
	find(t, c, "first", is("v"))
	filled(t, s, 1) // or it is refused too
	r := find(t, c, "k", func(context.Context, *tier.Entry) (string, error) {
		srv.Do(t, "CONFIG", "SET", "maxmemory", "1")
		return "v", nil
	})
	require.Equal(t, "v", r.Value)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	require.NoError(t, s.Sync(ctx))
	eventually(t, "it was refused", func() bool { return s.Stats().Full == 1 })
	srv.Do(t, "CONFIG", "SET", "maxmemory", "0")
}

// Nor does it delete what is older than a value that the server refused to store.
func TestAFillThatTheServerRefusesDoesNotHoldUpTheConnection(t *testing.T) {
	srv := valkeytest.Start(t)
	s, err := tier.Open(t.Context(), tier.WithValkey(srv.URL()), tier.WithRemoteTimeout(10*time.Second))
	require.NoError(t, err)
	defer s.Close()
	c := view[string](t, s, "docs")
	find(t, c, "k", is("v1"))
	filled(t, s, 1)
	_, err = c.Refresh(t.Context(), "k", is("v1")) // so that the server has the script
	require.NoError(t, err)
	filled(t, s, 2)
	v, err := c.Refresh(t.Context(), "k", func(context.Context, *tier.Entry) (string, error) {
		srv.Do(t, "CONFIG", "SET", "min-replicas-to-write", "1")
		return "v2", nil
	})
	require.NoError(t, err)
	require.Equal(t, "v2", v)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	for range 20 { // the first may be on its way before the fill is refused
		require.NoError(t, s.Sync(ctx))
	}
	srv.Do(t, "CONFIG", "SET", "min-replicas-to-write", "0")
}

// Guard: settle. The server is full before it has looked whose the lease is:
//
//	A: loads the key
//	B: sets it, or loads it; there is no more memory
//	A: its fill is refused
func TestAFillThatTheServerHasNoRoomForLeavesWhatOthersHave(t *testing.T) {
	srv := valkeytest.Start(t, valkeytest.Config("maxmemory-policy", "noeviction"))
	open := func() (*tier.Store, *tier.Cache[string]) {
		srv.Do(t, "CONFIG", "SET", "maxmemory", "0")
		s, err := tier.Open(t.Context(), tier.WithValkey(srv.URL()), tier.WithRemoteTimeout(5*time.Second))
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, s.Close()) })
		return s, view[string](t, s, "docs")
	}
	refused := func(key string, meanwhile func()) {
		s, c := open()
		find(t, c, key, func(context.Context, *tier.Entry) (string, error) {
			meanwhile()
			srv.Do(t, "CONFIG", "SET", "maxmemory", "1")
			return "older", nil
		})
		eventually(t, "it was refused", func() bool { return s.Stats().Full == 1 })
	}
	_, other := open()
	refused("set", func() { require.NoError(t, other.Set(t.Context(), "set", "newer")) })
	_, c := open()
	require.Equal(t, "newer", find(t, c, "set", is("anew")).Value)

	lease := ""
	refused("loaded", func() {
		keys, err := srv.Do(t, "KEYS", "*!").AsStrSlice()
		require.NoError(t, err)
		require.Len(t, keys, 1)
		lease = keys[0]
		srv.Do(t, "SET", lease, "another's", "PX", "60000")
	})
	token, err := srv.Do(t, "GET", lease).ToString()
	require.NoError(t, err)
	require.Equal(t, "another's", token)
}

// Guard: refused. The next load of the key would wait until the lease of the one before
// has ended.
func TestAFillThatIsRefusedGivesUpItsLease(t *testing.T) {
	srv := valkeytest.Start(t)
	s, err := tier.Open(t.Context(), tier.WithValkey(srv.URL()), tier.WithRemoteTimeout(10*time.Second))
	require.NoError(t, err)
	defer s.Close()
	srv.Do(t, "ACL", "SETUSER", "default", "-getdel")
	c := view[string](t, s, "docs")
	leases := func() []string {
		keys, err := srv.Do(t, "KEYS", "*!").AsStrSlice()
		require.NoError(t, err)
		return keys
	}
	for i := range 3 {
		find(t, c, "k", func(context.Context, *tier.Entry) (string, error) {
			require.Len(t, leases(), 1)
			srv.Do(t, "PEXPIRE", leases()[0], "3600000") // it does not end by itself
			return "v", nil
		})
		eventually(t, "it was refused", func() bool { return s.Stats().FillErrors == int64(i+1) })
		eventually(t, "the lease is given up", func() bool { return len(leases()) == 0 })
	}
}

// blocking is a log that is slow: it waits for goOn.
type blocking struct {
	slog.Handler
	goOn chan struct{}
}

func (b blocking) Handle(context.Context, slog.Record) error {
	<-b.goOn
	return nil
}

// The reader goroutine may be the one that finds that the server is away, or back.
func TestALogThatIsSlowHoldsUpNoCaller(t *testing.T) {
	log := blocking{slog.NewTextHandler(&journal{}, nil), make(chan struct{})}
	s, err := tier.Open(t.Context(), tier.WithLogger(slog.New(log)), tier.WithRemoteTimeout(10*time.Second))
	require.NoError(t, err)
	returned := make(chan struct{})
	go func() {
		tier.GoesAndComes(s)
		close(returned)
	}()
	select {
	case <-returned:
	case <-time.After(20 * time.Second):
		t.Error("it waits for the log")
	}
	close(log.goOn)
	require.NoError(t, s.Close())
}

// Nor does a caller that runs a loader itself wait until the client has stored what is too long
// for the short way.
func TestNoCallerOfALoadWaitsForItsFill(t *testing.T) {
	srv := valkeytest.Start(t)
	s, err := tier.Open(t.Context(), tier.WithValkey(srv.URL()), tier.WithRemoteTimeout(time.Minute))
	require.NoError(t, err)
	defer s.Close()
	c := view[string](t, s, "docs")
	find(t, c, "first", is("v")) // finds the connection
	answered := make(chan error, 1)
	go func() {
		_, err := c.Get(bg, "k", func(context.Context, *tier.Entry) (string, error) {
			srv.Pause()
			return strings.Repeat("long", 100<<10), nil
		})
		answered <- err
	}()
	select {
	case err := <-answered:
		require.NoError(t, err)
	case <-time.After(20 * time.Second):
		t.Error("it waits for the server")
	}
	srv.Resume()
}

// An observer that ends the goroutine that calls it, as FailNow does, does not keep the
// store from closing, nor calls from ending.
func TestAnObserverOfAFillMayEndItsGoroutine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hooks := &interpose.Backend{Inner: remote.NewEmbedded(0)}
		s, err := tier.Open(t.Context(), tier.WithRemote(hooks), tier.WithObserver(func(e tier.Event) {
			if e.Kind == tier.EventFill || e.Kind == tier.EventRemote {
				runtime.Goexit()
			}
		}))
		require.NoError(t, err)
		c := view[string](t, s, "docs")
		require.Equal(t, "v", find(t, c, "k", is("v")).Value)
		hooks.Before(func(op interpose.Op) error {
			if op == interpose.Write {
				return errOrigin
			}
			return nil
		})
		require.Equal(t, "v", find(t, c, "l", is("v")).Value)
		_, err = c.Refresh(bg, "l", is("w")) // after the fill
		require.NoError(t, err)
		require.NoError(t, s.Close())
	})
}

// What is loaded or set counts for as much as what is read.
func TestWhatIsLoadedIsCountedLikeWhatIsRead(t *testing.T) {
	for name, options := range tracking {
		t.Run(name, func(t *testing.T) {
			f := embeddedFleet(t, options)
			a, b := view[int](t, f.process(), "docs"), view[int](t, f.process(), "docs")
			find(t, a, "k", is(1))
			filled(t, f.stores[0], 1)
			f.sync()
			require.Equal(t, tier.Remote, find(t, b, "k", is(2)).Origin)
			require.Equal(t, tier.CostOf(b, "k"), tier.CostOf(a, "k"))
		})
	}
}
