"""A program in pydflow's own style that needs its S3: uploads, Python OPs, slices, downloads.

Only addresses, the token and the bucket are the place's own. `serve` and `prepare` do what whoever runs Argo does: they start an S3
server, and tell the project which bucket its artifacts are in.
"""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import List

from dflow import (
    Step,
    Workflow,
    argo_range,
    config,
    download_artifact,
    s3_config,
    upload_artifact,
)
from dflow.python import OP, OPIO, Artifact, BigParameter, OPIOSign, Parameter, PythonOPTemplate, Slices

# pydflow takes all of a file that is above an OP along with it: what only this side has comes below.


class Duplicate(OP):
    @classmethod
    def get_input_sign(cls):
        return OPIOSign({"number": int, "text": Artifact(Path)})

    @classmethod
    def get_output_sign(cls):
        return OPIOSign({"number": int, "big": BigParameter(dict), "text": Artifact(Path)})

    @OP.exec_sign_check
    def execute(self, op_in):
        text = op_in["text"].read_text()
        Path("twice.txt").write_text(text * 2)
        return OPIO({"number": op_in["number"] * 2, "big": {"of": text}, "text": Path("twice.txt")})


class Square(OP):
    @classmethod
    def get_input_sign(cls):
        return OPIOSign({"number": int})

    @classmethod
    def get_output_sign(cls):
        return OPIOSign({"square": int, "file": Artifact(Path)})

    @OP.exec_sign_check
    def execute(self, op_in):
        name = Path("square-%d.txt" % op_in["number"])
        name.write_text(str(op_in["number"] ** 2))
        return OPIO({"square": op_in["number"] ** 2, "file": name})


class Sum(OP):
    @classmethod
    def get_input_sign(cls):
        return OPIOSign({"files": Artifact(List[Path]), "squares": Parameter(List[int])})

    @classmethod
    def get_output_sign(cls):
        return OPIOSign({"sum": int, "count": int})

    @OP.exec_sign_check
    def execute(self, op_in):
        total = sum(int(file.read_text()) for file in op_in["files"])
        assert total == sum(op_in["squares"]), (total, op_in["squares"])
        return OPIO({"sum": total, "count": len(op_in["files"])})


class Count(OP):
    """Takes a slice of an artifact, and leaves one."""

    @classmethod
    def get_input_sign(cls):
        return OPIOSign({"text": Artifact(Path)})

    @classmethod
    def get_output_sign(cls):
        return OPIOSign({"length": int})

    @OP.exec_sign_check
    def execute(self, op_in):
        return OPIO({"length": len(op_in["text"].read_text())})


ACCESS, SECRET, BUCKET = "dflow-access", "dflow-%d" % time.time_ns(), "dflow-bucket"


def serve():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)], stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL)
    for _ in range(300):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                break
        time.sleep(0.1)
    else:
        raise RuntimeError("the S3 server does not answer")
    import minio
    import minio.versioningconfig

    client = minio.Minio("127.0.0.1:%d" % port, access_key=ACCESS, secret_key=SECRET, secure=False)
    client.make_bucket(BUCKET)
    client.set_bucket_versioning(BUCKET, minio.versioningconfig.VersioningConfig("Enabled"))
    return server, port


def prepare(port):
    """As in Argo's documentation: a secret, and a config map `artifact-repositories` with a default."""
    import kubernetes

    client = kubernetes.client.ApiClient(kubernetes.client.Configuration(host=config["k8s_api_server"]))
    client.default_headers["Authorization"] = "Bearer " + config["token"]
    core = kubernetes.client.CoreV1Api(client)
    core.create_namespaced_secret(config["namespace"], kubernetes.client.V1Secret(
        metadata=kubernetes.client.V1ObjectMeta(name="my-minio-cred"),
        string_data={"accesskey": ACCESS, "secretkey": SECRET}))
    core.create_namespaced_config_map(config["namespace"], kubernetes.client.V1ConfigMap(
        metadata=kubernetes.client.V1ObjectMeta(
            name="artifact-repositories",
            annotations={"workflows.argoproj.io/default-artifact-repository": "default-v1"}),
        data={"default-v1": (
            "s3:\n  bucket: %s\n  endpoint: 127.0.0.1:%d\n  insecure: true\n  region: us-east-1\n"
            "  keyFormat: '{{workflow.name}}/{{pod.name}}'\n"
            "  accessKeySecret: {name: my-minio-cred, key: accesskey}\n"
            "  secretKeySecret: {name: my-minio-cred, key: secretkey}\n" % (BUCKET, port))}))
    s3_config.update(
        endpoint="127.0.0.1:%d" % port, access_key=ACCESS, secret_key=SECRET, bucket_name=BUCKET, secure=False)


def python(op, **more):
    return PythonOPTemplate(op, image="python:3.11", **more)


