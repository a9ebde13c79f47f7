// A module of its own, as bench is, whose simulations it runs: services that import the library link nothing of it.
module github.com/tiercache/tiercache/cmd/tierctl

go 1.25.0

require (
	github.com/fatih/color v1.19.0
	github.com/schollz/progressbar/v3 v3.19.1
	github.com/spf13/cobra v1.10.2
	github.com/spf13/pflag v1.0.9
	github.com/stretchr/testify v1.12.1
	github.com/tiercache/tiercache v0.1.0
	github.com/tiercache/tiercache/bench v0.1.0
	github.com/valkey-io/valkey-go v1.0.79
	github.com/zeebo/xxh3 v1.1.0
	golang.org/x/term v0.45.0
)

require (
	github.com/hashicorp/golang-lru/v2 v2.0.7 // indirect
	github.com/inconshreveable/mousetrap v1.1.0 // indirect
	github.com/klauspost/compress v1.20.3 // indirect
	github.com/klauspost/cpuid/v2 v2.2.10 // indirect
	github.com/mattn/go-colorable v0.1.14 // indirect
	github.com/mattn/go-isatty v0.0.22 // indirect
	github.com/mitchellh/colorstring v0.0.0-20190213212951-d06e56a500db // indirect
	github.com/rivo/uniseg v0.4.7 // indirect
	go.uber.org/goleak v1.3.0 // indirect
	go.yaml.in/yaml/v3 v3.0.5 // indirect
	golang.org/x/sync v0.22.0 // indirect
	golang.org/x/sys v0.47.0 // indirect
)

// Until versions are tagged, and where both are changed, it is built with what is beside it.
replace (
	github.com/tiercache/tiercache => ../..
	github.com/tiercache/tiercache/bench => ../../bench
)
