package core

import (
	"sync"
	"time"

	"github.com/tiercache/tiercache/tier/internal/config"
	"github.com/tiercache/tiercache/tier/internal/record"
)

// LoadEntry is how a loader describes the value it makes: an Entry of package tier.
type LoadEntry struct {
	mu      sync.Mutex // guards the rest
	cfg     config.Entry
	discard bool
}

func (e *LoadEntry) AddSources(sources []string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.cfg.AddSources(sources)
}

func (e *LoadEntry) SetTTL(d time.Duration) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.cfg.TTL, e.cfg.TTLSet = d.Truncate(time.Millisecond), true
}

func (e *LoadEntry) SetCost(bytes int64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.cfg.SetCost(bytes)
}

func (e *LoadEntry) SetDiscard() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.discard = true
}

// taken returns what the loader has set. What it sets later has no effect.
func (e *LoadEntry) taken() (config.Entry, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	cfg, discard := e.cfg, e.discard
	cfg.Sources = append([]string(nil), cfg.Sources...)
	if cfg.TTLSet && cfg.TTL <= 0 {
		cfg.TTLSet, discard = false, true
	}
	return cfg, discard
}

// Loaded is the result of a loader for one key.
type Loaded struct {
	It  *record.Item // with only the value set; may be nil with err
	Err error
}