def finished(workflow):
    workflow.wait()
    status = workflow.query_status()
    steps = workflow.query_step()
    for step in steps:
        if step.phase == "Failed" and step.type == "Pod":
            print(urllib.request.urlopen(urllib.request.Request(
                "%s/api/v1/workflows/%s/%s/log?podName=%s&logOptions.container=main" % (
                    config["host"], config["namespace"], workflow.id, step.id),
                headers={"Authorization": "Bearer " + config["token"]})).read().decode()[-3000:])
    assert status == "Succeeded", (status, [(s.name, s.phase, s.get("message")) for s in steps])
    return workflow


def ops(directory):
    text = Path(directory) / "text.txt"
    text.write_text("ab")
    artifact = upload_artifact(text)
    workflow = Workflow(name="ops")
    first = Step(name="first", template=python(Duplicate), parameters={"number": 3}, artifacts={"text": artifact})
    second = Step(
        name="second", template=python(Duplicate), parameters={"number": first.outputs.parameters["number"]},
        artifacts={"text": first.outputs.artifacts["text"]})
    workflow.add(first)
    workflow.add(second)
    workflow.submit()
    finished(workflow)
    step = workflow.query_step(name="second")[0]
    assert step.outputs.parameters["number"].value == 12, step.outputs.parameters
    assert step.outputs.parameters["big"].value == {"of": "abab"}, step.outputs.parameters["big"]
    paths = download_artifact(step.outputs.artifacts["text"], path=os.path.join(directory, "back"))
    assert Path(paths[0]).read_text() == "abababab", paths


def summed(name, numbers, reuse=None):
    """A loop whose outputs become lists: each step writes its part of one artifact."""
    workflow = Workflow(name=name)
    squares = Step(
        name="squares", template=python(
            Square, slices=Slices("{{item}}", input_parameter=["number"], output_parameter=["square"],
                                  output_artifact=["file"])),
        parameters={"number": numbers}, with_param=argo_range(4), key="square-{{item}}")
    total = Step(
        name="total", template=python(Sum), artifacts={"files": squares.outputs.artifacts["file"]},
        parameters={"squares": squares.outputs.parameters["square"]}, key="total")
    workflow.add(squares)
    workflow.add(total)
    workflow.submit(reuse_step=reuse)
    finished(workflow)
    step = workflow.query_step(key="total")[0]
    return workflow, (step.outputs.parameters["sum"].value, step.outputs.parameters["count"].value)


def slices():
    return summed("slices", [2, 3, 4, 5])


def reuse(workflow):
    """What an earlier workflow made is taken from there: the numbers are others, and the squares are not."""
    steps = [workflow.query_step(key="square-%d" % n)[0] for n in range(4)]
    again, result = summed("again", [1, 1, 1, 5], steps[:3])
    # 4 + 9 + 16 of the first workflow, and the one that is not reused, whose file takes the place of its own of before.
    assert result == (54, 4), result
    phases = {key: [s.phase for s in again.query_step(key=key)] for key in ("square-0", "square-3", "total")}
    assert all(p == ["Succeeded"] for p in phases.values()), phases
    hit = again.query_step(key="square-1")[0]
    assert hit.memoizationStatus.hit is True, hit.get("memoizationStatus")
    ran = again.query_step(key="square-3")[0].get("memoizationStatus") or {}
    assert not ran.get("hit"), ran


def sliced_input(directory):
    """One step for each file of an artifact, each of which gets its own file alone."""
    files = []
    for length in [1, 3]:
        file = Path(directory) / ("file-%d" % length)
        file.write_text("x" * length)
        files.append(file)
    workflow = Workflow(name="sliced")
    count = Step(
        name="count", template=python(Count, slices=Slices(sub_path=True, input_artifact=["text"],
                                                           output_parameter=["length"])),
        artifacts={"text": upload_artifact(files, archive=None)})
    workflow.add(count)
    workflow.submit()
    finished(workflow)
    counted = [s.outputs.parameters["length"].value for s in workflow.query_step(name="count") if s.type == "Pod"]
    # A slice's output is its part of a list.
    lengths = sorted(item["dflow_list_item"] for value in counted for item in value)
    assert lengths == [1, 3], lengths


def main():
    directory = tempfile.mkdtemp(prefix="fubini-dflow-")
    config["host"] = os.environ["ARGO_HOST"]
    config["k8s_api_server"] = os.environ["ARGO_HOST"]
    config["token"] = os.environ["ARGO_TOKEN"]
    config["namespace"] = os.environ["ARGO_NAMESPACE"]
    server, port = serve()
    try:
        prepare(port)
        ops(directory)
        print("done: ops", flush=True)
        sliced, result = slices()
        assert result == (54, 4), result
        print("done: slices", flush=True)
        reuse(sliced)
        print("done: reuse", flush=True)
        sliced_input(directory)
        print("done: sliced input", flush=True)
    finally:
        server.kill()
        server.wait()
        shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    main()
    sys.exit(0)
