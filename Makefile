# Weir's build. Every target installs what it needs when it is missing.
SHELL := /bin/bash
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS := -X github.com/weirhq/weir/internal/cli.version=$(VERSION)
FUZZTIME := 60s

.PHONY: run test crash hostile contracts bench fuzz lint build deps deps-test deps-contracts

run: build ## build Weir and start it with every default
	exec bin/weir run

build: deps ## build bin/weir
	go build -trimpath -ldflags '$(LDFLAGS)' -o bin/weir ./cmd/weir

test: lint deps-test build ## formatting, vet, staticcheck, unit and end-to-end tests with the race detector
	go test -race -timeout 30m ./...

crash: deps ## 200 kill -9 of the daemon and of a connector under load, about a minute
	WEIR_KILLS=200 go test -count=1 -v -run '^TestKillConnector$$' ./test

hostile: deps ## the rate of a connector beside 61 hostile ones and alone, five times in turn, ten minutes
	WEIR_CYCLES=5 go test -count=1 -timeout 30m -v -run '^TestHostileConnectors$$' ./test

CONTRACT := ../shared/contracts/000_901416f614ad6a25.txt
CONTRACT_MONITORS := ../shared/contracts/001_25794be982ced08d.txt

contracts: deps-contracts ## the scripts of the published pages about stream connectors and counter group monitors, as they stand
	WEIR_CONTRACT=$(abspath $(CONTRACT)) WEIR_CONTRACT_MONITORS=$(abspath $(CONTRACT_MONITORS)) go test -count=1 -tags contracts -run '^TestContract' ./test

lint: deps
	@unformatted=$$(gofmt -l .); if [ -n "$$unformatted" ]; then echo "not formatted, run gofmt -w:"; echo "$$unformatted"; exit 1; fi
	go vet -tags contracts ./...
	go tool staticcheck -tags contracts ./...

bench: build ## every figure of docs/performance.md next to its target
	go run ./test/figures

fuzz: deps ## every fuzz target for $(FUZZTIME)
	@for pkg in $$(go list ./...); do \
	  for target in $$(go test -list '^Fuzz' $$pkg | grep '^Fuzz'); do \
	    echo "$$pkg $$target"; go test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 10x $$pkg || exit 1; \
	  done; \
	done

# root WHAT: sets $sudo to what is needed to become root.
define root
	if [ "$$(id -u)" = 0 ]; then sudo=; elif command -v sudo >/dev/null; then sudo=sudo; else echo "run as root or install sudo, or $(1)"; exit 1; fi
endef

# install PACKAGES WHY: the Debian packages, with a line that says what and why.
define install
	echo "deps: installing the Debian packages$(1) ($(2))"; \
	if ! command -v apt-get >/dev/null; then echo "no apt-get here: install by hand:$(1)"; exit 1; fi; \
	$(call root,install by hand:$(1)); \
	$$sudo apt-get update -q && $$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -yq --no-install-recommends $(1)
endef

# gcc and the library: scripts run on LuaJIT, which is linked into the binary.
deps:
	@command -v go >/dev/null || { echo "weir needs Go 1.26 or newer on PATH: https://go.dev/doc/install"; exit 1; }
	@missing=; \
	command -v gcc >/dev/null || missing="$$missing gcc libc6-dev"; \
	ls /usr/lib/*/libluajit-5.1.a >/dev/null 2>&1 || missing="$$missing libluajit-5.1-dev"; \
	[ -n "$$missing" ] || exit 0; \
	$(call install,$$missing,a C compiler and LuaJIT to run Lua scripts)

# node and npm: tests run the real StatsD beside Weir; nc and curl: the README's tour; influxd: an example writes to it;
# softflowd exports what Weir counts, and nfdump counts the same.
deps-test: deps
	@missing=; \
	command -v node >/dev/null || missing="$$missing nodejs"; \
	command -v npm >/dev/null || missing="$$missing npm"; \
	command -v nc >/dev/null || missing="$$missing netcat-openbsd"; \
	command -v curl >/dev/null || missing="$$missing curl"; \
	command -v influxd >/dev/null || missing="$$missing influxdb"; \
	command -v prometheus >/dev/null || missing="$$missing prometheus"; \
	command -v softflowd >/dev/null || missing="$$missing softflowd"; \
	command -v nfcapd >/dev/null || missing="$$missing nfdump"; \
	command -v rrdtool >/dev/null || missing="$$missing rrdtool"; \
	command -v snmpd >/dev/null || test -x /usr/sbin/snmpd || missing="$$missing snmpd"; \
	[ -x /usr/lib/nagios/plugins/check_tcp ] || missing="$$missing monitoring-plugins-basic"; \
	/usr/bin/python3 -c 'import requests, apscheduler' 2>/dev/null || missing="$$missing python3 python3-requests python3-apscheduler"; \
	[ -n "$$missing" ] || exit 0; \
	$(call install,$$missing,Node.js to run the real StatsD beside Weir; nc and curl for the tour; InfluxDB and Prometheus to write to and to compare with; softflowd to export flows and nfdump to count them; rrdtool, which a timeseries driver writes with; snmpd to poll; plugins that bots run; Python with what bots use)

# influxd: one of the scripts writes to it; the folder: the other ones write to it when nothing tells them another.
deps-contracts: deps
	@command -v influxd >/dev/null || { $(call install, influxdb,a published script writes to InfluxDB); }
	@folder=/var/log/centreon-broker; [ ! -w $$folder ] || exit 0; \
	[ ! -e $$folder ] || { echo "cannot write to $$folder: run this as its owner, or as root"; exit 1; }; \
	echo "deps: creating $$folder (published scripts write there)"; \
	$(call root,create $$folder by hand); \
	$$sudo install -d -o "$$(id -u)" $$folder
