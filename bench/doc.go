// Package bench answers how large a local tier should be, under which policy and TTL, and what it saves: by replaying
// requests through the library itself.
//
// # What it promises
//
//   - What is simulated is the real code: local.Cache for the questions of size and policy, and whole stores of package
//     tier, sharing one in-process remote and living in fake time, for those of processes, TTLs and invalidation.
//   - The same seed gives the same figures on any machine: nothing depends on the clock, on the number of processors
//     or on the order of a map.
//   - A trace is read as a stream. Lines that are no requests are counted, reported by number and left out; memory is
//     bounded by [Limits].
//
// # What it does not promise
//
//   - Requests come one after the other. How long they take, and what happens when they meet, is the business of the
//     benchmarks of package tier.
//   - Latency saved is an estimate: hits multiplied by tier costs that the caller gives or that [MeasuredCosts] has.
package bench
