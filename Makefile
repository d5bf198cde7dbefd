# authsvc: build, test, lint. `make test` gets what it needs on a fresh machine.

GO      ?= go
TAGS    := -tags nomsgpack
BIN     := $(CURDIR)/.bin
SUDO    := $(if $(filter 0,$(shell id -u)),,sudo)

GOLANGCI_LINT := github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
GOVULNCHECK   := golang.org/x/vuln/cmd/govulncheck@v1.9.0

.PHONY: build test deps lint fuzz bench vuln clean

build: ## the binary, in .bin/
	CGO_ENABLED=0 $(GO) build $(TAGS) -trimpath -o $(BIN)/authsvc ./cmd/authsvc

test: deps ## all tests, with the race detector, against a real redis-server
	CGO_ENABLED=1 $(GO) test -race $(TAGS) ./...

# What the tests run: redis-server, curl, and a C compiler for the race detector.
deps:
	@missing=; \
	command -v redis-server >/dev/null || missing="$$missing redis-server"; \
	command -v curl >/dev/null || missing="$$missing curl ca-certificates"; \
	command -v gcc >/dev/null || missing="$$missing gcc libc6-dev"; \
	if [ -n "$$missing" ]; then \
		echo "installing$$missing"; \
		$(SUDO) apt-get update -q && \
		DEBIAN_FRONTEND=noninteractive $(SUDO) apt-get install -q -y --no-install-recommends $$missing; \
	fi

lint: $(BIN)/golangci-lint
	$(BIN)/golangci-lint run ./...
	$(GO) mod tidy -diff

$(BIN)/golangci-lint:
	GOBIN=$(BIN) $(GO) install $(GOLANGCI_LINT)

FUZZTIME ?= 30s
fuzz: ## each fuzz target for FUZZTIME
	@grep -rl --include='*_test.go' '^func Fuzz' . | while read -r f; do \
		for t in $$(sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\).*/\1/p' $$f); do \
			echo "== $$t"; $(GO) test $(TAGS) -run '^$$' -fuzz "^$$t$$" -fuzztime $(FUZZTIME) $$(dirname $$f) || exit 1; \
		done; \
	done

bench: build ## against bare gin and stock go-oauth2, in one run; see docs/benchmarks.md
	$(GO) build $(TAGS) -o $(BIN)/bench ./bench
	$(BIN)/bench $(BENCHFLAGS)

vuln: ## known vulnerabilities; needs the vulnerability database
	$(GO) run $(GOVULNCHECK) ./...

clean:
	rm -rf $(BIN)
