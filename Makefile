# The commands of this repository; `make help` lists them. Everything is built by cargo in one optimised profile.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

WIGWAG := target/debug/wigwag
GENERATOR := target/debug/wigwag-generator
PLUGINS_DIR := target/plugins
BUILD := cargo build --locked -p wigwag -p wigwag-generator

.PHONY: help
help: ## Lists these commands
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

.PHONY: target
target:
	@rustup target list --installed 2>/dev/null | grep -qx wasm32-wasip2 || rustup target add wasm32-wasip2

.PHONY: build
build: target ## Builds service, generator and the example plugin
	$(BUILD)
	cargo build --locked -p wigwag-band --target wasm32-wasip2 --profile plugin --target-dir $(PLUGINS_DIR)
	@cp $(PLUGINS_DIR)/wasm32-wasip2/plugin/wigwag_band.wasm $(PLUGINS_DIR)/band.wasm

.PHONY: run
run: build ## Starts service and generator on an embedded log; Ctrl-C ends both
	@deploy/run

.PHONY: run-kafka
run-kafka: build ## The same on a real Apache Kafka, which it gets and starts
	@deploy/run --kafka

.PHONY: up
up: ## Puts all of it into a Kubernetes cluster, on minikube unless ON= names another (docs/kubernetes.md)
	@deploy/up $(ON)

.PHONY: down
down: ## Takes it out again; its data stay
	@deploy/down

.PHONY: dashboard
dashboard: dashboard/node_modules ## Builds the dashboard anew (dashboard/dist, which is committed); needs Node
	cd dashboard && npm run build

dashboard/node_modules: dashboard/package-lock.json
	cd dashboard && npm ci && touch node_modules

.PHONY: test
test: target ## Runs the tests; installs what they lack
	@deploy/install-test-tools
	cargo test --locked --workspace
	@# As built by now; without what tests ask of dependencies, most of these would be built again.
	@$(MAKE) BUILD="cargo build --locked --workspace --bins --tests" test-dashboard test-deployment

.PHONY: test-deployment
test-deployment: ## What is deployed to Kubernetes, without a cluster
	$(BUILD)
	@deploy/check-manifests

.PHONY: test-dashboard
test-dashboard: build dashboard/node_modules ## The dashboard's own tests, in a browser on the real service
	cd dashboard && npm run check && test/rebuilt && npm test

.PHONY: test-all
test-all: test ## Runs the long tests too
	WIGWAG_LONG_TESTS=1 cargo test --locked --workspace

.PHONY: soak
soak: target ## Faults at random for MINUTES=n, from SEED=n where one is given; then judges all that was put out
	@deploy/install-test-tools
	WIGWAG_SOAK_MINUTES=$(or $(MINUTES),30) $(if $(SEED),WIGWAG_SOAK_SEED=$(SEED)) \
		cargo test --locked -p wigwag --test faults -- --exact soak::row_28_everything_at_random --nocapture

.PHONY: check
check: target ## Format, lints, docs
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --workspace --no-deps
	@deploy/check-scripts
	@deploy/check-dashboard

.PHONY: bench
bench: build ## Measures, and prints ratios against baselines of the same run
	cargo bench --profile dev --locked -p wigwag
