package core

import (
	"cmp"
	"context"
	"fmt"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"weak"

	"github.com/tiercache/tiercache/tier/internal/config"
	"github.com/tiercache/tiercache/tier/internal/inflight"
	"github.com/tiercache/tiercache/tier/internal/loads"
	"github.com/tiercache/tiercache/tier/internal/pace"
	"github.com/tiercache/tiercache/tier/internal/profile"
	"github.com/tiercache/tiercache/tier/internal/record"
	"github.com/tiercache/tiercache/tier/internal/values"
)

// View is what a Cache of package tier refers to. It has a Cache of this package while it is used, and is little without one.
//
// The first of the views of a namespace is their root: the others refer to it, and so do the loads of all. So the garbage
// collector finds when no view of a namespace is in use any more.
type View struct {
	cache atomic.Pointer[Cache] // nil: it has not been used lately
	ns    *Lasting
	plan  *Plan
	root  *View // nil if this is it
}

// Plan is what views of one type with the same options share.
type Plan struct {
	s     *Store
	cfg   config.Cache
	shape record.Shape
	// Single and Batch run loaders of the type: see LoadFunc.
	Single, Batch RunFunc
	open          func(p *Plan, ns *Namespace, root *View) *Cache
}

// plans has the plans of a store, each for as long as a view refers to it.
type plans struct {
	mu sync.Mutex // guards what follows
	of map[planKey]weak.Pointer[Plan]
}

type planKey struct {
	values reflect.Type
	cfg    config.Cache
}

// PlanOf returns the plan of views of V, or an error that says why there can be no such view.
func PlanOf[V any](s *Store, cfg config.Cache, single, batch RunFunc) (*Plan, error) {
	key := planKey{reflect.TypeFor[V](), cfg}
	// Functions cannot be compared, nor can some codecs: such views have plans of their own.
	if cfg.Size != nil || cfg.OnEvict != nil || cfg.Codec != nil && !reflect.ValueOf(cfg.Codec).Comparable() {
		return newPlan[V](s, cfg, single, batch)
	}
	if p := s.plans.find(key); p != nil {
		return p, nil
	}
	p, err := newPlan[V](s, cfg, single, batch)
	if err != nil {
		return nil, err
	}
	return s.plans.keep(key, p), nil
}

func (ps *plans) find(key planKey) *Plan {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	return ps.of[key].Value()
}

// keep returns the plan of a key, which is p if there is no other.
func (ps *plans) keep(key planKey, p *Plan) *Plan {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	if other := ps.of[key].Value(); other != nil {
		return other
	}
	for other, p := range ps.of { // there are few
		if p.Value() == nil {
			delete(ps.of, other)
		}
	}
	if ps.of == nil {
		ps.of = make(map[planKey]weak.Pointer[Plan])
	}
	ps.of[key] = weak.Make(p)
	return p
}

func newPlan[V any](s *Store, cfg config.Cache, single, batch RunFunc) (*Plan, error) {
	cfg.TimedOut = fmt.Errorf("tier: load took longer than %v: %w", cfg.LoadTimeout, context.DeadlineExceeded)
	enc, err := values.EncodingOf[V](&cfg)
	if err != nil {
		return nil, err
	}
	size, err := values.SizingOf[V](&cfg, s.Config.LocalBytes > 0)
	if err != nil {
		return nil, err
	}
	shared := enc.Shared(&cfg)
	if shared.Left, err = values.LeftFuncOf[V](&cfg); err != nil {
		return nil, err
	}
	return &Plan{s: s, cfg: cfg, shape: record.ShapeOf[V](shared), Single: single, Batch: batch, open: func(p *Plan, ns *Namespace, root *View) *Cache {
		t := values.New[V](record.KindFor[V](&ns.Kinds, ns, p.shape, shared.Left), enc, size)
		c := &Cache{s: p.s, ns: ns, cfg: p.cfg, typed: t, root: root, labels: &profile.Labels{}, stuck: &loads.Stuck{}, took: &pace.LoadTime{}, seen: -1}
		c.compare = values.NewComparison[V](&c.typed)
		c.noHits = cfg.RemoteOnly || c.compare != nil
		return c
	}}, nil
}

