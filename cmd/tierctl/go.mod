// A module of its own, as bench is, whose simulations it runs.
module github.com/tiercache/tiercache/cmd/tierctl

go 1.25.0

require github.com/tiercache/tiercache/bench v0.0.0-00010101000000-000000000000

require (
	github.com/hashicorp/golang-lru/v2 v2.0.7 // indirect
	github.com/klauspost/compress v1.20.3 // indirect
	github.com/klauspost/cpuid/v2 v2.2.10 // indirect
	github.com/tiercache/tiercache v0.0.0-00010101000000-000000000000 // indirect
	github.com/valkey-io/valkey-go v1.0.79 // indirect
	github.com/zeebo/xxh3 v1.1.0 // indirect
	golang.org/x/sync v0.22.0 // indirect
	golang.org/x/sys v0.47.0 // indirect
)

replace (
	github.com/tiercache/tiercache => ../..
	github.com/tiercache/tiercache/bench => ../../bench
)
