// Package tiertest helps to test code that uses tiercache.
//
// [RoundTrip] shows what becomes of your values when they are stored. [FindModified] finds code that modifies a value after it was
// shared, which every caller must treat as read-only. Both need no server: a store without an option that chooses a remote tier
// has one in the process, with the same semantics.
package tiertest
