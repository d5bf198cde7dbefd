# authsvc: build, test, lint. `make test` installs what it needs on a fresh machine;
# ./test.sh also installs make.

GO      ?= go
TAGS    := -tags nomsgpack
BIN     := $(CURDIR)/.bin
SUDO    := $(if $(filter 0,$(shell id -u)),,sudo)

GOLANGCI_LINT := github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
CADDY         := github.com/caddyserver/caddy/v2/cmd/caddy@v2.11.9
COMPOSE       := github.com/docker/compose/v5@v5.6.0
GOVULNCHECK   := golang.org/x/vuln/cmd/govulncheck@v1.9.0
GOTESTSUM     := gotest.tools/gotestsum@v1.13.0

VERSION  ?= $(shell cat internal/cli/VERSION)
REVISION ?= $(shell git rev-parse HEAD)
IMAGE    ?= authsvc:$(VERSION)

.PHONY: help build image test test-faults model test-compose test-traefik deps deps-compose docs lint fuzz bench vuln clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

build: ## build the binary, in .bin/
	CGO_ENABLED=0 $(GO) build $(TAGS) -trimpath -o $(BIN)/authsvc ./cmd/authsvc

image: ## build the image, as IMAGE (authsvc:VERSION)
	docker build $(DOCKERFLAGS) -f deploy/Dockerfile --build-arg VERSION=$(VERSION) --build-arg REVISION=$(REVISION) -t $(IMAGE) .

# Which tests run, in which packages: make test RUN='^TestRound$' PKG=./test/process.
RUN ?=
PKG ?= ./...

# $(call gotest,FORMAT,COMMAND,ARGUMENTS) runs tests and shows their progress. COMMAND
# reruns only {run} in {package}. The whole output of the tests, including those that
# pass, is in .bin/TARGET.json.
gotest = $(BIN)/gotestsum --format $(1) --format-icons text --format-hide-empty-pkg --jsonfile $(BIN)/$@.json \
	--post-run-command "$(GO) run ./internal/testreport \"$(2)\"" -- -count=1 -run '$(value RUN)' $(3)

# The timeout is for each package: ten times what the slowest takes on a quiet machine.
test: deps ## run all tests, with the race detector, against real servers; RUN=REGEXP and PKG=PACKAGES for some of them
	CGO_ENABLED=1 $(call gotest,pkgname-and-test-fails,$(GO) test -race $(TAGS) -count=1 -run {run} {package},-race $(TAGS) -timeout 25m -parallel 4 $(PKG))

test-faults: deps ## run the fault tests at full size, with times and negative controls; RUN=TestFullDisk for one of them
	$(call gotest,standard-verbose,make test-faults RUN={run},$(TAGS) -timeout 90m ./test/faults -full)

model: ## play every history of a grant, deeper than make test does: some minutes
	$(GO) test $(TAGS) -count=1 -run '^TestEveryHistoryOfAGrant$$' -v ./internal/token -deep

test-compose: deps-compose ## test docker-compose.yml and the image as they are, on a Docker engine; RUN=REGEXP for some of it
	$(call gotest,standard-verbose,make test-compose RUN={run},-tags 'nomsgpack compose' -timeout 40m ./test/compose)

# Traefik can't be built by go install, and Debian has no package of it.
TRAEFIK ?= traefik
test-traefik: RUN = ^TestTraefik
test-traefik: deps ## test the recipe for Traefik with the program TRAEFIK; RUN=REGEXP for some of it
	TRAEFIK='$(TRAEFIK)' $(call gotest,standard-verbose,make test-traefik RUN={run},-tags 'nomsgpack traefik' -timeout 25m ./test/gateways)

