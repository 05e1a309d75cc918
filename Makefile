SHELL := bash
.SHELLFLAGS := -euo pipefail -c
GO ?= go
TOOL := $(GO) tool -modfile=internal/tools/go.mod
FUZZTIME ?= 50000x

SEED ?= 1
ALTERED ?= 400
ROUNDS ?= 1
N ?= 60

.PHONY: help build dev compose smoke test foreign lint workflowcheck replay bench fuzz faults long-copies long-messages long-neighbours long-release long-weaken lost-facts histories pages clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "%-15s %s\n", $$1, $$2}'

build: ## build bin/perennial, bin/worker and bin/server
	$(GO) build -trimpath -o bin/perennial ./starter
	$(GO) build -trimpath -o bin/worker ./worker
	$(GO) build -trimpath -o bin/server ./server

dev: ## run everything on this machine and watch connections refresh
	$(GO) run ./starter dev

# BuildKit: the Dockerfile needs it, and older versions of Compose ask for it.
compose: ## docker compose up, with images that know their commit
	COMMIT="$$(git rev-parse HEAD)" COMMIT_TIME="$$(git show -s --format=%cI)" DOCKER_BUILDKIT=1 docker compose up --build

smoke: ## run the demonstration without a terminal; fails unless the whole story happened
	$(GO) run ./starter dev --dir "$$(mktemp -d)" --for 90s --json

# -count=1: a result of an earlier run would hide a test that fails now and then.
test: ## run every test but those of `make foreign`, on real PostgreSQL, PgBouncer and Temporal servers that it finds or installs
	scripts/postgres
	scripts/pgbouncer
	scripts/node
	$(GO) run ./internal/devserver/cmd/temporal-path
	$(GO) run ./internal/temporalserver/cmd/temporal-server
	$(GO) test -count=1 -timeout 14m ./...
	cd client && $(GO) test -count=1 ./...
	cd test/conformance && $(GO) test -count=1 .
	scripts/chromium
	cd test/browser && $(GO) test -count=1 ./...

foreign: ## let connections live at Hydra, Glewlwyd, LemonLDAP::NG, Doorkeeper and django-oauth-toolkit, which it builds or installs (Debian 12)
	scripts/postgres
	scripts/foreign
	cd test/conformance && $(GO) test -count=1 ./foreign

lint: ## gofmt, go vet and staticcheck; the tests of our own tools
	@unformatted="$$(gofmt -l .)"; if [ -n "$$unformatted" ]; then echo "run gofmt -w on:"; echo "$$unformatted"; exit 1; fi
	$(GO) vet ./...
	$(GO) vet -tags faults ./...
	cd client && $(GO) vet ./...
	cd test/conformance && $(GO) vet ./...
	cd test/browser && $(GO) vet ./...
	cd internal/tools && $(GO) vet ./... && $(GO) test ./...
	$(TOOL) staticcheck ./...
	cd client && $(GO) tool -modfile=../internal/tools/go.mod staticcheck ./...

pages: ## write docs/providers from the catalogue, and docs/codes.md
	PERENNIAL_UPDATE_GOLDEN=1 $(GO) test -count=1 -run TestGolden ./internal/providerpages ./internal/codepage

workflowcheck: ## find what is not deterministic in the workflows
	$(TOOL) workflowcheck ./workflows

replay: ## replay the histories of every released version
	$(GO) test -count=1 -run 'Replay' ./workflows

histories: ## record this version's histories from a real server: make histories VERSION=v4
	@test -n "$(VERSION)" || { echo "say VERSION=v4: a recorded version is never recorded again"; exit 1; }
	@test ! -e workflows/testdata/histories/$(VERSION) || { echo "$(VERSION) is recorded already"; exit 1; }
	mkdir -p workflows/testdata/histories/$(VERSION)
	PERENNIAL_TEST_RECORD="$(CURDIR)/workflows/testdata/histories/$(VERSION)" $(GO) test -count=1 -run '^(TestLife|TestDeliveries|TestPooledPace|TestSweep|TestRelease)$$' ./test/e2e
	scripts/histories-manifest

bench: ## run each benchmark once, and the smallest comparison; for figures: go run ./test/bench SCENARIO --json
	scripts/postgres
	$(GO) test -run '^$$' -bench . -benchtime 1x ./...
	cd client && $(GO) test -run '^$$' -bench . -benchtime 1x ./...
	$(GO) run ./test/bench warm --connections 40 --interval 5s --window 5s --age 0

fuzz: ## run each fuzz target FUZZTIME times (50000x)
	@grep -rlE '^func Fuzz' --include='*_test.go' . | while read -r file; do \
		for target in $$(grep -oE '^func Fuzz\w+' "$$file" | cut -c6-); do \
			echo "$$target in $$(dirname "$$file")"; \
			(cd "$$(dirname "$$file")" && $(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) .); \
		done; done

faults: ## break everything at every seam and compare with the provider's books: make faults SEED=1 ROUNDS=1 (as root)
	scripts/postgres
	$(GO) run ./test/faults --seed $(SEED) --rounds $(ROUNDS)

long-weaken: ## break everything without each protection in turn: each run must break something (as root)
	scripts/postgres
	$(GO) run ./test/faults --weaken --seed $(SEED)

long-copies: ## delete N copies of a field between two structs, drawn by SEED, one at a time; fails if no test notices one
	scripts/postgres
	cd internal/tools && $(GO) run ./longcopies -seed $(SEED) -n $(N) ../..

long-neighbours: ## run healthy connections beside sick ones: all pairs of the parameters, and 5,000 random orders at the gate, drawn by SEED; then three fleets on the real clock
	scripts/postgres
	PERENNIAL_TEST_NEIGHBOURS=pairs PERENNIAL_TEST_GATE_SEED=$(SEED) PERENNIAL_TEST_GATE_SEEDS=5000 $(GO) test -count=1 -timeout 180m -v ./test/neighbours
	$(GO) run ./test/bench neighbours --variants own --sickness 500
	$(GO) run ./test/bench neighbours --variants pooled --sickness timeout
	$(GO) run ./test/bench neighbours --variants pooled --sickness refused --sick 100

long-messages: ## send every message of a connection's workflow in every bad form, with ALTERED more drawn by SEED
	scripts/postgres
	PERENNIAL_TEST_SEED=$(SEED) PERENNIAL_TEST_ALTERED=$(ALTERED) $(GO) test -count=1 -timeout 1h -run '^TestEveryMessage$$' ./test/e2e

long-release: ## measure the end of an outage for a million waiting connections, over a minute
	scripts/postgres
	PERENNIAL_BENCH_WAITING=1000000 PERENNIAL_BENCH_WATCH=60s $(GO) test -run '^$$' -bench '^BenchmarkRelease$$' -benchtime 1x -timeout 1h ./store

lost-facts: ## list the numbers, sources and names that comments and documents had at BASE and that stand nowhere now: make lost-facts BASE=v1 HEAD=v2 RENAMED=file
	@test -n "$(BASE)" || { echo "say BASE=commit"; exit 1; }
	@cd internal/tools && $(GO) build -o ../../bin/lostfacts ./lostfacts
	@bin/lostfacts $(if $(RENAMED),-renamed $(RENAMED)) $(BASE) $(HEAD)

clean: ## remove what was built
	rm -rf bin
