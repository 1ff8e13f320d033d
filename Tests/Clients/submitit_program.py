"""A program in the style of submitit's users on a Slurm that is a federation: one job, an array of jobs, a failure, a cancellation.

It knows nothing of Fubini: sbatch, sacct and scancel are found in PATH. Ends with an assertion where something is not as on Slurm.
"""

import os
import sys
import time

directory = sys.argv[1]
# The jobs' user is another one here, and writes beside us.
os.umask(0)
os.makedirs(directory, exist_ok=True)
os.chdir(directory)

import submitit


def add(a, b):
    print("adding on", submitit.JobEnvironment().job_id)
    return a + b


def fail():
    raise ValueError("as it should")


def state_when(job, holds):
    """The state, once it is as wanted: submitit itself is content with the result's file."""
    begin = time.monotonic()
    while True:
        state = job.watcher.get_state(job.job_id, mode="force")
        if holds(state):
            return state
        assert time.monotonic() - begin < 60, state
        time.sleep(0.5)


def ended(job):
    return state_when(job, lambda state: state not in ("PENDING", "RUNNING", "COMPLETING"))


def main():
    executor = submitit.AutoExecutor(folder="logs/%j", cluster="slurm")
    executor.update_parameters(timeout_min=5, slurm_partition="one", cpus_per_task=1, mem_gb=0.25, slurm_array_parallelism=2)
    job = executor.submit(add, 5, 7)
    assert job.result() == 12
    assert f"adding on {job.job_id}" in job.stdout(), job.stdout()
    assert ended(job) == "COMPLETED", job.state
    jobs = executor.map_array(add, [1, 2, 3], [10, 20, 30])
    assert [j.result() for j in jobs] == [11, 22, 33]
    broken = executor.submit(fail)
    assert "as it should" in str(broken.exception()), broken.exception()
    assert "as it should" in broken.stderr()
    long = executor.submit(time.sleep, 600)
    state_when(long, lambda state: state == "RUNNING")
    long.cancel()
    assert ended(long).startswith("CANCELLED"), long.state
    print("submitit: all is as on Slurm")


if __name__ == "__main__":
    main()
