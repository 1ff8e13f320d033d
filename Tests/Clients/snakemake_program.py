"""A workflow of Snakemake's users, run by its own plugin for Slurm on a Slurm that is a federation.

Neither knows of Fubini: Slurm's commands are found in PATH. Ends with an assertion where something is not as on Slurm.
"""

import os
import subprocess
import sys

directory = sys.argv[1]
# Whether jobs are staged; otherwise the directory is one that is shared.
is_staged = sys.argv[2] == "staged"
if not is_staged:
    # Jobs are another user of the directory: whom their cluster runs them as.
    os.umask(0)
os.makedirs(directory, exist_ok=True)
os.chdir(directory)

SNAKEFILE = """
rule all:
    input: "all.txt"

rule part:
    input: "in/{name}.txt"
    output: "parts/{name}.txt"
    resources: runtime=5, mem_mb=1000
    shell: "test -n \\"$SLURM_JOB_ID\\" && tr a-z A-Z < {input} > {output}"

rule merge:
    input: expand("parts/{name}.txt", name=["a", "b", "c"])
    output: "all.txt"
    threads: 2
    resources: runtime=5, mem_mb=1000
    shell: "cat {input} > {output}; test $SLURM_CPUS_PER_TASK = 2; pwd > where.txt"

rule wrong:
    output: "wrong.txt"
    resources: runtime=5
    shell: "echo it is wrong; exit 4"
"""


def snakemake(*arguments):
    command = [
        sys.executable, "-m", "snakemake", "--executor", "slurm", "--jobs", "4", "--nocolor",
        "--default-resources", "slurm_account=default", "slurm_partition=one",
        "--slurm-init-seconds-before-status-checks", "1", "--latency-wait", "2", *arguments,
    ]
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=600)


os.makedirs("in", exist_ok=True)
for name in "abc":
    with open(f"in/{name}.txt", "w") as file:
        file.write(f"part {name}\n")
with open("Snakefile", "w") as file:
    file.write(SNAKEFILE)

# Job by job; then, from the beginning, the parts as an array.
for arguments in ([], ["--slurm-array-jobs", "part", "--forceall"]):
    result = snakemake(*arguments)
    assert result.returncode == 0, result.stdout
    with open("all.txt") as file:
        assert file.read() == "PART A\nPART B\nPART C\n"
    with open("where.txt") as file:
        assert file.read().strip() == os.path.realpath("."), "a job runs in the directory that it was submitted in"
    os.rename("all.txt", "earlier.txt")

result = snakemake("wrong.txt", "--retries", "0")
assert result.returncode != 0, result.stdout
assert "FAILED" in result.stdout, result.stdout
logs = [
    os.path.join(path, file)
    for path, _, files in os.walk(".snakemake/slurm_logs/rule_wrong") for file in files
]
assert len(logs) == 1, (logs, result.stdout)
with open(logs[0]) as file:
    assert "it is wrong" in file.read()
print("snakemake: all is as on Slurm" + (", staged" if is_staged else ", in place"))
