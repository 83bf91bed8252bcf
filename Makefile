# Everything CI does and some more. `make help` lists the targets that have a comment behind them.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
export PATH := $(CURDIR)/.cache/cargo/bin:$(PATH)

CARGO_FLAGS ?= --locked
say = @printf '\n== %s\n'

.PHONY: help build libcrun check test unit containers plugin-test demo manuals plugin deb deb-13 e2e e2e-13 bench valgrind fuzz bless deps ci clean distclean

help: ## this list
	@sed -n 's/^\([a-z][a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

build: libcrun ## the release binaries, in target/release
	$(say) 'build: proxmox-lxcri and its two monitors'
	@cargo build $(CARGO_FLAGS) --release --quiet -p server
	@cargo build $(CARGO_FLAGS) --profile monitor --quiet -p monitor -p lxc-monitor
	@install -D -t target/release target/monitor/lxcri-monitor target/monitor/lxcri-lxc-monitor

libcrun: ## fetch and verify libcrun's static library, once
	@scripts/deps.sh build
	@scripts/libcrun.sh

check: libcrun ## formatting, clippy and rustdoc, warnings are errors
	$(say) 'check: rustfmt, clippy, rustdoc'
	@cargo fmt --all --check
	@cargo clippy $(CARGO_FLAGS) --quiet --workspace --all-targets -- -D warnings
	@RUSTDOCFLAGS='-D warnings' cargo doc $(CARGO_FLAGS) --quiet --workspace --no-deps --document-private-items

test: unit containers ## every test; containers run in User Mode Linux

# The whole workspace each time: with fewer packages cargo picks other features and builds twice.
unit: libcrun ## unit, property and API tests, on this machine
	@scripts/deps.sh test
	$(say) 'test: unit, property and API tests'
	@cargo build $(CARGO_FLAGS) --quiet --workspace --all-targets
	@cargo nextest run $(CARGO_FLAGS) --cargo-quiet --workspace --test-threads $$(($$(nproc) + 1)) # many of them wait
	@cargo test $(CARGO_FLAGS) --quiet --workspace --doc >/dev/null

containers: libcrun ## container, fault, leak and client tests, in User Mode Linux (T=name picks some)
	@scripts/deps.sh test
	$(say) 'test: containers, in User Mode Linux'
	@cargo build $(CARGO_FLAGS) --quiet --workspace --all-targets
	@tests/vm/containers $(T)

demo: build ## a container through the REST API, from nothing to nothing
	@scripts/deps.sh demo
	@scripts/demo.sh

manuals: build ## man pages and shell completions, in target/manuals
	$(say) 'manuals: from the command line'
	@target/release/proxmox-lxcri generate man target/manuals
	@for shell in bash fish zsh; do \
	    target/release/proxmox-lxcri generate completions "$$shell" >"target/manuals/proxmox-lxcri.$$shell"; \
	done

plugin: ## the plug-in for pveproxy, in target/plugin
	@rm -rf target/plugin
	@mkdir -p target/plugin/PVE/API2/OCI
	@cp -r packaging/pve/PVE target/plugin/
	@packaging/pve/generate openapi/methods/oci.json >target/plugin/PVE/API2/OCI/Methods.pm

plugin-test: build plugin ## the plug-in's tests, perlcritic and perltidy
	@scripts/deps.sh plugin
	$(say) 'plugin-test: perl -c, perlcritic, perltidy, tests'
	@tests/pve/run

# The checkout is the source; whatever is there already is not built again.
deb: libcrun ## the Debian package, in target/deb
	@scripts/deps.sh deb
	@rm -rf target/deb && mkdir -p target/deb
	$(say) 'deb: proxmox-lxcri'
	@LXCRI_DEB_FOLDER=$(CURDIR)/target/deb debian/rules binary >target/deb/log 2>&1 || { tail -30 target/deb/log; exit 1; }
	@debian/rules clean >>target/deb/log 2>&1
	@ls target/deb/*.deb
	@lintian --fail-on error,warning target/deb/proxmox-lxcri_*.deb

deb-13: libcrun ## the package as Debian 13 builds it, in target/debian-13/deb
	@scripts/deps.sh deb-13
	@scripts/debian-13.sh make deb

e2e: deb ## the package on a whole Debian 13 with systemd, in User Mode Linux
	@scripts/deps.sh e2e
	$(say) 'e2e: the package on Debian 13'
	@tests/e2e/run target/deb

e2e-13: deb-13 ## the same with the package that Debian 13 built
	@scripts/deps.sh e2e
	$(say) 'e2e-13: its package on Debian 13'
	@tests/e2e/run target/debian-13/deb

bench: build ## times and memory beside crun's; writes bench/latest.json
	@scripts/deps.sh bench
	$(say) 'bench: against crun, on this machine'
	@bench/run

valgrind: libcrun ## the libcrun wrapper's tests under valgrind
	@scripts/deps.sh valgrind
	@scripts/valgrind.sh

fuzz: ## feed one parser with garbage: T=config S=60; targets are in tests/fuzz/targets
	@scripts/deps.sh build
	@command -v cargo-fuzz >/dev/null || cargo install --quiet --locked --root .cache/cargo cargo-fuzz@0.13.2
	@cd tests/fuzz && cargo +nightly fuzz run --fuzz-dir . $(or $(T),config) -- -max_total_time=$(or $(S),60)

bless: ## accept what snapshot tests now see; read the difference before you commit it
	@INSTA_UPDATE=always cargo nextest run $(CARGO_FLAGS) --cargo-quiet --workspace

deps: ## install what build, test, demo, bench and valgrind need
	@scripts/deps.sh build demo test bench valgrind

ci: ## what CI runs
	@.ci/run

clean: ## remove what was built
	@cargo clean --quiet

distclean: clean ## and what was fetched
	@rm -rf .cache bench/latest.json