// Init makes v a view of a namespace.
func (v *View) Init(path string, p *Plan) error {
	v.plan = p
	n := &p.s.Namespaces
	n.mu.Lock()
	err := p.s.admitLocked(path, v)
	n.mu.Unlock()
	if err == nil && (p.s.Config.WarmStart > 0 || p.cfg.OnEvict != nil) { // the function of the latest view is called
		if c := v.Cache(); c.warms() {
			p.s.Goroutines.Spawn(c.warmUp)
		}
	}
	return err
}

// Plan is what the view shares with others.
func (v *View) Plan() *Plan { return v.plan }

// Store is the store of the view.
func (v *View) Store() *Store { return v.plan.s }

// Path is the path of the view's namespace.
func (v *View) Path() string { return v.ns.path }

// Hit is Cache.Hit.
func (v *View) Hit(key string) *record.Item {
	if c := v.cache.Load(); c != nil {
		return c.Hit(key)
	}
	return nil
}

// Cache returns the view's Cache, which is made if there is none.
func (v *View) Cache() *Cache {
	if c := v.cache.Load(); c != nil {
		return c
	}
	return v.open()
}

func (v *View) open() *Cache {
	n := &v.plan.s.Namespaces
	n.mu.Lock()
	defer n.mu.Unlock()
	if c := v.cache.Load(); c != nil {
		return c
	}
	c := v.openLocked()
	v.cache.Store(c)
	if len(n.opened) >= n.most {
		n.keepLocked(func(*View) bool { return true })
	}
	n.opened = append(n.opened, weak.Make(v))
	return c
}

func (v *View) openLocked() *Cache {
	return v.plan.open(v.plan, v.plan.s.namespaceLocked(v.ns), cmp.Or(v.root, v))
}

// keepLocked forgets the views that have no Cache to keep.
func (n *Namespaces) keepLocked(keep func(v *View) bool) {
	kept := slices.DeleteFunc(n.opened, func(p weak.Pointer[View]) bool {
		v := p.Value()
		return v == nil || !keep(v)
	})
	n.opened = append([]weak.Pointer[View](nil), kept...) // which gives back what is not needed any more
	n.most = 2*len(n.opened) + 64
}

// CloseIdleViews takes their Caches from the views whose namespaces have counted nothing since it did so before. The
// namespaces are then gone, unless calls or local copies still refer to them; the views' next use makes them anew.
func (s *Store) CloseIdleViews() {
	s.Namespaces.mu.Lock()
	s.Namespaces.keepLocked(func(v *View) bool {
		if v.cache.Load().isIdle() {
			v.cache.Store(nil)
			return false
		}
		return true
	})
	s.Namespaces.mu.Unlock()
	s.Session.ForgetNamespaces()
}

// isIdle reports whether the namespace has counted nothing since it was asked before, and nothing would be lost with the Cache.
func (c *Cache) isIdle() bool {
	var n int64
	for _, count := range c.ns.Stats.figures() {
		n += count
	}
	idle := n == c.seen
	c.seen = n
	// guard: idle-view-keeps-what-it-knows
	return idle && c.compare == nil && c.cfg.OnEvict == nil && c.stuck.Count() == 0 && !c.ns.hasNotes()
}

// AnyView returns a Cache as one of the views of a namespace has; nil if there is none.
func (s *Store) AnyView(path string) *Cache {
	s.Namespaces.mu.Lock()
	defer s.Namespaces.mu.Unlock()
	if l := s.Namespaces.table.Find(path); l != nil {
		if root := l.root.Value(); root != nil {
			return root.openLocked()
		}
	}
	return nil
}

// RunFunc runs a loader of one type of values, whose items are of kind k.
type RunFunc func(ctx context.Context, k *record.Kind, loader any, fs []*inflight.Call, es []*LoadEntry, out []Loaded)
