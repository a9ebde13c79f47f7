// A module of its own, so that protobuf-go stays out of the builds of those who do not use it.
module github.com/tiercache/tiercache/tier/codec/protobuf

go 1.25.0

require (
	github.com/stretchr/testify v1.12.1
	github.com/tiercache/tiercache v0.1.0
	google.golang.org/protobuf v1.36.6
)

require (
	github.com/hashicorp/golang-lru/v2 v2.0.7 // indirect
	github.com/klauspost/compress v1.20.3 // indirect
	github.com/klauspost/cpuid/v2 v2.2.10 // indirect
	github.com/valkey-io/valkey-go v1.0.79 // indirect
	github.com/zeebo/xxh3 v1.1.0 // indirect
	go.uber.org/goleak v1.3.0 // indirect
	go.yaml.in/yaml/v3 v3.0.5 // indirect
	golang.org/x/sync v0.20.0 // indirect
	golang.org/x/sys v0.47.0 // indirect
)

replace github.com/tiercache/tiercache => ../../..
