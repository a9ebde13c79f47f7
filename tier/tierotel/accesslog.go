package tierotel

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/tiercache/tiercache/tier"
)

// AccessLog writes the reads of one key in so many, a line each, for `tierctl advise`. All reads of such a key are written, so
// that hit rates of other sizes can be reckoned from them. Keys are written as hashes. Its methods may be called from any
// goroutine.
type AccessLog struct {
	oneIn  uint64
	secret []byte

	mu sync.Mutex // guards w
	w  io.Writer
}

// NewAccessLog returns a log of the reads of one key in oneIn, which is at least 1. Hashes depend on secret: without it no reader of the log
// can try which keys they are of, and the logs of processes with one secret can be put together. Errors of w are not reported.
func NewAccessLog(w io.Writer, oneIn int, secret string) (*AccessLog, error) {
	var errs []error
	if w == nil {
		errs = append(errs, errors.New("the writer is nil"))
	}
	if oneIn < 1 {
		errs = append(errs, fmt.Errorf("one key in %d: must be at least 1", oneIn))
	}
	if secret == "" {
		errs = append(errs, errors.New("the secret is empty: the keys could be found by trying"))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("tierotel: access log: %w", err)
	}
	return &AccessLog{w: w, oneIn: uint64(oneIn), secret: []byte(secret)}, nil
}

// Has reports whether reads of a key are written. It costs tens of nanoseconds, and allocates nothing.
func (l *AccessLog) Has(namespace, key string) bool {
	if l.oneIn == 1 {
		return true
	}
	const prime = 1099511628211
	h := uint64(14695981039346656037)
	for i := range len(namespace) {
		h = (h ^ uint64(namespace[i])) * prime
	}
	h *= prime // a byte of zero between
	for i := range len(key) {
		h = (h ^ uint64(key[i])) * prime
	}
	h ^= h >> 33
	h *= 0xff51afd7ed558ccd
	h ^= h >> 33
	return h%l.oneIn == 0
}

// line is what is written of a read.
type line struct {
	Time      float64 `json:"time"` // seconds since 1970
	Namespace string  `json:"namespace"`
	Key       string  `json:"key"`
	Op        string  `json:"op"`
	TTL       int64   `json:"ttl,omitempty"`  // seconds
	Size      int64   `json:"size,omitempty"` // bytes
	OneIn     uint64  `json:"one_in"`
}

// Read writes a read, if those of the key are written. ttl is the value's whole life, size its bytes; 0: not known.
func (l *AccessLog) Read(namespace, key string, ttl time.Duration, size int64) {
	if !l.Has(namespace, key) {
		return
	}
	mac := hmac.New(sha256.New, l.secret)
	_, _ = io.WriteString(mac, namespace+"\x00"+key)
	text, err := json.Marshal(line{
		Time: float64(time.Now().UnixMilli()) / 1000, Namespace: namespace, Key: base64.RawURLEncoding.EncodeToString(mac.Sum(nil)[:12]), Op: "get",
		TTL: int64((ttl + time.Second - 1) / time.Second), Size: size, OneIn: l.oneIn,
	})
	if err != nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	_, _ = l.w.Write(append(text, '\n'))
}

// Logged is a view whose reads are written to an [AccessLog].
type Logged[V any] struct {
	c         *tier.Cache[V]
	log       *AccessLog
	namespace string
}

// Log returns a view whose reads are written to l. Its other methods are those of c. namespace is that of c.
func Log[V any](l *AccessLog, c *tier.Cache[V], namespace string) *Logged[V] {
	return &Logged[V]{c, l, namespace}
}

// Get is [tier.Cache.Get].
func (v *Logged[V]) Get(ctx context.Context, key string, load tier.Loader[V], options ...tier.CallOption) (V, error) {
	if !v.log.Has(v.namespace, key) {
		return v.c.Get(ctx, key, load, options...)
	}
	r, err := v.Lookup(ctx, key, load, options...)
	return r.Value, err
}

// Lookup is [tier.Cache.Lookup].
func (v *Logged[V]) Lookup(ctx context.Context, key string, load tier.Loader[V], options ...tier.CallOption) (tier.Result[V], error) {
	r, err := v.c.Lookup(ctx, key, load, options...)
	v.write(key, r, err)
	return r, err
}

func (v *Logged[V]) write(key string, r tier.Result[V], err error) {
	ttl, size := time.Duration(0), int64(0)
	if err == nil {
		ttl, size = r.Age+r.TTL, sizeOf(r.Value)
	}
	v.log.Read(v.namespace, key, ttl, size)
}

// GetMany is [tier.Cache.GetMany]. TTLs are not known.
func (v *Logged[V]) GetMany(ctx context.Context, keys []string, load tier.BatchLoader[V], options ...tier.CallOption) (map[string]V, error) {
	got, err := v.c.GetMany(ctx, keys, load, options...)
	for _, key := range keys {
		var size int64
		if value, ok := got[key]; ok {
			size = sizeOf(value)
		}
		v.log.Read(v.namespace, key, 0, size)
	}
	return got, err
}

// sizeOf returns the length of what has one.
func sizeOf(v any) int64 {
	switch v := v.(type) {
	case string:
		return int64(len(v))
	case []byte:
		return int64(len(v))
	}
	return 0
}
