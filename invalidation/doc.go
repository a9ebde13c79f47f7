// Package invalidation names what changes and when: a [Scope] is a namespace path, a
// source or, without client tracking, a single key; an [AsOf] is a position in the
// change log that all stores of one prefix share.
//
// Services meet AsOf alone: it is what [github.com/tiercache/tiercache/tier.Store.AsOf]
// returns, and what tells with [github.com/tiercache/tiercache/tier.WithAsOf] since when
// a value may be out of date. The log itself, and what a process knows of it, is in
// internal/changelog.
package invalidation
