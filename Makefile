# certbound: the things one does here. Nothing clever; scripts/ has the words.
# `make demo` and `make test` install the system packages they lack where they may, and name them where they may not.

.PHONY: demo test test-faults check bench conformance interop peers schemathesis

demo:
	@scripts/packages build
	cargo build --locked
	cargo run --quiet --locked -- demo

test:
	@scripts/packages build test
	cargo test --locked
	cargo test --locked -p certbound-conformance

# All rounds of what `make test` does a few of: kill -9, power cuts, damage, failing disks and calls, histories of several
# nodes, random schedules. As root, or some are left out, which is said. Half an hour.
test-faults:
	@scripts/packages build test
	CERTBOUND_FAULTS=long cargo test --locked --test it -- --nocapture --test-threads=2 durability cluster:: simulation postgres::faults

check:
	@scripts/packages build
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --workspace --no-deps

bench:
	@scripts/packages build
	cargo bench --locked

conformance:
	@scripts/packages build
	cargo build --locked --bin certbound --example resource_server
	cargo build --locked -p certbound-conformance
	target/debug/certbound-conformance --start target/debug/certbound \
		--resource-server target/debug/examples/resource_server \
		--html target/conformance.html --json target/conformance.json --junit target/conformance.xml
	cargo test --locked -p certbound-conformance --test mutants -- --nocapture
	cargo test --locked --test it limbo -- --nocapture

interop:
	@scripts/packages build interop
	cargo build --locked
	@scripts/interop

peers:
	@scripts/packages build peers
	cargo build --locked --workspace --examples --bins
	@scripts/peers

# docs/openapi.yaml against a running server, in about two minutes
schemathesis:
	@scripts/packages build schemathesis
	cargo build --locked
	scripts/schemathesis/run
