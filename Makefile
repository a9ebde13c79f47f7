# One command per job; the CI (.ci/run) runs the same ones. GNU make 3.81 or newer.

# To be set on the command line: packages to test (when given, only those of the main module), more flags for go test
# (such as -run=TestName or -v), patience per package (slowness alone should not fail one, on any machine), which
# benchmarks, for how long and in how many rounds, time per fuzz target, and traces for the report.
PKGS      ?= ./...
TESTFLAGS ?=
TIMEOUT   ?= 20m
BENCH     ?= .
BENCHTIME ?= 1s
COUNT     ?= 6
FUZZTIME  ?= 30s
TRACES    ?= $(wildcard $(CURDIR)/../shared/traces/*.txt.gz)

STATICCHECK = honnef.co/go/tools/cmd/staticcheck@v0.8.2
GOVULNCHECK = golang.org/x/vuln/cmd/govulncheck@v1.9.0
ACTIONLINT  = github.com/rhysd/actionlint/cmd/actionlint@v1.7.12
BENCHSTAT   = golang.org/x/perf/cmd/benchstat@v0.0.0-20260908200009-22c9c6c9d4da

# The folders of all modules in the repository: what nested ones need stays out of the users' go.mod.
MODULES = $(shell find . -name go.mod -not -path '*/.*/*' -exec dirname {} \; | sort)

# The race detector needs cgo, and that a C compiler.
RACE = $(shell [ "$$(go env CGO_ENABLED)" = 1 ] && command -v $$(go env CC) >/dev/null && echo -race)

# Tests that run together wait for servers of their own most of the time.
TOGETHER = -parallel=4

# What takes longest is begun first, so that the rest is done beside it.
LONGEST = ./tier ./internal/coherence

# What the race detector makes too slow to be thorough, or distorts (heap, allocations): make test runs it without as well.
AT_FULL_SPEED = ./internal/coherence ./internal/model/... ./internal/sizeof ./local

# Simulations, and the comparison with other caches, in which the race detector has nothing of ours to find: run without it alone.
SIMULATIONS = ./bench ./bench/peers

# What talks to a server itself: make test-extra runs it on each of TIERCACHE_VALKEY_SERVERS. Neither as many rounds of
# the races as usual nor the race detector: those tell of our code more than of the server's. Nor what takes long and talks
# to no server.
IN_PROCESS = ^TestRaceInvalidationsAgainstEveryWayToLoad$$|^TestAnIdleNamespaceTakesFewBytes$$|^TestWhatLiveObjectsTake$$|/embedded|//embedded
ON_SERVERS = TIERCACHE_RACES=200 -count=1 -timeout=$(TIMEOUT) $(TOGETHER) -skip='$(IN_PROCESS)' ./tier ./remote

OTHER_SERVERS = $(subst :, ,$(TIERCACHE_VALKEY_SERVERS))

# Tests that need more than Go and a server call valkeytest.Extra with the programs that they need, and are named here.
EXTRA = TIERCACHE_EXTRA=1 -count=1 -timeout=$(TIMEOUT) -run='TwoVersions|InChromium' ./internal/coherence ./tier/tierdebug

# The alert rules in promtool, the dashboard's queries in Prometheus, where those can be had, and each module as a stranger gets it.
PROMETHEUS = -in ./tier/tierotel -must-run TIERCACHE_EXTRA=1 -count=1 -timeout=$(TIMEOUT) -run='Prometheus|Stranger' .

# Runs go test, and tells at the end what was skipped and what failed.
GOTEST = go run ./internal/gotest

# To be run before tests: finds or gets a server, without which they shall fail rather than skip.
WITH_SERVER = VALKEY_SERVER=$$(scripts/get-valkey) && export VALKEY_SERVER TIERCACHE_REQUIRE_SERVER=1

.PHONY: help
help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-15s %s\n", $$1, $$2 }' Makefile

.PHONY: quick
quick: ## the tests that need no server, short, in a minute or so; what needs one is skipped
	@TIERCACHE_NO_SERVER=1 $(GOTEST) -short -timeout=$(TIMEOUT) $(TESTFLAGS) $(PKGS)

# -count=1: the server is not among the things that go test's cache watches.
.PHONY: test
test: race ## run every test, with the race detector and a real server (PKGS=./remote TESTFLAGS=-run=Name)
	@$(WITH_SERVER) && $(GOTEST) $(RACE) -count=1 -timeout=$(TIMEOUT) $(TOGETHER) $(TESTFLAGS) $(if $(filter ./...,$(PKGS)), \
		$(LONGEST) ./... \
		then -in '$(filter-out . $(SIMULATIONS),$(MODULES))' $(RACE) -count=1 -timeout=$(TIMEOUT) $(TESTFLAGS) ./... \
		next -in '$(SIMULATIONS)' -count=1 -timeout=$(TIMEOUT) $(TESTFLAGS) ./... \
		$(if $(RACE),and -count=1 -timeout=$(TIMEOUT) $(TESTFLAGS) $(AT_FULL_SPEED)), \
		$(PKGS))

.PHONY: test-extra
test-extra: ## the tests that need more: the history, and each server of TIERCACHE_VALKEY_SERVERS=/path/one:/path/two
	@$(WITH_SERVER) && PATH="$$(scripts/get-promtool):$$PATH" && export PATH && $(GOTEST) -must-run $(EXTRA) and $(PROMETHEUS) \
		$(foreach server,$(OTHER_SERVERS),and TIERCACHE_VALKEY_SERVERS= VALKEY_SERVER=$(server) $(ON_SERVERS))
	@$(if $(TIERCACHE_VALKEY_SERVERS),,echo 'SKIP other servers: TIERCACHE_VALKEY_SERVERS names none')

.PHONY: race
race:
	@if [ -z "$(RACE)" ]; then \
		echo "WARNING: no C compiler, so the tests run WITHOUT the race detector" >&2; \
		if [ -n "$$CI" ]; then echo "and in CI that is a failure" >&2; exit 1; fi; \
	fi

.PHONY: check
check: ## gofmt, vet, staticcheck, actionlint, go mod tidy unchanged, everything builds (on macOS, Windows and 32 bits, tests too, and without each guard), and the quick tests pass on 32 bits
	@unformatted=$$(gofmt -l .); if [ -n "$$unformatted" ]; then echo "not gofmt'ed:"; echo "$$unformatted"; exit 1; fi
	@for dir in $(MODULES); do \
		(cd $$dir && echo "check $$dir" && \
		{ go mod tidy -diff || { echo "$$dir: go mod tidy would change that" >&2; exit 1; }; } && \
		go build ./... && go vet ./... && go run $(STATICCHECK) ./...) || exit 1; \
	done
	go run ./internal/guards -check
	go run $(ACTIONLINT)
	GOOS=darwin go build ./...
	GOOS=windows go build ./...
	GOARCH=386 go vet ./...
	@if [ "$$(go env GOHOSTOS)/$$(go env GOHOSTARCH)" = linux/amd64 ]; then \
		echo "the quick tests on 32 bits" && \
		TIERCACHE_NO_SERVER=1 GOARCH=386 go test -short -skip 'Memory' ./internal/sizeof ./internal/envelope ./internal/changelog ./internal/wire ./tier/...; \
	fi

.PHONY: vulnerabilities
vulnerabilities: ## what is known of this code's dependencies and of Go's library, where the code reaches it
	@for dir in $(MODULES); do (cd $$dir && echo "govulncheck $$dir" && go run $(GOVULNCHECK) ./...) || exit 1; done

.PHONY: races
races: race ## 100,000 rounds of every race (RACES=n)
	@$(WITH_SERVER) && TIERCACHE_RACES=$(or $(RACES),100000) go test $(RACE) -count=1 -timeout=3h -v -run 'TestRace' $(TESTFLAGS) ./tier

.PHONY: faults
faults: ## the battery of faults (TIERCACHE_SEED=n repeats one), and the search of the protocol's model
	@$(WITH_SERVER) && go test -count=1 -timeout=$(TIMEOUT) -v -run 'Faults|NoOrder|Without' $(TESTFLAGS) $(AT_FULL_SPEED)

# One world at a time, since each takes up to 14 GB.
.PHONY: model
model: ## search the protocol's models in large worlds too: half an hour, up to 14 GB (TESTFLAGS=-run=Large)
	TIERCACHE_MODEL=1 GOMEMLIMIT=6GiB go test -p=1 -count=1 -timeout=0 -v $(TESTFLAGS) ./internal/model/...

.PHONY: outage
outage: ## what an outage costs readers and the origin, in figures: 6 minutes on an idle machine
	@$(WITH_SERVER) && TIERCACHE_OUTAGE=1 go test -count=1 -timeout=$(TIMEOUT) -v -run TestOutageFigures $(TESTFLAGS) ./internal/coherence

.PHONY: reconnect
reconnect: ## what a lost connection, a failover and a restart cost the local tier, in figures, and the curves in FOLDER
	@$(WITH_SERVER) && TIERCACHE_RECONNECT=$(or $(FOLDER),/tmp) go test -count=1 -timeout=$(TIMEOUT) -v -run "TestReconnectFigures|TestWarmStartFigures" $(TESTFLAGS) ./internal/coherence

.PHONY: scaling
scaling: ## what fleets of up to 10,000 stores take a server, by a simulation: the tables and the picture of docs/scaling.md
	cd bench && go run ./scaling -o ../docs/images/scaling.svg

.PHONY: soak
soak: ## faults and reads for DURATION=1h, with memory, goroutines and staleness; 1,000 stores opened and closed; each right, and each state of a server
	@$(WITH_SERVER) && TIERCACHE_SOAK=$(or $(DURATION),1h) go test -count=1 -timeout=0 -v -run 'TestSoak|AThousandStores|NoRightIsMissed|TheMinimalRights|AFailoverWhile' $(TESTFLAGS) ./internal/coherence ./tier
	@$(WITH_SERVER) && cd cmd/tierctl && TIERCACHE_SOAK=$(or $(DURATION),1h) go test -count=1 -timeout=0 -v -run 'EachStateOfAServer' $(TESTFLAGS) .

.PHONY: mixed
mixed: ## a fleet of this version and the one before (BEFORE=commit), rolled forwards and back TURNS=3 times: needs the history
	@$(WITH_SERVER) && TIERCACHE_EXTRA=1 TIERCACHE_MIXED=$(or $(TURNS),3) TIERCACHE_BEFORE=$(BEFORE) go test -count=1 -timeout=0 -v -run 'TwoVersions' $(TESTFLAGS) ./internal/coherence

.PHONY: stress
stress: race ## every call with contexts that end, against bad servers and proxies: DURATION=5m, and as long with the race detector
	@$(WITH_SERVER) && for race in '' $(RACE); do \
		echo "go test $$race" && TIERCACHE_STRESS=$(or $(DURATION),5m) go test $$race -count=1 -timeout=0 -v $(TESTFLAGS) ./internal/stress || exit 1; \
	done

.PHONY: guards
guards: ## take each guard of the protocol out and see a test fail
	@$(WITH_SERVER) && go run ./internal/guards

.PHONY: bench
bench: ## run the benchmarks of ./tier (BENCH=regexp)
	@$(WITH_SERVER) && go test -run='^$$' -bench='$(BENCH)' -benchmem $(TESTFLAGS) ./tier

.PHONY: bench-compare
bench-compare: ## compare the benchmarks of ./tier with those of BASE=commit (BENCH=regexp COUNT=6 BENCHTIME=1s)
	@$(WITH_SERVER) && BENCHSTAT=$(BENCHSTAT) scripts/bench-compare '$(BASE)' '$(BENCH)' $(COUNT) $(BENCHTIME)

.PHONY: bench-peers
bench-peers: ## compare with other caches, in about 10 minutes (PEERS='-count=3 -run=LocalHit'; -help lists flags)
	@$(WITH_SERVER) && cd bench/peers && go run . $(PEERS)

.PHONY: report
report: ## simulate hit rates and draw them: bench/report/index.html (TRACES='file …', else those in ../shared)
	cd bench && go test -count=1 -timeout=20m -run='^TestReport$$' ./report -args -out='$(CURDIR)/bench/report' -traces='$(TRACES)'

.PHONY: fuzz
fuzz: ## run every fuzz target for FUZZTIME=30s each
	@$(WITH_SERVER) && for dir in $(MODULES); do \
		(cd $$dir && listed=$$(go test -list='^Fuzz' ./...) && echo "$$listed" | \
		awk '/^Fuzz/ { names[++n] = $$1 } /^ok/ { for (i = 1; i <= n; i++) print $$2, names[i]; n = 0 }' | \
		while read -r pkg name; do \
			echo "== $$pkg $$name" && go test -run='^$$' -fuzz="^$$name\$$" -fuzztime=$(FUZZTIME) -fuzzminimizetime=50x $$pkg </dev/null || exit 1; \
		done) || exit 1; \
	done

.PHONY: cover
cover: ## run the main module's tests for coverage: cover.out, and the total
	@$(WITH_SERVER) && go test -count=1 -timeout=$(TIMEOUT) -coverpkg=./... -coverprofile=cover.out $(TESTFLAGS) ./...
	@go tool cover -func=cover.out | tail -n 1

.PHONY: server
server: ## print the path of the Valkey server that tests use, getting one if there is none
	@scripts/get-valkey
