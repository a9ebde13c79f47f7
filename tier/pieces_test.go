package tier_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/valkey-io/valkey-go"

	"github.com/tiercache/tiercache/internal/backend"
	"github.com/tiercache/tiercache/internal/changelog"
	"github.com/tiercache/tiercache/internal/embedded"
	"github.com/tiercache/tiercache/internal/interpose"
	"github.com/tiercache/tiercache/internal/valkeytest"
	"github.com/tiercache/tiercache/remote"
	"github.com/tiercache/tiercache/tier"
)

// sized is a backend that notes how much its requests name.
type sized struct {
	backend.Backend
	keys, bytes, scopes atomic.Int64
}

type sizedConn struct {
	backend.Conn
	of *sized
}

func (s *sized) Connect(ctx context.Context, o backend.Options) (backend.Conn, error) {
	c, err := s.Backend.Connect(ctx, o)
	return sizedConn{c, s}, err
}

func most(m *atomic.Int64, n int) { m.Store(max(m.Load(), int64(n))) }

func (c sizedConn) Get(ctx context.Context, keys []string, q *changelog.DeltaQuery) ([]backend.Item, changelog.Delta, error) {
	most(&c.of.keys, len(keys))
	return c.Conn.Get(ctx, keys, q)
}

func (c sizedConn) GetUntracked(ctx context.Context, keys []string) ([]backend.Item, error) {
	most(&c.of.keys, len(keys))
	return c.Conn.GetUntracked(ctx, keys)
}

func (c sizedConn) Lease(ctx context.Context, r []backend.LeaseRequest) ([]backend.Lease, error) {
	most(&c.of.keys, len(r))
	return c.Conn.Lease(ctx, r)
}

func (c sizedConn) Extend(ctx context.Context, keys []string, token string, ttl time.Duration) error {
	most(&c.of.keys, len(keys))
	return c.Conn.Extend(ctx, keys, token, ttl)
}

func (c sizedConn) Release(ctx context.Context, keys []string, token string) error {
	most(&c.of.keys, len(keys))
	return c.Conn.Release(ctx, keys, token)
}

func (c sizedConn) Discard(ctx context.Context, keys []string, token string) error {
	most(&c.of.keys, len(keys))
	return c.Conn.Discard(ctx, keys, token)
}

func (c sizedConn) Write(ctx context.Context, w []backend.Write) ([]backend.Written, error) {
	c.of.wrote(w)
	return c.Conn.Write(ctx, w)
}

func (c sizedConn) WriteLater(ctx context.Context, w []backend.Write, then func([]backend.Written, error)) {
	c.of.wrote(w)
	c.Conn.WriteLater(ctx, w, then)
}

func (s *sized) wrote(w []backend.Write) {
	n := 0
	for i := range w {
		n += len(w[i].Envelope)
	}
	most(&s.keys, len(w))
	if len(w) > 1 {
		most(&s.bytes, n)
	}
}

func (c sizedConn) Delete(ctx context.Context, d []backend.Deletion) ([]backend.Deleted, error) {
	most(&c.of.keys, len(d))
	return c.Conn.Delete(ctx, d)
}

func (c sizedConn) Append(ctx context.Context, ch changelog.Change) (changelog.Appended, error) {
	most(&c.of.scopes, len(ch.Scopes))
	return c.Conn.Append(ctx, ch)
}

func names(n int) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = fmt.Sprint("key-", i)
	}
	return all
}

// loadAll is a loader that counts the keys it is asked for, and has a value of so many bytes for each.
func loadAll(n *atomic.Int64, bytes int) tier.BatchLoader[string] {
	return func(_ context.Context, keys []string, _ tier.Entries) (map[string]string, error) {
		n.Add(int64(len(keys)))
		all := make(map[string]string, len(keys))
		for _, k := range keys {
			all[k] = k + strings.Repeat(".", bytes)
		}
		return all, nil
	}
}

