# The one way in: `make run` to try it, `make test` to check it.

GO       ?= go
BIN      := bin
TOOLS    := .cache/bin
# Pinned: another version may format and judge otherwise.
GOFUMPT     := mvdan.cc/gofumpt@v0.12.0
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2

VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
# Arguments for run and bench: make run ARGS='--listen 127.0.0.1:8081'.
ARGS     ?=
FUZZTIME ?= 50000x
# How long soak goes on. Its tests read HOOKLOG_SOAK, how long those go on that
# have a long form, and HOOKLOG_SIM, how many histories are simulated.
MINUTES  ?= 10
# Nodes of the Apache Kafka that test-kafka starts: 1, or 3 with two in sync;
# and which tests it runs.
KAFKA_NODES ?= 1
KAFKA_RUN   ?= .

SOURCES  := cmd consumers relay schemas

.DEFAULT_GOAL := build
.PHONY: build run test race fuzz bench bench-index soak lint kafka kafka-stop test-kafka third-party clean help

build: ## bin/hooklog, static
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-X main.version=$(VERSION)' -o $(BIN)/ ./cmd/hooklog

run: build ## build and start hooklog dev, until Ctrl-C
	@exec $(BIN)/hooklog dev $(ARGS)

test: ## all tests; needs only Go
	$(GO) test ./...

race: ## all tests under the race detector; needs a C compiler
	$(GO) test -race ./...

fuzz: ## every fuzz target for FUZZTIME
	FUZZTIME=$(FUZZTIME) .ci/fuzz

bench: build ## the relay against the bare pipeline, on Apache Kafka
	CGO_ENABLED=0 $(GO) build -trimpath -o $(BIN)/ ./cmd/bench
	@.ci/kafka run -- $(BIN)/bench $(ARGS)

soak: ## kill, race and simulate for MINUTES, on Apache Kafka too, until one fails
	@.ci/soak $(MINUTES)

lint: $(TOOLS)/gofumpt $(TOOLS)/staticcheck ## format, vet, staticcheck
	@out=$$($(TOOLS)/gofumpt -l $(SOURCES)); if [ -n "$$out" ]; then echo "not formatted with gofumpt:"; echo "$$out"; exit 1; fi
	$(GO) vet ./...
	$(TOOLS)/staticcheck -checks inherit,ST1016,ST1020,ST1021,ST1022 ./...
	@if command -v shellcheck >/dev/null; then shellcheck .ci/run .ci/kafka .ci/fuzz .ci/soak .ci/first-run .ci/third-party; fi

# A tool is installed again when this file, and so perhaps its version, changes.
$(TOOLS)/gofumpt: Makefile
	GOBIN=$(CURDIR)/$(TOOLS) $(GO) install $(GOFUMPT) && touch $@
$(TOOLS)/staticcheck: Makefile
	GOBIN=$(CURDIR)/$(TOOLS) $(GO) install $(STATICCHECK) && touch $@

kafka: ## Apache Kafka on 127.0.0.1:9092: Docker compose, or without Docker by .ci/kafka
	@if docker info >/dev/null 2>&1; then docker compose up --detach --wait kafka; \
	else .ci/kafka start --port 9092 --dir .cache/kafka-data; fi
	@echo 'export KAFKA_BROKERS=127.0.0.1:9092'

kafka-stop: ## stop what `make kafka` started; its data stay
	@if docker info >/dev/null 2>&1; then docker compose stop kafka; else .ci/kafka stop --dir .cache/kafka-data; fi

# Every package with a test that asks for KAFKA_BROKERS runs against it, one
# after the other: some stop or kill brokers.
test-kafka: ## end-to-end tests on KAFKA_BROKERS, or on an Apache Kafka started for them
	@packages=$$(grep -rl --include='*_test.go' KAFKA_BROKERS $(SOURCES) | xargs -r -n1 dirname | sort -u | sed 's|^|./|'); \
	if [ -z "$$packages" ]; then echo 'no test asks for KAFKA_BROKERS'; exit 1; fi; \
	.ci/kafka run --nodes $(KAFKA_NODES) -- $(GO) test -count=1 -p 1 -run '$(KAFKA_RUN)' $$packages

third-party: build ## read what the relay wrote with another Kafka client; needs Python
	.ci/third-party

clean: ## built files and caches; data/ stays
	rm -rf $(BIN) .cache

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14
