"""A program in the style of dpdispatcher's users: two jobs of two tasks on a Slurm that is a federation.

It knows nothing of Fubini: sbatch, squeue and scancel are found in PATH. Ends with an assertion where something is not as on Slurm.
"""

import os
import sys

directory = sys.argv[1]
os.makedirs(os.path.join(directory, "local", "batch"), exist_ok=True)
os.makedirs(os.path.join(directory, "remote"), exist_ok=True)
# Before the import, which begins a log in the working directory.
os.chdir(directory)

from dpdispatcher import Machine, Resources, Submission, Task

for index in range(4):
    os.makedirs(f"local/batch/task-{index}", exist_ok=True)
    with open(f"local/batch/task-{index}/in.txt", "w") as file:
        file.write(f"input {index}\n")
with open("local/batch/common.txt", "w") as file:
    file.write("common\n")

machine = Machine.load_from_dict(
    {
        "batch_type": "Slurm",
        "context_type": "LocalContext",
        "local_root": os.path.join(directory, "local"),
        "remote_root": os.path.join(directory, "remote"),
    }
)
resources = Resources.load_from_dict(
    {"number_node": 1, "cpu_per_node": 1, "gpu_per_node": 0, "queue_name": "one", "group_size": 2}
)
tasks = [
    Task(
        command="cat ../common.txt in.txt > out.txt; test -n \"$SLURM_JOB_ID\"",
        task_work_path=f"task-{index}/",
        forward_files=["in.txt"],
        backward_files=["out.txt"],
        outlog="log",
        errlog="err",
    )
    for index in range(4)
]
submission = Submission(
    work_base="batch/", machine=machine, resources=resources, forward_common_files=["common.txt"],
    backward_common_files=[], task_list=tasks,
)
submission.run_submission(check_interval=1)

for index in range(4):
    with open(f"local/batch/task-{index}/out.txt") as file:
        text = file.read()
    assert text == f"common\ninput {index}\n", (index, text)
print("dpdispatcher: all is as on Slurm")
