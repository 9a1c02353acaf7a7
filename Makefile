# Cairn. "make cluster" is the place to start; "make help" lists the rest.

GO      ?= go
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
# Everything but the race detector builds without a C compiler.
export CGO_ENABLED ?= 0

.DEFAULT_GOAL := build
.PHONY: help build run cluster test lint race bench bench-cluster crash torture fuzz demo-data clean FORCE

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 12

build: bin/cairn ## build bin/cairn

bin/cairn: FORCE
	@$(GO) build -buildvcs=false -ldflags '-X main.version=$(VERSION)' -o $@ ./cmd/cairn

run: bin/cairn ## one node on 127.0.0.1:6379, data in ./data/node
	@mkdir -p data/node
	@exec bin/cairn server --bind 127.0.0.1 --port 6379 --dir ./data/node

cluster: bin/cairn ## three primaries, each with a replica, on 127.0.0.1:7000-7005, data in ./data/cluster; Ctrl-C stops them
	@exec bin/cairn cluster up

demo-data: bin/cairn ## load some 60,000 real records into the running cluster, or node
	@bin/cairn load --demo auto

test: ## all tests; needs Go only (what needs other programs is skipped without them)
	$(GO) test -timeout 20m ./...

lint: ## gofmt, go vet, staticcheck, imports
	@unformatted=$$(gofmt -l .); test -z "$$unformatted" || { echo "gofmt needed: $$unformatted"; exit 1; }
	$(GO) vet ./...
	$(GO) tool staticcheck ./...
	$(GO) test -count=1 ./tools/archtest

race: ## the race detector on the packages with goroutines; needs a C compiler
	CGO_ENABLED=1 $(GO) test -race -short -timeout 20m $(RACE_PACKAGES)
RACE_PACKAGES = ./engine/... ./cluster/... ./server/...

crash: ## the long run of crash tests: 10,000 crash points and more
	CAIRN_CRASH_POINTS=10000 $(GO) test -count=1 -timeout 2h -run Crash -v ./engine/...
	$(GO) run ./tools/crash -kills 300

# TORTURE passes further flags, as "-seed 7" or "-acks 0".
TORTURE_TIME ?= 1h
torture: ## torment a cluster of real processes and check what it promises (partitions and full disks need root)
	$(GO) run ./tools/torture -duration $(TORTURE_TIME) $(TORTURE)

# BENCH passes flags, as "-mode fullsync -records 1000000": then only that is run.
bench: bin/cairn ## strings and collections side by side with redis-server, medians of 5 (needs redis-server and redis-benchmark)
ifeq ($(BENCH),)
	$(GO) run ./bench/compare
	$(GO) run ./bench/compare -mode collections
else
	$(GO) run ./bench/compare $(BENCH)
endif

bench-cluster: bin/cairn ## what replicas cost, full and partial syncs, moves of slots, failovers (needs 13 GB of disk)
	$(GO) run ./bench/compare -mode replica
	$(GO) run ./bench/compare -mode fullsync
	$(GO) run ./bench/compare -mode catchup
	$(GO) run ./bench/compare -mode migrate
	$(GO) run ./tools/torture -mode failover

# Each fuzz target in turn, FUZZTIME each.
FUZZTIME ?= 10s
fuzz: ## every fuzz target for FUZZTIME
	@for f in $$(grep -rl --include='*_test.go' '^func Fuzz' .); do \
	  for t in $$(sed -n 's/^func \(Fuzz[A-Za-z0-9]*\).*/\1/p' $$f); do \
	    echo "== $$(dirname $$f) $$t"; \
	    $(GO) test -run '^$$' -fuzz "^$$t\$$" -fuzztime $(FUZZTIME) $$(dirname $$f) || exit 1; \
	  done; \
	done

clean: ## remove bin (data stays)
	rm -rf bin

FORCE:
