// Tierctl answers questions about a cache from a trace of its reads:
//
//	tierctl advise -trace FILE [-hit PERCENT] [-sample SHARE] [-verify] [-json]
//
// advise prints how large a local tier must be for a hit rate, under each eviction policy, and what doubling it adds. By
// default the rate is nine tenths of what a cache that never evicts would have.
//
// FILE has one read per line: key, or key,size, or key,size,time (bytes, seconds), plain, gzip or zstd. Lines that are
// none of these are reported and left out. What is printed comes from simulations of the library's local tier; -verify
// simulates what is advised once more, with all keys.
//
// It exits with 1 if the trace cannot be read, and with 2 if it was called wrongly.
package main
