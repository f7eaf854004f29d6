# certbound: the five things one does here. Nothing clever; scripts/ has the words.
# `make demo` and `make test` install the system packages they lack where they may, and name them where they may not.

.PHONY: demo test check bench conformance

demo:
	@scripts/packages build
	cargo build --locked
	cargo run --quiet --locked -- demo

test:
	@scripts/packages build test
	cargo test --locked

check:
	@scripts/packages build
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps

bench:
	@scripts/packages build
	cargo bench --locked

conformance:
	@scripts/packages build
	cargo test --locked --test it limbo -- --nocapture
