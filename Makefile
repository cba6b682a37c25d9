# What a developer does, one word each. CARGO_TARGET_DIR is honoured.
.DEFAULT_GOAL := help
# Which benchmark `make bench` runs: compare, hop, overload, replication, routing or
# security.
BENCH ?= compare
.PHONY: help run test test-external test-stores bench lint advisories sbom fuzz fmt build release clean

help: ## Show this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 22

run: ## Install what is missing, build, start a server, load the sample, search it
	@scripts/run.sh

test: ## Run the self-contained tests
	@scripts/setup.sh
	@scripts/test.sh

test-external: ## Run real clients and tools (Python, Go, grpcurl, promtool, ...) against real servers
	@scripts/setup.sh
	@tests/external/run.sh

test-stores: ## Run the tests against real object stores (half an hour; ONLY_STORES=moto: one, STORES_FULL=1: every test)
	@scripts/setup.sh
	@tests/external/run.sh stores store_options identities

bench: ## Compare with LanceDB in process and a web app (BENCH=hop, overload, replication, routing, security: others)
	@scripts/setup.sh
	cargo bench --locked --bench $(BENCH)

lint: ## Check formatting, clippy, the shell scripts and the licences
	@scripts/setup.sh
	@scripts/lint.sh

advisories: ## Ask the RustSec database about the dependencies (needs the network)
	@scripts/setup.sh
	@scripts/lint.sh advisories

fuzz: ## Run the fuzz targets, a minute each (scripts/fuzz.sh SECONDS TARGET... for more)
	@scripts/fuzz.sh

sbom: ## Write target/sbom/lancegate.cdx.json: what the binary is built from
	@scripts/setup.sh
	@scripts/sbom.sh

fmt: ## Format the code
	cargo fmt

build: ## Build the dev profile
	@scripts/setup.sh
	@scripts/build.sh

release: ## Build what is published (optimised: takes long)
	@scripts/setup.sh
	cargo build --locked --profile dist

clean: ## Remove what was built, and the data of `make run`
	cargo clean
	rm -rf lancegate-data