// No request of a large batch is large, and it is loaded once.
func TestABatchOfAnySizeIsSentInPieces(t *testing.T) {
	for _, kind := range [][]tier.CacheOption{nil, {tier.WithRemoteOnly()}} {
		synctest.Test(t, func(t *testing.T) {
			hub := embedded.New(0)
			of := &sized{Backend: hub}
			s, err := tier.Open(t.Context(), tier.WithRemote(of))
			require.NoError(t, err)
			defer s.Close()
			c := view[string](t, s, "docs", kind...)
			for bytes, n := range map[int]int{10: 5000, 3000: 1000} {
				of.keys.Store(0)
				var loads atomic.Int64
				keys := names(n)
				for range 2 {
					got, err := c.GetMany(t.Context(), keys, loadAll(&loads, bytes))
					require.NoError(t, err)
					require.Len(t, got, n)
					synctest.Wait() // the fills
				}
				require.Equal(t, int64(n), loads.Load())
				got, err := c.GetMany(t.Context(), keys, loadAll(&loads, bytes), tier.NoLocal())
				require.NoError(t, err)
				require.Len(t, got, n)
				require.Equal(t, int64(n), loads.Load(), "the remote tier has them")
				values := make(map[string]string, n)
				for _, k := range keys {
					values[k] = k + strings.Repeat("-", bytes)
				}
				require.NoError(t, c.SetMany(t.Context(), values))
				got, err = c.GetMany(t.Context(), keys, loadAll(&loads, bytes), tier.Fresh())
				require.NoError(t, err)
				require.Equal(t, values, got)
				require.NoError(t, c.Delete(t.Context(), keys...))
				loads.Store(0)
				_, err = c.GetMany(t.Context(), keys, loadAll(&loads, bytes))
				require.NoError(t, err)
				require.Equal(t, int64(n), loads.Load(), "all of them were deleted")
				synctest.Wait()
				require.NoError(t, c.Delete(t.Context(), keys...))
			}
			require.LessOrEqual(t, of.keys.Load(), int64(128))
			require.LessOrEqual(t, of.bytes.Load(), int64(128<<10))
		})
	}
}

// What was read before the server fell silent is served, and what was not is loaded; no caller waits more than once.
func TestWhatWasReadOfABatchStays(t *testing.T) {
	for name, option := range map[string]tier.CallOption{"kept": tier.Fresh(), "not kept": tier.NoLocal()} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFickle(embedded.New(0))
				s, err := tier.Open(t.Context(), tier.WithRemote(f))
				require.NoError(t, err)
				defer s.Close()
				c := view[string](t, s, "docs")
				keys := names(1500)
				var loads atomic.Int64
				_, err = c.GetMany(t.Context(), keys, loadAll(&loads, 1))
				require.NoError(t, err)
				synctest.Wait()
				loads.Store(0)
				reads := 0
				f.Before(func(op interpose.Op) error {
					if op == interpose.Get {
						if reads++; reads > 3 {
							return errUnreachable
						}
					}
					return nil
				})
				got, err := c.GetMany(t.Context(), keys, loadAll(&loads, 1), option)
				require.NoError(t, err)
				require.Len(t, got, len(keys))
				require.Equal(t, int64(1500-3*128), loads.Load())
				require.Equal(t, 5, reads, "a piece that had no answer is asked for again, and none follows two of them")
			})
		})
	}
}

