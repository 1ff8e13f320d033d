"""A program in pydflow's own style, in its remote mode. Only addresses and the token are Fubini's."""

import os
import sys

from dflow import (
    DAG,
    InputArtifact,
    InputParameter,
    OutputArtifact,
    OutputParameter,
    PythonScriptOPTemplate,
    ShellOPTemplate,
    Step,
    Steps,
    Task,
    Workflow,
    argo_range,
    config,
    query_archived_workflows,
    query_workflows,
)

config["host"] = os.environ["ARGO_HOST"]
config["k8s_api_server"] = os.environ["ARGO_HOST"]
config["token"] = os.environ["ARGO_TOKEN"]
config["namespace"] = os.environ["ARGO_NAMESPACE"]

hello = ShellOPTemplate(
    name="hello", image="alpine:latest",
    script="echo {{inputs.parameters.message}} > /tmp/message.txt; echo {{inputs.parameters.message}} > /tmp/file.txt")
hello.inputs.parameters = {"message": InputParameter()}
hello.outputs.parameters = {"message": OutputParameter(value_from_path="/tmp/message.txt")}
hello.outputs.artifacts = {"file": OutputArtifact(path="/tmp/file.txt")}

duplicate = ShellOPTemplate(
    name="duplicate", image="alpine:latest", script="cat /tmp/in.txt /tmp/in.txt > /tmp/out.txt; wc -l < /tmp/out.txt > /tmp/lines")
duplicate.inputs.artifacts = {"in": InputArtifact(path="/tmp/in.txt")}
duplicate.outputs.parameters = {"lines": OutputParameter(value_from_path="/tmp/lines")}

number = PythonScriptOPTemplate(
    name="number", image="python:3.11", command=["python3"],
    script="with open('/tmp/n', 'w') as f: f.write(str({{inputs.parameters.n}} ** 2))")
number.inputs.parameters = {"n": InputParameter()}
number.outputs.parameters = {"square": OutputParameter(value_from_path="/tmp/n")}


def finished(workflow, expected="Succeeded"):
    workflow.wait()
    status = workflow.query_status()
    steps = workflow.query_step()
    assert status == expected, (status, [(s.name, s.phase, getattr(s, "message", None)) for s in steps])
    return workflow


def steps():
    workflow = Workflow(name="steps")
    first = Step(name="hello", template=hello, parameters={"message": "hi"}, key="first-hello")
    workflow.add(first)
    workflow.add(Step(name="duplicate", template=duplicate, artifacts={"in": first.outputs.artifacts["file"]}))
    workflow.submit()
    finished(workflow)
    step = workflow.query_step(key="first-hello")[0]
    assert step.outputs.parameters["message"].value == "hi", step.outputs.parameters
    assert workflow.query_step(name="duplicate")[0].outputs.parameters["lines"].value.strip() == "2"
    return workflow


def dag():
    graph = DAG("graph")
    first = Task(name="first", template=number, parameters={"n": 3})
    second = Task(name="second", template=number, parameters={"n": first.outputs.parameters["square"]})
    graph.add(first)
    graph.add(second)
    workflow = Workflow(name="dag", dag=graph)
    workflow.submit()
    finished(workflow)
    assert workflow.query_step(name="second")[0].outputs.parameters["square"].value == "81"


def loop():
    workflow = Workflow(name="loop")
    workflow.add(
        Step(name="each", template=number, parameters={"n": "{{item}}"}, with_param=argo_range(4), key="each-{{item}}"))
    workflow.submit()
    finished(workflow)
    squares = sorted(
        int(workflow.query_step(key="each-%d" % n)[0].outputs.parameters["square"].value) for n in range(4))
    assert squares == [0, 1, 4, 9], squares


def nested():
    inner = Steps(name="inner")
    inner.inputs.parameters = {"n": InputParameter()}
    step = Step(name="one", template=number, parameters={"n": inner.inputs.parameters["n"]})
    inner.add(step)
    inner.outputs.parameters = {"square": OutputParameter(value_from_parameter=step.outputs.parameters["square"])}
    workflow = Workflow(name="nested")
    workflow.add(Step(name="outer", template=inner, parameters={"n": 7}))
    workflow.submit()
    finished(workflow)
    assert workflow.query_step(name="outer")[0].outputs.parameters["square"].value == "49"


def retries():
    flaky = ShellOPTemplate(name="flaky", image="alpine:latest", script="test {{retries}} -ge 1", )
    flaky.retry_strategy = None
    workflow = Workflow(name="retries")
    step = Step(name="flaky", template=ShellOPTemplate(name="failing", image="alpine:latest", script="exit 3"),
                continue_on_failed=True)
    workflow.add(step)
    workflow.add(Step(name="after", template=hello, parameters={"message": "still"}))
    workflow.submit()
    finished(workflow)
    assert workflow.query_step(name="flaky")[0].phase == "Failed"


def control(workflow):
    names = [w.id for w in query_workflows()]
    assert workflow.id in names, names
    assert workflow.id in [w.id for w in query_archived_workflows(id=workflow.id)]
    suspended = Workflow(name="control")
    suspended.add(Step(name="sleep", template=ShellOPTemplate(name="sleep", image="alpine:latest", script="sleep 60")))
    suspended.submit()
    suspended.terminate()
    suspended.wait()
    assert suspended.query_status() == "Failed", suspended.query_status()
    suspended.delete()


def main():
    workflow = steps()
    for part in [dag, loop, nested, retries]:
        part()
        print("done:", part.__name__)
    control(workflow)


if __name__ == "__main__":
    main()
    sys.exit(0)
