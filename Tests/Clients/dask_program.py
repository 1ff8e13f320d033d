"""A program in the style of dask-jobqueue's users on a Slurm that is a federation: workers are jobs, and come and go.

It knows nothing of Fubini: sbatch and scancel are found in PATH. Ends with an assertion where something is not as on Slurm.
"""

import os
import sys
import time

directory = sys.argv[1]
os.makedirs(directory, exist_ok=True)
os.chdir(directory)

from dask.distributed import Client
from dask_jobqueue import SLURMCluster


def main():
    with SLURMCluster(
        queue="one", cores=1, processes=1, memory="256MB", walltime="00:10:00", interface=None,
        scheduler_options={"host": "127.0.0.1", "dashboard_address": ":0"}, log_directory="logs", python=sys.executable,
        worker_extra_args=["--host", "127.0.0.1"], local_directory="/tmp",
    ) as cluster:
        cluster.scale(jobs=2)
        with Client(cluster) as client:
            client.wait_for_workers(2, timeout=100)
            jobs = client.run(lambda: os.environ["SLURM_JOB_ID"])
            assert len(set(jobs.values())) == 2, jobs
            assert sum(client.gather(client.map(lambda x: x * x, range(10)))) == 285
            cluster.scale(jobs=1)
            begin = time.monotonic()
            while len(client.scheduler_info()["workers"]) != 1:
                assert time.monotonic() - begin < 60
                time.sleep(0.5)
    print("dask-jobqueue: all is as on Slurm")


if __name__ == "__main__":
    main()
