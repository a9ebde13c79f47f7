// Package stress calls everything that tier offers, from many goroutines, with
// contexts that end at any moment, against servers and proxies that do what real
// ones do at their worst, and one that lies.
//
// Whether a read is too old is for the coherence package to judge. Here it is
// judged, whatever the server does:
//
//   - that the process survives: the driver runs in a process of its own, whose
//     panic, fatal error or data race fails the test with its text;
//   - that a value is one that was made for its key: each names its key and holds
//     a checksum, and some are kept and looked at again later, since memory that
//     is used again shows in what has been given out before;
//   - that a call returns: within [patience], and with an error that its contract
//     names, which matches the context's only if that has ended;
//   - that goroutines and memory are bounded, and that nothing of a store is left
//     when Close has returned, or when Open has failed.
//
// make stress DURATION=30m goes on for longer than the tests do.
package stress
