# Freshet. `make` lists what there is; the work is done by go and by .ci/.

GO ?= go
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
COMMIT ?= $(shell git rev-parse HEAD 2>/dev/null)
FUZZTIME ?= 30s

# Whether a file is up to date is for go to know.
.PHONY: help deps build demo test race regress clients bench hits shapes microbench lint fuzz check break model ci clean
.DEFAULT_GOAL := help

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile

deps: ## install what is missing: Postgres, Redis, a C compiler; for tests also Postgres 17 and 18
	@GO=$(GO) .ci/deps

build: ## build bin/freshet
	$(GO) build -trimpath -ldflags '-X main.version=$(VERSION) -X main.commit=$(COMMIT)' -o bin/freshet ./cmd/freshet

demo: ## see it work: servers, Freshet before them, a comparison (ARGS='--for 30s')
	@.ci/deps --demo
	@$(MAKE) --no-print-directory build
	bin/freshet demo $(ARGS)

test: deps ## all tests, against real Postgres and Redis servers
	$(GO) test ./...

race: deps ## the same with the race detector
	$(GO) test -race ./...

regress: deps build ## PostgreSQL's own test suites, direct and through Freshet (ARGS='--suites regress boolean')
	$(GO) build -trimpath -o bin/ ./bench/regress
	bin/regress --page docs/COMPATIBILITY.md $(ARGS)

clients: deps build ## a program with each widely used Postgres client, direct and through Freshet (ARGS=pgx)
	$(GO) build -trimpath -o bin/ ./bench/clients
	bin/clients $(ARGS)

bench: ## Freshet beside Postgres and PgBouncer, into docs/ (ARGS='--rounds 1 --time 1s --out ""')
	@.ci/deps --bench
	@$(MAKE) --no-print-directory build
	$(GO) build -trimpath -o bin/ ./bench/floor ./bench/compare
	bin/compare $(ARGS)

hits: deps build ## how much is read from the cache while the same rows are written (ARGS='--rows 100000 --for 5s')
	bin/freshet bench hits $(ARGS)

shapes: deps build ## compare answers through Freshet with Postgres' own, at random, and count what is cached (ARGS='--shapes 500 --seed 1')
	bin/freshet bench shapes $(ARGS)

microbench: ## Go's benchmarks
	$(GO) test -run '^$$' -bench . -benchmem ./...

lint: ## formatting, go vet, staticcheck, import rules
	@.ci/lint

fuzz: ## each fuzz test for FUZZTIME (30s)
	@.ci/fuzz $(FUZZTIME)

check: deps build ## try to catch Freshet lying (ARGS='--for 10m --level mixed')
	bin/freshet bench consistency $(ARGS)

break: deps ## break each rule on purpose, and see that it is caught (ARGS='gate ryw')
	@.ci/break $(ARGS)

model: ## have spin look at every state of docs/model
	@.ci/deps --model
	@.ci/model

ci: ## what has to hold before a change goes in
	@.ci/run

clean: ## remove what was built, and what tests have cached
	rm -rf bin /var/cache/freshet "$${XDG_CACHE_HOME:-$$HOME/.cache}/freshet" "$$HOME/Library/Caches/freshet"