# What these need besides a Docker engine: the current compose and the old one (1.29),
# jq, and what the stand-ins for images are built from. The engine's package lacks compose.
deps-compose: deps $(BIN)/docker-compose ## install what test-compose needs as well
	@missing=; \
	command -v docker-compose >/dev/null || missing="$$missing docker-compose"; \
	command -v busybox >/dev/null || missing="$$missing busybox-static"; \
	command -v jq >/dev/null || missing="$$missing jq"; \
	if [ -n "$$missing" ]; then \
		echo "installing$$missing"; \
		$(SUDO) apt-get update -q && \
		$(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $$missing; \
	fi

# In a separate module, since its go.mod does not work with go install.
$(BIN)/docker-compose:
	@set -e; dir=$$(mktemp -d); trap 'rm -rf "$$dir"' EXIT; cd "$$dir"; \
	printf 'module compose\n' > go.mod; \
	$(GO) get $(COMPOSE); \
	CGO_ENABLED=0 $(GO) build -mod=mod -trimpath -o $@ $(firstword $(subst @, ,$(COMPOSE)))/cmd

# What the tests run: redis-server, curl, wget, slowhttptest, systemd-analyze, kill and ps, a C
# compiler for the race detector, Prometheus, and the clients and gateways of test/. Four
# of their packages start a service, which is stopped again.
deps: $(BIN)/caddy $(BIN)/gotestsum ## install what the tests run and the machine lacks, with root or sudo
	@missing=; \
	command -v redis-server >/dev/null || missing="$$missing redis-server"; \
	command -v curl >/dev/null || missing="$$missing curl ca-certificates"; \
	command -v wget >/dev/null || missing="$$missing wget"; \
	command -v openssl >/dev/null || missing="$$missing openssl"; \
	command -v ps >/dev/null || missing="$$missing procps"; \
	command -v gcc >/dev/null || missing="$$missing gcc libc6-dev"; \
	command -v systemd-analyze >/dev/null || missing="$$missing systemd"; \
	command -v slowhttptest >/dev/null || missing="$$missing slowhttptest"; \
	command -v promtool >/dev/null || missing="$$missing prometheus"; \
	[ -x /usr/sbin/nginx ] || missing="$$missing nginx"; \
	[ -x /usr/sbin/haproxy ] || missing="$$missing haproxy"; \
	[ -e /usr/lib/apache2/modules/mod_auth_openidc.so ] || missing="$$missing apache2-bin libapache2-mod-auth-openidc"; \
	[ -e /usr/lib/apache2/modules/mod_oauth2.so ] || missing="$$missing apache2-bin libapache2-mod-oauth2"; \
	/usr/bin/python3 -c 'import authlib, httpx, requests_oauthlib' 2>/dev/null || missing="$$missing python3-authlib python3-httpx python3-requests-oauthlib"; \
	/usr/bin/perl -MJSON -MNet::OAuth2 -MLWP::Authen::OAuth2 -e 1 2>/dev/null || missing="$$missing libjson-perl libnet-oauth2-perl liblwp-authen-oauth2-perl"; \
	/usr/bin/ruby -roauth2 -rsignet/oauth_2/client -e 1 2>/dev/null || missing="$$missing ruby ruby-oauth2 ruby-signet"; \
	if [ -n "$$missing" ]; then \
		echo "installing$$missing"; \
		$(SUDO) apt-get update -q && \
		$(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $$missing && \
		for s in haproxy nginx prometheus redis-server; do \
			case "$$missing" in *$$s*) $(SUDO) systemctl disable --now $$s 2>/dev/null || $(SUDO) service $$s stop || true;; esac; \
		done; \
	fi

$(BIN)/caddy:
	CGO_ENABLED=0 GOBIN=$(BIN) $(GO) install $(CADDY)

$(BIN)/gotestsum:
	GOBIN=$(BIN) $(GO) install $(GOTESTSUM)

docs: ## generate docs/reference from the code; a test fails while they differ
	$(GO) run $(TAGS) ./internal/docsgen

lint: $(BIN)/golangci-lint ## run the linters, and check that go.mod is tidy
	$(BIN)/golangci-lint run ./...
	$(GO) mod tidy -diff

$(BIN)/golangci-lint:
	GOBIN=$(BIN) $(GO) install $(GOLANGCI_LINT)

FUZZTIME ?= 30s
fuzz: ## run each fuzz target for FUZZTIME
	@grep -rl --include='*_test.go' '^func Fuzz' . | while read -r f; do \
		for t in $$(sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\).*/\1/p' $$f); do \
			echo "== $$t"; $(GO) test $(TAGS) -run '^$$' -fuzz "^$$t$$" -fuzztime $(FUZZTIME) $$(dirname $$f) || exit 1; \
		done; \
	done

bench: build ## benchmark against bare gin and stock go-oauth2, in one run; see docs/benchmarks.md
	$(GO) build $(TAGS) -o $(BIN)/bench ./bench
	$(BIN)/bench $(BENCHFLAGS)

vuln: ## check for known vulnerabilities; needs the vulnerability database
	$(GO) run $(GOVULNCHECK) ./...

clean:
	rm -rf $(BIN)
