package main

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/valkey-io/valkey-go"

	"github.com/tiercache/tiercache/internal/valkeytest"
	"github.com/tiercache/tiercache/remote"
	"github.com/tiercache/tiercache/tier"
)

// pitch is what the contestants stand on: one server on loopback, and clients of it.
type pitch struct {
	short bool // tests: everything small

	server   func() *valkeytest.Server
	place    host // where the server runs
	host     host // of what the contestants of one kind of work have opened
	prefixes int
}

// addr is the server's, which runs from when it is first needed.
func (p *pitch) addr() string {
	if p.server == nil {
		p.server = sync.OnceValue(func() *valkeytest.Server { return valkeytest.Start(&p.place) })
	}
	return p.server().Addr
}

// size is n, or in tests something small.
func (p *pitch) size(n int) int {
	if p.short {
		return max(n/100, 1)
	}
	return n
}

func (p *pitch) leave() {
	p.clear()
	p.place.leave()
}

// clear ends what the contestants have opened, so that the next kind of work is not done beside their heaps and heartbeats.
func (p *pitch) clear() {
	p.host.leave()
	runtime.GC()
}

// host stands in for a test, which is what valkeytest starts servers for.
type host struct {
	testing.TB // nil: what is not overridden below is not called
	cleanups   []func()
}

func (h *host) Helper()                      {}
func (h *host) Failed() bool                 { return false }
func (h *host) Cleanup(f func())             { h.cleanups = append(h.cleanups, f) }
func (h *host) Fatal(args ...any)            { h.leave(); must(fmt.Errorf("%s", fmt.Sprint(args...))) }
func (h *host) Fatalf(f string, args ...any) { h.Fatal(fmt.Sprintf(f, args...)) }
func (h *host) Skipf(f string, args ...any)  { h.Fatal(fmt.Sprintf(f, args...)) }

func (h *host) leave() {
	for len(h.cleanups) > 0 {
		last := len(h.cleanups) - 1
		f := h.cleanups[last]
		h.cleanups = h.cleanups[:last]
		f()
	}
}

// prefix returns a new one, for keys or for a fleet of stores.
func (p *pitch) prefix() string {
	p.prefixes++
	return fmt.Sprintf("p%d-%d", os.Getpid(), p.prefixes)
}

// store opens a store as a process would. The remote timeout is long: on a busy machine a request that is given up would
// make the work less, and the figure better.
func (p *pitch) store(prefix string) *tier.Store {
	return p.storeOn(remote.Valkey(valkey.ClientOption{InitAddress: []string{p.addr()}}), prefix)
}

func (p *pitch) storeOn(b remote.Backend, prefix string) *tier.Store {
	s, err := tier.Open(context.Background(), tier.WithRemote(b), tier.WithPrefix(prefix), tier.WithRemoteTimeout(10*time.Second))
	must(err)
	p.host.Cleanup(func() { _ = s.Close() })
	return s
}

func view[V any](s *tier.Store, path string, options ...tier.CacheOption) *tier.Cache[V] {
	c, err := tier.New[V](s, path, options...)
	must(err)
	return c
}

// valkey returns a client with valkey-go's default settings.
func (p *pitch) valkey() valkey.Client { return p.valkeyWith(valkey.ClientOption{}) }

func (p *pitch) valkeyWith(o valkey.ClientOption) valkey.Client {
	o.InitAddress = []string{p.addr()}
	c, err := valkey.NewClient(o)
	must(err)
	p.host.Cleanup(c.Close)
	return c
}

func (p *pitch) goRedis() *redis.Client {
	c := redis.NewClient(&redis.Options{Addr: p.addr()})
	p.host.Cleanup(func() { _ = c.Close() })
	return c
}
