"""A program in the style of submitit's users on a Slurm that is a federation: one job, an array of jobs, a failure, a cancellation.

It knows nothing of Fubini: sbatch, sacct and scancel are found in PATH. Ends with an assertion where something is not as on Slurm.
"""

import os
import sys
import time

directory = sys.argv[1]
os.makedirs(directory, exist_ok=True)
os.chdir(directory)

import submitit


def add(a, b):
    print("adding on", submitit.JobEnvironment().job_id)
    return a + b


def fail():
    raise ValueError("as it should")


def main():
    executor = submitit.AutoExecutor(folder="logs/%j", cluster="slurm")
    executor.update_parameters(timeout_min=5, slurm_partition="one", cpus_per_task=1, mem_gb=0.25, slurm_array_parallelism=2)
    job = executor.submit(add, 5, 7)
    assert job.result() == 12
    assert f"adding on {job.job_id}" in job.stdout(), job.stdout()
    assert job.state == "COMPLETED", job.state
    jobs = executor.map_array(add, [1, 2, 3], [10, 20, 30])
    assert [j.result() for j in jobs] == [11, 22, 33]
    broken = executor.submit(fail)
    assert "as it should" in str(broken.exception()), broken.exception()
    assert "as it should" in broken.stderr()
    long = executor.submit(time.sleep, 600)
    while long.state != "RUNNING":
        time.sleep(0.5)
    long.cancel()
    begin = time.monotonic()
    while not long.done(force_check=True):
        assert time.monotonic() - begin < 30, long.state
        time.sleep(0.5)
    assert long.state.startswith("CANCELLED"), long.state
    print("submitit: all is as on Slurm")


if __name__ == "__main__":
    main()
