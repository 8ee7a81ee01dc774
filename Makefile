# Weir's build. Every target installs what it needs when it is missing.
SHELL := /bin/bash
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS := -X github.com/weirhq/weir/internal/cli.version=$(VERSION)

.PHONY: run test bench lint build deps

run: build ## build Weir and start it with every default
	exec bin/weir run

build: deps ## build bin/weir
	go build -trimpath -ldflags '$(LDFLAGS)' -o bin/weir ./cmd/weir

test: lint build ## formatting, vet, staticcheck, unit and end-to-end tests with the race detector
	go test -race ./...

lint: deps
	@unformatted=$$(gofmt -l .); if [ -n "$$unformatted" ]; then echo "not formatted, run gofmt -w:"; echo "$$unformatted"; exit 1; fi
	go vet ./...
	go tool staticcheck ./...

bench: deps ## the figures of docs/performance.md
	go test -run '^$$' -bench . -benchmem ./...

# gcc: the race detector and later the Lua engine; node: tests compare with the real one.
deps:
	@command -v go >/dev/null || { echo "weir needs Go 1.26 or newer on PATH: https://go.dev/doc/install"; exit 1; }
	@missing=; \
	command -v gcc >/dev/null || missing="$$missing gcc libc6-dev"; \
	command -v node >/dev/null || missing="$$missing nodejs"; \
	[ -n "$$missing" ] || exit 0; \
	echo "deps: installing the Debian packages$$missing (C compiler for the race detector; Node.js for tests against the real one)"; \
	if ! command -v apt-get >/dev/null; then echo "no apt-get here: install by hand:$$missing"; exit 1; fi; \
	if [ "$$(id -u)" = 0 ]; then sudo=; elif command -v sudo >/dev/null; then sudo=sudo; else echo "run as root or install sudo, or install by hand:$$missing"; exit 1; fi; \
	$$sudo apt-get update -q && $$sudo apt-get install -yq --no-install-recommends $$missing
