# Two commands are enough: make run, make check.

.PHONY: run check build deps format lint unit fuzz e2e bench deb clean

VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
GO      := CGO_ENABLED=0 go
LOGS    := bin/check

# A complete server on loopback, in a throw-away directory.
run: build
	@./gatepost try

build:
	@$(GO) build -trimpath -ldflags "-X main.version=$(VERSION)" -o gatepost ./cmd/gatepost

# Everything that CI runs. As root it installs the Debian packages it needs;
# others are told what was left out.
check: deps format lint unit fuzz e2e
	@tools/skipped.sh $(LOGS)
	@echo "check: all green"

deps:
	@tools/deps.sh

format:
	@out=$$(gofmt -l cmd internal test bench); test -z "$$out" || { echo "not formatted (gofmt -w):"; echo "$$out"; exit 1; }

lint:
	@echo "lint: go vet, staticcheck, deadcode"
	@$(GO) vet ./...
	@$(GO) tool -modfile=tools/go.mod staticcheck ./...
	@out=$$($(GO) tool -modfile=tools/go.mod deadcode -test ./...); test -z "$$out" || { echo "dead code:"; echo "$$out"; exit 1; }

unit:
	@tools/unit.sh $(LOGS)

# Each fuzz target for FUZZTIME, two at a time.
fuzz:
	@tools/fuzz.sh $(LOGS)

# The real binary against real peers, in a network namespace of its own.
e2e: build
	@tools/e2e.sh $(LOGS)

# Accept and relay beside Postfix; docs/benchmarks.md tells how to read it.
bench: build
	@bench/run

# A package for Debian and Ubuntu, in bin/.
deb: build
	@tools/deb.sh "$(VERSION)"

clean:
	@rm -rf gatepost bin