// A server that is silent for a moment has nothing loaded of what it has, unless that happens again and again, or the batch is
// no larger than what one request reads.
func TestAPieceWithoutAnAnswerIsAskedForAgain(t *testing.T) {
	for name, option := range map[string]tier.CallOption{"kept": tier.Fresh(), "not kept": tier.NoLocal()} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFickle(embedded.New(0))
				s, err := tier.Open(t.Context(), tier.WithRemote(f))
				require.NoError(t, err)
				defer s.Close()
				c := view[string](t, s, "docs")
				keys := names(1500)
				var loads atomic.Int64
				_, err = c.GetMany(t.Context(), keys, loadAll(&loads, 1))
				require.NoError(t, err)
				synctest.Wait()
				for _, try := range []struct{ keys, every, loads, reads int }{
					{1500, 4, 0, 12 + 4},       // four are silent
					{1500, 2, 1500 - 4*128, 9}, // each other, until that is too often
					{128, 4, 128, 1},
					{129, 4, 0, 3},
				} {
					loads.Store(0)
					reads := 0
					f.Before(func(op interpose.Op) error {
						if op == interpose.Get {
							if reads++; (reads-1)%try.every == 0 {
								return context.DeadlineExceeded
							}
						}
						return nil
					})
					got, err := c.GetMany(t.Context(), keys[:try.keys], loadAll(&loads, 1), option)
					require.NoError(t, err)
					require.Len(t, got, try.keys)
					require.Equal(t, int64(try.loads), loads.Load(), "%v", try)
					require.Equal(t, try.reads, reads, "%v", try)
					f.Before(nil)
					require.NoError(t, s.Sync(t.Context()), "an answer, or the next silence is an outage")
					synctest.Wait()
				}
			})
		})
	}
}

// The same of what is stored.
func TestWhatWasStoredOfABatchStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFickle(embedded.New(0))
		s, err := tier.Open(t.Context(), tier.WithRemote(f))
		require.NoError(t, err)
		defer s.Close()
		c := view[string](t, s, "docs", tier.WithRemoteOnly())
		values := make(map[string]string)
		for _, k := range names(1500) {
			values[k] = k
		}
		var mu sync.Mutex
		sent := 0
		f.Before(func(op interpose.Op) error {
			mu.Lock()
			defer mu.Unlock()
			if op == interpose.Write || op == interpose.Delete {
				if sent++; sent > 2 {
					return errUnreachable
				}
			}
			return nil
		})
		err = c.SetMany(t.Context(), values)
		require.ErrorIs(t, err, tier.ErrUnavailable)
		require.ErrorContains(t, err, fmt.Sprint(1500-4*128, " keys more were not attempted"))
		require.Equal(t, 4, sent, "two in a row")
		f.Before(nil)
		<-time.After(time.Minute) // they were an outage
		there := 0
		for k := range values {
			if _, ok, err := c.Peek(t.Context(), k); err == nil && ok {
				there++
			}
		}
		require.Equal(t, 2*128, there)
		require.NoError(t, c.SetMany(t.Context(), values))
		sent = 0
		f.Before(func(op interpose.Op) error {
			mu.Lock()
			defer mu.Unlock()
			if op == interpose.Delete {
				if sent++; sent > 2 {
					return errUnreachable
				}
			}
			return nil
		})
		err = c.Delete(t.Context(), names(1500)...)
		require.ErrorIs(t, err, tier.ErrUnavailable)
		require.ErrorContains(t, err, fmt.Sprint(1500-3*128, " keys more were not attempted"))
		require.Equal(t, 4, sent, "one is sent again")
		f.Before(nil)
		<-time.After(time.Minute)
		for i, k := range names(1500) {
			_, ok, err := c.Peek(t.Context(), k)
			require.NoError(t, err)
			require.Equal(t, i >= 2*128, ok, k)
		}
	})
}

// A server that is silent for a moment ends no batch that stores or deletes: what follows is sent. What was stored without an answer is not
// sent again, since it may have been stored; what was deleted is.
func TestAPieceOfWritesWithoutAnAnswerIsNotTheLast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFickle(embedded.New(0))
		s, err := tier.Open(t.Context(), tier.WithRemote(f))
		require.NoError(t, err)
		defer s.Close()
		c := view[string](t, s, "docs", tier.WithRemoteOnly())
		keys, values := names(1500), make(map[string]string)
		for _, k := range keys {
			values[k] = k
		}
		there := func() (n int) {
			for _, k := range keys {
				if _, ok, err := c.Peek(t.Context(), k); err == nil && ok {
					n++
				}
			}
			return n
		}
		// silent has each 4th request of a kind be unanswered, from the first on, and counts them.
		var mu sync.Mutex
		sent := 0
		silent := func(of interpose.Op) {
			sent = 0
			f.Before(func(op interpose.Op) error {
				mu.Lock()
				defer mu.Unlock()
				if op == of {
					if sent++; (sent-1)%4 == 0 {
						return context.DeadlineExceeded
					}
				}
				return nil
			})
		}
		silent(interpose.Write)
		err = c.SetMany(t.Context(), values)
		f.Before(nil)
		require.ErrorIs(t, err, tier.ErrUnavailable)
		require.NotContains(t, err.Error(), "not attempted")
		require.Equal(t, 3, strings.Count(err.Error(), "in a request of 128 keys"), err)
		require.Equal(t, 12, sent, "no value is sent twice")
		require.Equal(t, 1500-3*128, there())

		require.NoError(t, c.SetMany(t.Context(), values))
		silent(interpose.Delete)
		require.NoError(t, c.Delete(t.Context(), keys...))
		f.Before(nil)
		require.Equal(t, 12+4, sent)
		require.Zero(t, there())

		silent(interpose.Write)
		var loads atomic.Int64
		_, err = c.GetMany(t.Context(), keys, loadAll(&loads, 1))
		require.NoError(t, err)
		synctest.Wait()
		<-time.After(time.Minute) // the fills
		synctest.Wait()
		f.Before(nil)
		require.Equal(t, 12, sent)
		require.Equal(t, 1500-3*128, there(), "what was loaded is stored as well")
	})
}

// SetMany and Delete do what they can.
func TestABadKeyAmongGoodOnesIsAnErrorOfItsOwn(t *testing.T) {
	onEachRemote(t, func(t *testing.T, f *fleet) {
		c, other := view[string](t, f.process(), "docs"), view[string](t, f.process(), "docs")
		for name, bad := range map[string]string{"empty": "", "too long": strings.Repeat("x", tier.MaxKey+1)} {
			err := c.SetMany(t.Context(), map[string]string{"a": "1", bad: "2", "b": "3"})
			require.ErrorContains(t, err, c.Set(t.Context(), bad, "2").Error(), name)
			f.sync()
			require.Equal(t, "1", find(t, other, "a", unneeded).Value, name)
			require.Equal(t, "3", find(t, other, "b", unneeded).Value, name)
			err = c.Delete(t.Context(), "a", bad, "b")
			require.Error(t, err, name)
			require.NotErrorIs(t, err, tier.ErrUnavailable)
			f.sync()
			require.Equal(t, "new", find(t, other, "a", is("new")).Value, name)
			require.Equal(t, "new", find(t, other, "b", is("new")).Value, name)
		}
	})
}

// More than 1,000 sources change one thousand after another; the last position is returned.
func TestManySourcesChange(t *testing.T) {
	onEachRemote(t, func(t *testing.T, f *fleet) {
		of := &sized{}
		if f.hub != nil {
			of.Backend = f.hub
		} else {
			of.Backend = remote.Valkey(valkey.ClientOption{InitAddress: []string{f.server.Addr}})
		}
		s := f.over(of)
		c, other := view[string](t, s, "docs"), view[string](t, f.process(), "docs")
		const n = 4321
		ids, keys := make([]string, n), []string{"0", "999", "1000", "2500", "4320"}
		for i := range ids {
			ids[i] = fmt.Sprint("source-", i)
		}
		for _, k := range keys {
			require.NoError(t, c.Set(t.Context(), k, "old", tier.WithSources("source-"+k)))
		}
		asOf, err := s.InvalidateSource(t.Context(), ids...)
		require.NoError(t, err)
		require.LessOrEqual(t, of.scopes.Load(), int64(1000))
		require.False(t, s.AsOf().Tick < asOf.Tick)
		f.sync()
		for _, k := range keys {
			for _, v := range []*tier.Cache[string]{c, other} {
				_, ok, err := v.Peek(t.Context(), k)
				require.NoError(t, err)
				require.False(t, ok, k)
			}
		}
	})
}

