# The pipeline as a list of commands. make orders the stages; each binary asks the artifact store whether its work is
# done already, so every target may be run again at no cost.

# pipelines of this folder come before those of the same name in the one where delt lies, which differs for an installed wheel
DELT_HOME ?= .
FILES     := $(sort $(basename $(notdir $(wildcard pipelines/*.yaml $(DELT_HOME)/pipelines/*.yaml))))
found      = $(firstword $(wildcard pipelines/$(1).yaml) $(DELT_HOME)/pipelines/$(1).yaml)
# a cell of a table (table1/cifar10-ipc10-resnet18) is a pipeline that is a line of the table's file
TABLES    := $(sort $(basename $(notdir $(wildcard pipelines/tables/*.yaml $(DELT_HOME)/pipelines/tables/*.yaml))))
CELL      := /^cells:/,/^[a-z]/s/^  \([a-z0-9_-]*\):.*/\1/p
cells_of   = $(addprefix $(1)/,$(shell sed -n '$(CELL)' $(call found,tables/$(1))))
CELLS     := $(foreach table,$(TABLES),$(call cells_of,$(table)))
PIPELINES := $(FILES) $(CELLS)
yaml       = $(if $(filter $(CELLS),$(1)),$(basename $(call found,tables/$(patsubst %/,%,$(dir $(1)))))/$(notdir $(1)).yaml,$(call found,$(1)))

# ---- knobs, all of them overridable: make demo DEVICE=cuda:0 STORE=/mnt/shared/delt ----------------------------------
STORE   ?= $(or $(DELT_STORE),data/store)
DEVICE  ?= auto
BACKEND ?= $(if $(shell nvidia-smi -L 2>/dev/null),cuda)
TUNE    ?= 1
SET     ?=
DATA    ?=
BRANCH  ?=
SET_PATH ?=
TEACHER ?=
FORCE   ?=
DRY_RUN ?=
LAUNCH  ?=
SHARDS  ?=
SLURM   :=
SBATCH  ?=
SLURM_LOGS ?= data/slurm
OUTPUT  ?=
FORMAT  ?=
V       ?=
ONLY    ?=
PIPELINE ?=
SWEEP   ?= cifar100-conv3
STUDENTS ?=
STEPS   ?=
SHARE   ?=
IMAGES  ?= 10000x64 100000x64 2000x224 20000x224
CACHE   ?=
PYTHON  ?= python3
KEEP    ?=
DELETE  ?=
# knobs reach the binaries as arguments, never by the environment; SLURM is read from the command line only, since a cluster
# may have a variable of this name
unexport STORE DEVICE BACKEND TUNE SET DATA BRANCH SET_PATH TEACHER FORCE DRY_RUN LAUNCH SHARDS SLURM SBATCH SLURM_LOGS OUTPUT FORMAT V CACHE KEEP DELETE STUDENTS STEPS SHARE IMAGES

# the allocator keeps what tensors free: mapping and clearing fresh pages cost a tenth of a recovery iteration on a CPU
export MIMALLOC_PURGE_DELAY ?= -1

comma := ,
space := $(subst ,, )
# one word of a shell, whatever stands in it
quoted = '$(subst ','\'',$(1))'

TARGET   := $(or $(CARGO_TARGET_DIR),target)
BIN       = $(TARGET)/debug
# of an installed wheel the command `delt` gives it
given_bin = $(and $(filter .,$(DELT_HOME)),$(filter-out file,$(origin BIN)))
GPU       = $(filter-out flex,$(BACKEND))
# for CUDA the compiler of kernels, LLVM, is laid out where the backend's build script looks for it, which then downloads nothing;
# CUDARC_CUDA_VERSION keeps the build from calling functions that drivers before 570 do not have
LLVM_HOME = $(abspath $(TARGET))/cuda-llvm
LLVM      = $(LLVM_HOME)/tracel/tracel-llvm-$(shell sed -n '/name = "tracel-llvm-bundler"/{n;s/.*"\(.*\)"/\1/p}' $(wildcard Cargo.lock) /dev/null)
CARGO     = $(if $(filter cuda,$(GPU)),XDG_DATA_HOME='$(LLVM_HOME)' CUDARC_CUDA_VERSION='$(or $(CUDARC_CUDA_VERSION),12080)' )cargo
FEATURES  = $(if $(GPU),$(addprefix --features delt-device/,$(GPU) $(if $(filter-out 0,$(TUNE)),tuned)))

# FORCE=1 reaches the stage that was named (P/STAGE) with its parts, or every stage of a pipeline that was named (P)
forced  = $(and $(filter-out 0,$(FORCE)),$(filter $@ $(@D) $* $@-set,$(MAKECMDGOALS)))
dry_run = $(filter-out 0,$(DRY_RUN))
verbose = $(if $(filter-out 0,$(V)),--verbose)
# what a target P/STAGE or P/STAGE/shard-I runs
words   = $(subst /, ,$(@:$*/%=%))
# knobs of one program each: what it sets
SET_cross-arch = $(if $(STUDENTS),cross_arch.students=[$(subst $(space),$(comma),$(strip $(STUDENTS)))])
SET_continual  = $(if $(STEPS),continual.steps=$(STEPS))
SET_report     = $(SET_continual)
SET_prune      = $(if $(SHARE),prune.share=$(SHARE))
command = $(LAUNCH) $(BIN)/$(firstword $(words)) --pipeline $(call yaml,$*) --store $(call quoted,$(STORE)) --device $(call quoted,$(DEVICE)) \
	$(if $(CACHE),--cache $(call quoted,$(CACHE))) $(if $(given_bin),--bin $(call quoted,$(BIN))) $(if $(DATA),--data $(call quoted,$(DATA))) \
	$(if $(SET_PATH),--set-path $(call quoted,$(SET_PATH))) $(if $(TEACHER),--teacher $(call quoted,$(TEACHER))) \
	$(foreach value,$(SET) $(SET_$(FORMAT)) $(SET_$(firstword $(words))),--set $(call quoted,$(value))) $(foreach name,$(BRANCH),--branch $(call quoted,$(name))) \
	$(if $(filter $(SHARDED) $(EXPERTS:=/teacher-train) $(EXPERTS:=/teacher-train/$(lastword $(words))),$(words) $@),$(shards:%=--shards %)) $(patsubst shard-%,--shard %,$(filter shard-%,$(words))) \
	$(if $(forced),--force) $(if $(dry_run)$(filter check,$(words)),--dry-run) $(if $(filter plan,$(dry_run)),--assume-files) $(verbose) \
	$(if $(filter report export,$(words)),$(if $(OUTPUT),--output $(call quoted,$(OUTPUT)))) \
	$(if $(filter export,$(words)),$(if $(FORMAT),--format $(call quoted,$(FORMAT))))
stage   = @$(if $(slurm),$(submit),$(command))

# SHARDS=N: parts 0 to N-1 of each of these stages are targets of their own, before the one that merges them
SHARDED = init-select delt-synthesize relabel
# ... and teacher-train of the pipelines whose own file has a section `experts`
EXPERTS := $(sort $(basename $(notdir $(shell grep -ls '^experts:' pipelines/*.yaml $(DELT_HOME)/pipelines/*.yaml))))
shards := $(filter-out 0,$(SHARDS))
last   := $(if $(shards),$(shell echo $$(($(shards) - 1))))

# SLURM=1: each command becomes a job that waits for those of the targets before; the parts of a stage are one job array
slurm  := $(and $(filter-out 0,$(SLURM)),$(if $(dry_run),,yes))
parts  := $(if $(shards),$(if $(slurm),array,$(addprefix shard-,$(shell seq 0 $(last)))))
before  = $(filter-out build %/check %/check/again,$^)
submit  = $(if $(filter-out .,$(DELT_HOME)),$(DELT_HOME)/)slurm/submit '$@' $(call quoted,$(SLURM_LOGS)) '$(before)' '$(if $(filter array,$(words)),0-$(last))' $(SBATCH) -- $(command) \
	$(if $(filter $@,$(MAKECMDGOALS) $(MAKECMDGOALS:=/evaluate) $(MAKECMDGOALS:-set=)),&& echo '$(follow)')
follow  = squeue --me shows the jobs; scancel stops one, and the same make command resumes from what is done

# ---- what is on the command line must be known: a knob or a target that nobody reads would be passed over in silence ------
THIS  := $(firstword $(MAKEFILE_LIST))
AGAIN  = $(MAKE) --no-print-directory -f '$(THIS)'

# the name that is nearest to one of these by letters inserted, left out, replaced or swapped; none where all are far. make
# joins the lines into one
define NEAREST
function least(a, b) { return a < b ? a : b }
function distance(a, b,    i, j, d) {
	for (i = 0; i <= length(a); i++) for (j = 0; j <= length(b); j++) {
		if (!i || !j) d[i, j] = i + j;
		else d[i, j] = least(least(d[i-1, j], d[i, j-1]) + 1, d[i-1, j-1] + (substr(a, i, 1) != substr(b, j, 1)));
		if (i > 1 && j > 1 && substr(a, i-1, 2) == substr(b, j, 1) substr(b, j-1, 1)) d[i, j] = least(d[i, j], d[i-2, j-2] + 1);
	}
	return d[length(a), length(b)];
}
BEGIN { best = 1 + (length(found) > 8 ? int(length(found) / 3) : 2) }
{ far = distance(tolower(found), tolower($$0)); if (far < best) { best = far; name = $$0 } }
END { print name }
endef
nearest = $(shell printf '%s\n' $(2) | awk -v found=$(call quoted,$(1)) $(call quoted,$(NEAREST)))
unknown = $(error unknown $(1) `$(2)`$(foreach near,$(call nearest,$(2),$(3)),; did you mean `$(near)`?); make $(or $(4),help) lists what there is)

# variables that the environment has for other programs
OTHERS = AWS_% AZURE_% CARGO_% CC CUDA_% CXX DELT_% DOCS_RS GOOGLE_% HOME LD_% MAKE% MIMALLOC_% PATH PYTHON% RAYON_% RUST% SHELL SLURM_% TMPDIR VK_%
given  := $(foreach name,$(.VARIABLES),$(if $(filter command,$(firstword $(origin $(name)))),$(name)))
ifneq ($(given),)
KNOBS  := $(sort $(shell grep -oE '^[A-Z][A-Z_]* *[?:]?=|[$$].[A-Z][A-Z_]*' '$(THIS)' | tr -cd 'A-Z_\n'))
$(foreach name,$(filter-out $(KNOBS) $(OTHERS),$(given)),$(call unknown,knob,$(name),$(KNOBS)))
endif

STAGE_NAMES := $(shell sed -n 's,^$$(PIPELINES:=/\([a-z-]*\)).*,\1,p' '$(THIS)')
KNOWN := $(PIPELINES) $(TABLES) $(foreach name,$(STAGE_NAMES),$(PIPELINES:=/$(name))) $(shell sed -n 's/^\([a-z][a-z0-9-]*\):.*/\1/p' '$(THIS)') \
	$(foreach part,$(parts),$(foreach name,$(SHARDED),$(PIPELINES:=/$(name)/$(part))) $(EXPERTS:=/teacher-train/$(part)))
strangers := $(filter-out $(KNOWN) $(TARGET)/%,$(MAKECMDGOALS))
divided = $(filter $(SHARDED),$(subst /, ,$(1)))$(filter $(EXPERTS:=/teacher-train/%),$(1))
whole = $(error `$(1)`: this stage has no parts; SHARDS=N divides $(SHARDED), and teacher-train of pipelines with experts)
$(foreach goal,$(strangers),$(if $(findstring /shard-,$(goal)),$(if $(call divided,$(goal)),$(if $(shards),,$(error `$(goal)` is a part of a stage, which needs SHARDS=N)),$(call whole,$(goal)))))
$(foreach goal,$(strangers),$(call unknown,target,$(goal),$(KNOWN),$(if $(filter $(TABLES:=/%),$(goal)),list)))

$(if $(SET_PATH),,$(foreach goal,$(filter %evaluate-set,$(MAKECMDGOALS)),$(error `make $(goal)` needs SET_PATH=folder or file, the synthetic set that is to be evaluated)))
$(if $(TEACHER),$(if $(SET_PATH),,$(error TEACHER= is the teacher of the set that SET_PATH= names, which is missing; a pipeline's own is SET='teacher.import.path=...')))

sweeps := $(sort $(basename $(notdir $(wildcard pipelines/sweeps/*.yaml $(DELT_HOME)/pipelines/sweeps/*.yaml))))
$(if $(filter compare,$(MAKECMDGOALS)),$(if $(filter $(SWEEP),$(sweeps)),,$(error SWEEP=$(SWEEP): pipelines/sweeps has no \
	$(SWEEP).yaml$(foreach near,$(call nearest,$(SWEEP),$(sweeps)),; did you mean `$(near)`?); there are: $(sweeps))))

$(if $(DATA),$(foreach goal,$(filter $(TABLES),$(MAKECMDGOALS)),$(error DATA=$(DATA) is where the images of one cell are, \
	make $(goal)/CELL DATA=$(DATA); cells of a table read several data sets, where `ingest.source` of each says)))
$(if $(and $(filter BACKEND,$(given)),$(filter BIN,$(given)),$(BACKEND),$(filter 0,$(MAKELEVEL))),$(if $(filter device-bundle,$(MAKECMDGOALS)),,\
	$(warning BACKEND=$(BACKEND) builds nothing with BIN=$(BIN): its programs have what they were built with)))

# whole numbers; a knob that no target of the command line reads is refused
is_whole = $(and $(filter 1,$(words $(1))),$(shell printf '%s\n' $(call quoted,$(1)) | grep -x '[0-9][0-9]*'))
$(foreach knob,SHARDS STEPS,$(if $($(knob)),$(if $(call is_whole,$($(knob))),,$(error $(knob)=$($(knob)): expected one whole number, e.g. $(knob)=5))))
READ_STUDENTS := %/cross-arch %/cross-arch/check
READ_STEPS    := %/continual %/continual/check %/report demo
READ_SHARE    := %/prune %/prune/check
READ_OUTPUT   := %/report %/report/check %/export %/export/check demo compare
READ_FORMAT    = %/export %/export/check $(if $(filter fkd,$(FORMAT)),%)
READ_MINUTES  := verify-device
READ_SWEEP    := compare
$(if $(filter 0,$(MAKELEVEL)),$(foreach knob,STUDENTS STEPS SHARE OUTPUT FORMAT MINUTES SWEEP,$(if $(and $(filter $(knob),$(given)),$($(knob))),\
	$(if $(filter $(READ_$(knob)),$(MAKECMDGOALS)),,$(error $(knob)=$($(knob)) changes nothing here; what reads it: $(subst %,P,$(filter-out %/check,$(READ_$(knob)))))))))

.DEFAULT_GOAL := help
.SUFFIXES:
.PHONY: help build check test test-golden test-slow test-peer test-s3 test-azure test-crash fuzz store-gc smoke verify-device device-bundle wheel list $(TABLES) test-wheel cuda-llvm check-cuda test-vulkan test-slurm compare evaluate-set bench bench-memory bench-scaling bench-torch torch-venv clean $(PIPELINES) \
	$(foreach name,ingest teacher-train init-select delt-synthesize relabel evaluate evaluate-set cross-arch continual prune report report/check export export/check export/check/again cross-arch/check continual/check continual/check/again prune/check explain clean,$(PIPELINES:=/$(name))) \
	$(foreach part,$(parts),$(foreach name,$(SHARDED),$(PIPELINES:=/$(name)/$(part))) $(EXPERTS:=/teacher-train/$(part)))

# the steps of P/continual, of which P/report draws the curve
STEPS_CHECK = %/continual/check %/ingest %/continual/check/again

# ---- the stages of a pipeline P, in order ----------------------------------------------------------------------------
#: P/ingest           read the real images into a dataset
#: P/teacher-train    ... and train or import the teacher
#: P/init-select      ... and score the real images, select the initial ones
#: P/delt-synthesize  ... and optimize the images by EarlyLate
#: P/relabel          ... and store augmented views with the teacher's soft labels
#: P/evaluate         ... and train students on them; prints the table (the same as P alone)
#: P/evaluate-set     a set of another project (SET_PATH=...) through the stages, then one table of it beside the branches of P
#: P/report           ... and write one HTML page about the run
$(PIPELINES:=/ingest):          %/ingest:          build             ; $(stage)
$(PIPELINES:=/teacher-train):   %/teacher-train:   %/ingest          ; $(stage)
$(PIPELINES:=/init-select):     %/init-select:     %/teacher-train   ; $(stage)
$(PIPELINES:=/delt-synthesize): %/delt-synthesize: %/init-select     ; $(stage)
$(PIPELINES:=/relabel):         %/relabel:         %/delt-synthesize ; $(stage)
$(PIPELINES:=/evaluate):        %/evaluate:        %/relabel         ; $(stage)
$(PIPELINES:=/report):          %/report:          $(if $(OUTPUT),$(if $(slurm),,%/report/check)) $(if $(STEPS),$(STEPS_CHECK)) %/evaluate ; $(stage)
$(PIPELINES:=/evaluate-set):    %/evaluate-set:    %/evaluate
#: P/cross-arch       one set, many students, one table: STUDENTS='resnet18 mobilenet_v2', else those of the size
#: P/continual        students of classes that come in STEPS=5 steps, each trained anew on the images of all classes so far
#: P/prune            remove SHARE=0.5 of a trained student's channels with the synthetic set alone, and fine-tune it
$(PIPELINES:=/cross-arch):      %/cross-arch:      %/cross-arch/check %/relabel ; $(stage)
$(PIPELINES:=/continual):       %/continual:       $(STEPS_CHECK) %/delt-synthesize ; $(stage)
$(PIPELINES:=/prune):           %/prune:           %/prune/check %/relabel ; $(stage)
# what they would refuse they refuse before anything is made; how many classes there are is known once they are read
$(PIPELINES:=/cross-arch/check): %/cross-arch/check: build           ; @$(command) >/dev/null
$(PIPELINES:=/continual/check): %/continual/check: build             ; @$(command) >/dev/null
$(PIPELINES:=/prune/check):     %/prune/check:     build             ; @$(command) >/dev/null
$(PIPELINES:=/continual/check/again): %/continual/check/again: %/ingest ; @$(command) >/dev/null
$(PIPELINES):                   %:                 %/evaluate

# a format comes after the stage that it needs; whether it and its folder will do is asked before anything is computed
#: P/export           make what a format needs and write it to OUTPUT=folder for other tools: FORMAT=..., without it they are listed
AFTER = delt-synthesize
AFTER_fkd = relabel
AFTER_teacher = teacher-train
AFTER_tensorboard = evaluate
# DD-Ranking has four data sets, which the names of the classes tell once they are read: it is asked again before the teacher trains
LOOK_ddranking = %/ingest %/export/check/again
# the order of batches in which loaders of this layout look for labels
SET_fkd = relabel.order=torch
$(PIPELINES:=/export):          %/export:          %/export/check $(LOOK_$(FORMAT)) %/$(or $(AFTER_$(FORMAT)),$(AFTER)) ; $(stage)
$(PIPELINES:=/export/check):    %/export/check:    build             ; @$(command) >/dev/null
$(PIPELINES:=/export/check/again): %/export/check/again: %/ingest   ; @$(command) >/dev/null
$(PIPELINES:=/report/check):    %/report/check:    build             ; @$(command) >/dev/null

demo: demo/report

#: P/explain          stage by stage: cached or not, and what changed since the last run; computes nothing
#: P/clean            forget the runs of P and delete what they alone lead to; checkpoints stay
$(PIPELINES:=/explain): %/explain: build
	@$(AGAIN) $*/evaluate DRY_RUN=plan
$(PIPELINES:=/clean): %/clean: build
	@$(DELT_STORE_BIN) clean $(notdir $*) $(if $(filter-out 0,$(DRY_RUN)),--dry-run)

DELT_STORE_BIN = $(BIN)/delt-store --store $(call quoted,$(STORE)) $(if $(CACHE),--cache $(call quoted,$(CACHE)))

store-gc: build ## what no run refers to; KEEP='P Q/delt': only these runs count; DELETE=1 deletes it and forgets the others
	@$(DELT_STORE_BIN) gc $(foreach name,$(KEEP),--keep $(call quoted,$(name))) $(if $(filter-out 0,$(DELETE)),--delete)

# $(call in_part,STAGE,STAGE BEFORE,PART,PIPELINES): the part comes after the stage before, the stage after the part
define in_part
$(4:=/$(1)/$(3)): %/$(1)/$(3): %/$(2) ; $$(stage)
$(4:=/$(1)): %/$(1): %/$(1)/$(3)
endef
$(if $(EXPERTS),$(foreach part,$(parts),$(eval $(call in_part,teacher-train,ingest,$(part),$(EXPERTS)))))
$(foreach part,$(parts),$(eval $(call in_part,init-select,teacher-train,$(part),$(PIPELINES))))
$(foreach part,$(parts),$(eval $(call in_part,delt-synthesize,init-select,$(part),$(PIPELINES))))
$(foreach part,$(parts),$(eval $(call in_part,relabel,delt-synthesize,$(part),$(PIPELINES))))

# the same with the pipeline as a knob
evaluate-set: ## a synthetic set of another project under the recipe of a pipeline: PIPELINE=P SET_PATH=... TEACHER=..., as P/evaluate-set
	@$(MAKE) --no-print-directory $(or $(PIPELINE),$(error `make evaluate-set` needs PIPELINE=P, whose recipe holds; make help lists them))/evaluate-set

COMPARE = $(call COMPARE_OF,sweeps/$(SWEEP))
COMPARE_OF = $(BIN)/compare --sweep $(call found,$(1)) --store $(call quoted,$(STORE)) --device $(call quoted,$(DEVICE)) \
	$(if $(CACHE),--cache $(call quoted,$(CACHE))) $(if $(DATA),--data $(call quoted,$(DATA))) \
	$(foreach value,$(SET),--set $(call quoted,$(value))) $(verbose) $(if $(OUTPUT),--output $(call quoted,$(OUTPUT)))

compare: build ## methods side by side: run what a sweep names (pipelines/sweeps), then one table, page, CSV and Parquet of all
	@pipelines=$$($(COMPARE) --list) && for pipeline in $$pipelines; do \
		$(AGAIN) $$pipeline/evaluate || exit; done
	@$(if $(slurm),echo 'when these jobs are over: make compare SWEEP=$(SWEEP)',$(COMPARE))

# cells that fail stop no others; of those that have none of the branches that BRANCH names, one line says so
with_branch = $$($(call COMPARE_OF,tables/$@) --list $(of_branches))
of_branches = $(foreach name,$(BRANCH),--branch $(call quoted,$(name)))
run_cells   = cells="$(if $(and $(BRANCH),$(if $(called_n),,yes)),$(with_branch),$(call cells_of,$@))" || exit; $(AGAIN) --keep-going $$cells; status=$$?; \
	$(if $(or $(called_n),$(slurm)),,$(call COMPARE_OF,tables/$@);) exit $$status
# what all stages of all cells answer in a dry run fills many screens
look_ahead  = $(call COMPARE_OF,tables/$@) --dry-run $(of_branches) $(if $(forced),--force)
$(TABLES): build
	+@$(if $(and $(dry_run),$(if $(or $(called_n),$(SET_PATH)),,yes)),$(look_ahead),$(run_cells))

# ---- everything else -------------------------------------------------------------------------------------------------
help: ## list every target
	@echo 'make TARGET [KNOB=value ...]'
	@echo
	@awk -F ':.*## ' '/^[a-z][a-z0-9-]*:.*## / { printf "  %-30s %s\n", $$1, $$2 }' '$(THIS)'
	@echo
	@echo 'pipelines P, each from real images to the table of student accuracies'
	@awk '/^description:/ { n = split(FILENAME, part, "/"); sub(/\.yaml$$/, "", part[n]); \
		sub(/^description: */, ""); printf "  %-30s %s\n", part[n], $$0 }' $(foreach name,$(FILES),$(call found,$(name)))
	@echo "  TABLE/CELL                     a cell of a published table, e.g. table1/cifar10-ipc10-resnet18; make list shows all"
	@echo "  $(TABLES)        all cells of a table that are not in the store, then ours beside the published"
	@echo
	@echo 'stages of a pipeline, e.g. make demo/relabel: up to and including that stage'
	@sed -n 's/^#: /  /p' '$(THIS)' | awk '{ name = $$1; $$1 = ""; sub(/^ */, ""); printf "  %-30s %s\n", name, $$0 }'
	@echo
	@echo 'knobs'
	@echo "  DEVICE=auto|flex|cuda[:N]|...  where to compute (auto: the best that this build has and that answers)"
	@echo "  BACKEND=cuda|vulkan|wgpu|flex  GPU backend to build in (cuda by itself where nvidia-smi answers)"
	@echo "  TUNE=0                         one plain kernel for each operation on GPUs, not the fastest of several, none fused"
	@echo "  STORE=folder|URL               artifact store, may be shared (DELT_STORE, else data/store); s3://, gs://, az://"
	@echo "  CACHE=folder                   where files of a store in s3://, gs://, az:// are kept (DELT_CACHE, else data/cache)"
	@echo "  SET='a.b=1 c.d=[2,3]'          override values of the pipeline"
	@echo "  DATA=path                      where the images are: replaces ingest.source.path"
	@echo "  BRANCH=delt                    only these branches of the pipeline"
	@echo "  SET_PATH=folder|file           a synthetic set of another project, which becomes a branch of its name: P/evaluate-set"
	@echo "  TEACHER=file|run               weights, or a run of the store (demo/delt), to label it in place of P's teacher"
	@echo "  FORCE=1                        make again: the stage named by P/STAGE, all stages of P"
	@echo "  DRY_RUN=1                      print keys, inputs and what is cached, of a table what is to run (make -n prints the commands)"
	@echo "  DRY_RUN=plan                   the same of a pipeline whose images and weights need not be there"
	@echo "  V=1                            tell all: configurations, devices, each artifact"
	@echo "  LAUNCH='srun ...'              put before every stage command"
	@echo "  SHARDS=16                      experts, init-select, delt-synthesize, relabel in so many parts (P/relabel/shard-0), side by side with -j"
	@echo "  SLURM=1                        submit jobs, and arrays of parts, to Slurm; binaries are built here, once"
	@echo "  SBATCH='--partition=gpu ...'   more arguments for sbatch"
	@echo "  SLURM_LOGS=folder              where jobs write what they say (data/slurm)"
	@echo "  BIN=folder                     run the binaries of this folder and build nothing"
	@echo "  OUTPUT=page.html               where P/report, P/export and compare write"
	@echo "  FORMAT=imagefolder             what P/export writes"
	@echo "  STUDENTS='resnet18 alexnet'    the students of P/cross-arch"
	@echo "  STEPS=5                        in how many steps classes come in P/continual"
	@echo "  SHARE=0.5                      share of the channels that P/prune removes"
	@echo "  IMAGES='100000x64 20000x224'   how many made-up images of which side bench-memory takes"
	@echo "  SECONDS=600                    how long fuzz tries each target"
	@echo "  MINUTES=8                      how long verify-device may take"
	@echo "  COUNT=200 SEED=1               how often test-crash kills, and the seed of its random moments"
	@echo "  SWEEP=cifar100-conv3           what compare compares: a file of pipelines/sweeps"

list: ## list the cells of published tables with the scores that are published: make table1 runs one, make table1/CELL a cell
	@$(foreach table,$(TABLES),awk -v table=$(table) ' \
		/^description: / { about = substr($$0, 14) } \
		/^  [a-z0-9_-]*:/ { name = $$1; sub(":", "", name) } \
		match($$0, /source: "[^"]*"|source: [^,]*/) { \
			from = substr($$0, RSTART + 8, RLENGTH - 8); gsub("\"", "", from); paper[/^published/ ? "" : name] = from } \
		/^cells:/ { of_cells = 1; print table ": " about ", top-1 in percent, mean ± standard deviation" (paper[""] ? "" : ", paper") } \
		of_cells && match($$0, /top1: [0-9.]*/) { top1 = substr($$0, RSTART + 6, RLENGTH - 6); \
			std = match($$0, /std: [0-9.]*/) ? " ± " substr($$0, RSTART + 5, RLENGTH - 5) : ""; n = split(name, word, "-"); \
			print "  " table "/" name "  " top1 std (paper[word[n]] ? "  " paper[word[n]] : "") }' $(call found,tables/$(table));) :

# programs that another machine runs (SLURM, LAUNCH) may lie where only that one sees them; make -n runs none
called_n    = $(findstring n,$(firstword -$(MAKEFLAGS)))
no_programs = $(if $(called_n)$(slurm)$(LAUNCH)$(wildcard $(BIN)/ingest*),,$(error \
	BIN=$(BIN): that folder has no program `ingest`; give the folder of a build, e.g. BIN=target/debug, or leave BIN out to build here))
build: $(if $(filter cuda,$(GPU)),$(if $(filter file,$(origin BIN)),cuda-llvm)) ## compile all binaries (pipelines do this first)
	$(if $(filter file,$(origin BIN)),@$(CARGO) build --workspace --bins $(FEATURES),$(no_programs))

check: ## rustfmt, clippy, rustdoc with warnings as errors; cargo deny where installed
	cargo fmt --all --check
	$(CARGO) clippy --workspace --all-targets $(FEATURES) -- -D warnings
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc --workspace --no-deps $(FEATURES)
	@if cargo deny --version >/dev/null 2>&1; then cargo deny check bans licenses sources; \
	else echo 'cargo deny: not installed, so deny.toml was NOT checked (cargo install cargo-deny)'; fi

test: build ## all tests
	$(CARGO) test --workspace --no-fail-fast $(FEATURES)

# one test at a time, as a stage uses a device
GOLDEN = $(CARGO) test --workspace $(FEATURES) --test golden -- --nocapture --test-threads=1

# the lines of tests/pins.txt are never changed or removed; this adds those of what is new
pins: build ## pin the keys of new pipelines and the bytes of new toy runs in tests/pins.txt
	DELT_PINS_ADD=1 $(CARGO) test -p delt-tests $(FEATURES) --test pins

same-bytes: build ## compare the bytes that this tree makes with those of another commit (BASE=commit), on any CPU
	tests/same-bytes '$(BASE)' '$(BIN)' '$(TARGET)'

lines: ## lines of code, tests and comments by crate, beside the budgets of budgets.txt
	@awk -f tests/lines.awk budgets.txt $$(git ls-files --cached --others --exclude-standard '*.rs' | sort -u | xargs ls 2>/dev/null)

test-golden: ## compare with PyTorch's figures (folder: DELT_GOLDEN, ../shared/golden or tests/golden)
	$(GOLDEN)

test-slow: build ## the golden figures of the largest networks (minutes, several GB)
	$(CARGO) test --workspace $(FEATURES) --test golden -- --nocapture --test-threads=1 --ignored every_network

test-s3: build $(TARGET)/moto-venv/made ## a team's store in S3, against a real server (fetches moto from PyPI)
	DELT_MOTO_PYTHON='$(abspath $(TARGET))/moto-venv/bin/python' \
		$(CARGO) test --workspace $(FEATURES) --test pipeline -- --nocapture object_store

$(TARGET)/moto-venv/made:
	$(PYTHON) -m venv '$(@D)'
	'$(@D)/bin/pip' install --quiet 'moto[s3,server]==5.2.5'
	touch '$@'

test-azure: build $(TARGET)/azurite/made ## the same in Azure, against Azurite (fetches it from npm)
	DELT_AZURITE='$(abspath $(TARGET))/azurite' \
		$(CARGO) test --workspace $(FEATURES) --test pipeline -- --nocapture object_store

$(TARGET)/azurite/made:
	mkdir -p '$(@D)'
	npm install --silent --prefix '$(@D)' azurite@3.35.0 @azure/storage-blob@12.32.0
	touch '$@'

test-peer: build ## compare a whole run with the published recipe in PyTorch (hours on a CPU)
	DELT_STORE=$(call quoted,$(STORE)) DELT_DEVICE='$(DEVICE)' \
		$(CARGO) test --workspace $(FEATURES) --test peer -- --ignored --nocapture

COUNT ?= 200
SEED  ?=

test-crash: build ## kill stages COUNT=200 times, fill the disk, fail calls, damage files (SEED=number of an earlier run, ONLY=part of a name)
	@'$(BIN)/test-crash' --bin '$(BIN)' --count '$(COUNT)' $(if $(SEED),--seed '$(SEED)') --only '$(ONLY)'

# nightly or, as here, a stable compiler that takes its options; cargo install cargo-fuzz. What is found lies in fuzz/artifacts
FUZZ    := $(patsubst fuzz/fuzz_targets/%.rs,%,$(wildcard fuzz/fuzz_targets/*.rs))
SECONDS ?= 600
fuzz: ## hostile archives, tables, weights, images and pipelines, SECONDS=600 for each (ONLY=name of one)
	@for target in $(or $(filter $(ONLY),$(FUZZ)),$(if $(ONLY),$(error no fuzz target $(ONLY); there are: $(FUZZ)),$(FUZZ))); do \
		mkdir -p "$(TARGET)/fuzz-corpus/$$target" && \
		RUSTC_BOOTSTRAP=1 cargo fuzz run "$$target" "$(abspath $(TARGET))/fuzz-corpus/$$target" "fuzz/seeds/$$target" -- \
			-max_total_time=$(SECONDS) -max_len=65536 -timeout=20 -rss_limit_mb=2048 -malloc_limit_mb=1024 -print_final_stats=1 || exit; \
	done

# CIFAR-100 where it lies beside the repository, else the digits; and every pipeline file must at least load
ifneq ($(wildcard ../shared/data/cifar100/.),)
SMOKE_RUN = cifar100-smoke/report
else
SMOKE_RUN = digits/report SET='teacher.train.epochs=2 select.ipc=2 synthesize.max_iterations=4 synthesize.round_iterations=2 \
	relabel.epochs=2 relabel.batch=10 relabel.seeds=[3407] evaluate.test_every=2'
endif
SMOKE_STORE = $(TARGET)/smoke-store
# their keys need some file in place of the weights, which is not read
IMPORTING   = $(filter imagenet1k-% peer-% cifar100-ipc10-conv3-%,$(FILES))

smoke: build ## a tiny run of every stage from an empty store, then dry runs of all pipelines
	rm -rf '$(SMOKE_STORE)'
	$(MAKE) --no-print-directory SET= $(SMOKE_RUN) STORE='$(SMOKE_STORE)' DATA= BRANCH= FORCE= DRY_RUN= OUTPUT=
	$(MAKE) --no-print-directory $(filter-out $(IMPORTING),$(FILES)) STORE='$(SMOKE_STORE)' SET= DATA= BRANCH= FORCE= DRY_RUN=plan
	$(MAKE) --no-print-directory $(IMPORTING) STORE='$(SMOKE_STORE)' SET='teacher.import.path=$(THIS) teacher.import.classes=dataset' DATA= BRANCH= FORCE= DRY_RUN=plan

MINUTES ?= 8
verify-device: $(if $(filter cuda,$(GPU)),$(if $(filter file,$(origin BIN)),cuda-llvm)) ## golden tests and speed of DEVICE=... within MINUTES=8: a table and verify-device.json
	$(if $(filter file,$(origin BIN)),@$(CARGO) build --workspace --bin delt-all $(FEATURES))
	DELT_ALL='$(BIN)/delt-all' bundle/verify-device --device '$(DEVICE)' --minutes '$(MINUTES)' --python '$(PYTHON)'

# where nothing can be compiled: all programs in one, with golden files, a data set and PyTorch's part
device-bundle: $(if $(filter cuda,$(GPU)),$(if $(filter file,$(origin BIN)),cuda-llvm)) ## verify-device for another machine: BACKEND=cuda gives target/delt-device-cuda.tar.xz
	$(if $(filter file,$(origin BIN)),@$(CARGO) build --workspace --bin delt-all $(FEATURES))
	bundle/pack '$(BIN)/delt-all' '$(TARGET)/delt-device-$(or $(GPU),cpu)$(if $(GPU),$(if $(filter 0,$(TUNE)),-untuned))'

# static libraries of LLVM with NVIDIA's target from PyPI, 92 MB; WHEELS=folder takes the two wheels from there, without a network
WHEELS ?=
define LLVM_WHEELS
mlc-llvm-static==23.1.1.post0 --hash=sha256:dcfec888abfaa418be77d41af585805f31463584cf9c90582992c00f392c1ac5
mlc-llvm-static-extra-targets==23.1.1.post0 --hash=sha256:c36e834d9a4e9cf9759f27fece65711ece7a2fc2b5a96dbb15d66f5e9e787929
endef
export LLVM_WHEELS
cuda-llvm: $(LLVM)/.tracel-llvm-installed ## LLVM for BACKEND=cuda, from PyPI by digest (WHEELS=folder: without a network); build does this first
$(LLVM)/.tracel-llvm-installed:
	rm -rf '$(LLVM_HOME)' && mkdir -p '$(dir $(LLVM))'
	printf '%s\n' "$$LLVM_WHEELS" > '$(LLVM_HOME)/wheels.txt'
	$(PYTHON) -m pip download --quiet --disable-pip-version-check --no-deps --require-hashes -r '$(LLVM_HOME)/wheels.txt' \
		-d '$(LLVM_HOME)/wheels' $(if $(WHEELS),--no-index --find-links $(call quoted,$(WHEELS)))
	for wheel in '$(LLVM_HOME)'/wheels/*.whl; do $(PYTHON) -m zipfile -e "$$wheel" '$(LLVM_HOME)/unpacked' || exit; done
	mv '$(LLVM_HOME)/unpacked/mlc_llvm_static/static' '$(LLVM)' && chmod +x '$(LLVM)/bin/llvm-config'
	rm -rf '$(LLVM_HOME)/unpacked' '$(LLVM_HOME)/wheels'
	touch '$@'

# DOCS_RS keeps build scripts from downloading LLVM and asking for CUDA; in a folder of its own, since it changes what they do
check-cuda: ## type-check the CUDA backend; needs neither GPU nor CUDA
	DOCS_RS=1 cargo check --workspace --bins --features delt-device/cuda,delt-device/tuned --target-dir '$(TARGET)/check-cuda'

# without a GPU, by Debian's chromium-common and libvulkan1, whose driver gets kernels wrong that tuning would choose (LOG.md):
# make test-vulkan TUNE=0 VK_DRIVER_FILES=/usr/lib/chromium/vk_swiftshader_icd.json
test-vulkan: ## golden tests on Vulkan, augmented recovery steps among them (VK_DRIVER_FILES=driver.json chooses the driver)
	DELT_DEVICE=vulkan $(MAKE) --no-print-directory test-golden BACKEND=vulkan

test-slurm: build ## pipelines through Slurm, on one that it starts here and stops (Debian: slurm-wlm, munge); BIN=folder
	tests/slurm/run '$(BIN)'

BENCH = $(CARGO) run $(FEATURES) --bin delt-bench -- --device '$(DEVICE)' --only '$(ONLY)'

bench: ## seconds and peak memory of each kind of work, views/s, MB/s of files (ONLY=part of a name)
	$(BENCH)

bench-scaling: ## how seconds and memory grow with batch, image size and classes: docs/scaling (ONLY=batch, size or classes)
	$(BENCH) --scaling docs/scaling --runs 3

bench-memory: build ## peak memory and images/s of ingest, training and scoring over made-up images (IMAGES='10000x64 100000x64')
	tests/scale '$(BIN)' $(IMAGES)

bench-torch: $(TARGET)/torch-venv/made ## the same in turns with PyTorch on this machine: ratio NAME MEDIAN MIN MAX (fetches PyTorch from PyPI)
	$(BENCH) --torch '$(TARGET)/torch-venv/bin/python'

# readers of exports that are not ours; tests that lack them say so
torch-venv: $(TARGET)/torch-venv/made ## PyTorch, torchvision, datasets and TensorBoard for tests and bench-torch (fetches 5 GB from PyPI)

$(TARGET)/torch-venv/made:
	$(PYTHON) -m venv '$(@D)'
	'$(@D)/bin/pip' install --quiet torch==2.11.0 torchvision==0.26.0 'datasets>=3,<5' numpy pillow pyarrow pytest pyyaml tensorboard
	touch '$@'

# no cargo is needed where it is installed: a virtual environment, pip or uv
wheel: build ## dist/delt-*.whl: the programs, pipelines, Makefile and Python package; the command `delt` (docs/install.md)
	$(PYTHON) python/wheel.py --bin '$(BIN)' --out dist

test-wheel: wheel ## install the wheel in a virtual environment outside of this folder: the same digests without cargo
	PYTHON='$(PYTHON)' BIN='$(abspath $(BIN))' tests/wheel/run dist/delt-*.whl

clean: ## remove build outputs; the store stays
	cargo clean