// A part of a change that cannot be recorded stays pending, and so do those after it.
func TestPartsOfAChangeThatWereNotRecordedArePending(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := embedded.New(0)
		f := newFickle(hub)
		s, err := tier.Open(t.Context(), tier.WithRemote(f), tier.WithMaxStaleness(time.Hour))
		require.NoError(t, err)
		defer s.Close()
		beside, err := tier.Open(t.Context(), tier.WithRemote(hub))
		require.NoError(t, err)
		defer beside.Close()
		c, other := view[string](t, s, "docs"), view[string](t, beside, "docs")
		ids := names(3500)
		for _, id := range ids[:30] { // in which part each is, is not known
			require.NoError(t, c.Set(t.Context(), id, "old", tier.WithSources(id)))
		}
		var appends atomic.Int64
		f.Before(func(op interpose.Op) error {
			if op == interpose.Append && appends.Add(1) > 1 {
				return errUnreachable
			}
			return nil
		})
		_, err = s.InvalidateSource(t.Context(), ids...)
		require.ErrorIs(t, err, tier.ErrUnavailable)
		none := func(c *tier.Cache[string]) {
			for _, id := range ids[:30] {
				_, ok, err := c.Peek(t.Context(), id)
				require.NoError(t, err)
				require.False(t, ok, id)
			}
		}
		none(c)
		f.Before(nil)
		<-time.After(time.Minute) // it is sent again
		require.NoError(t, s.Sync(t.Context()))
		require.NoError(t, beside.Sync(t.Context()))
		none(c)
		none(other)
		require.Zero(t, s.Health(t.Context()).Undelivered)
	})
}

// A large value is stored and read as any other, on a real server in another way.
func TestALargeValueIsStoredInBothTiers(t *testing.T) {
	onEachRemote(t, func(t *testing.T, f *fleet) {
		s := f.process()
		c, other := view[string](t, s, "docs"), view[string](t, f.process(), "docs")
		large := func(i int) string { return strings.Repeat(fmt.Sprint(i), 1<<20) }
		require.Equal(t, large(1), find(t, c, "k", is(large(1))).Value)
		filled(t, s, 1)
		r := find(t, other, "k", unneeded)
		require.True(t, r.Value == large(1) && r.Origin == tier.Remote)
		require.NoError(t, c.Set(t.Context(), "k", large(2)))
		f.sync()
		require.True(t, find(t, other, "k", unneeded).Value == large(2), "the copy of the one before is gone")
		require.NoError(t, other.SetMany(t.Context(), map[string]string{"k": large(3), "small": "s", "l": large(4)}))
		f.sync()
		got, err := c.GetMany(t.Context(), []string{"l", "small", "k"}, func(context.Context, []string, tier.Entries) (map[string]string, error) {
			return nil, errors.New("not needed")
		})
		require.NoError(t, err)
		require.True(t, got["k"] == large(3) && got["l"] == large(4) && got["small"] == "s")
		assert.NoError(t, c.Delete(t.Context(), "k"))
		f.sync()
		require.Equal(t, "new", find(t, other, "k", is("new")).Value)
	})
}

// A Set of a large value whose caller gives up while it is sent ahead stores nothing.
func TestALargeSetThatIsGivenUpEarlyIsNotStored(t *testing.T) {
	s, err := tier.Open(t.Context(), tier.WithValkey(valkeytest.Shared(t).URL()), tier.WithPrefix(valkeytest.Prefix(t)), tier.WithRemoteTimeout(10*time.Second))
	require.NoError(t, err)
	defer s.Close()
	c := view[string](t, s, "docs")
	require.NoError(t, c.Set(t.Context(), "k", "old"))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, c.Set(ctx, "k", strings.Repeat("x", 1<<20)), context.Canceled)
	require.Equal(t, "old", find(t, c, "k", unneeded, tier.NoLocal()).Value)
}
