"""A program in Hera's own style. Nothing in it knows that the server is not Argo's, but for its address and token."""

import os
import sys
import time

from hera.exceptions import NotFound
from hera.shared import global_config
from hera.workflows import (
    DAG,
    Artifact,
    ClusterWorkflowTemplate,
    Container,
    CronWorkflow,
    Parameter,
    Steps,
    Suspend,
    Task,
    Workflow,
    WorkflowTemplate,
    WorkflowsService,
    models as m,
    script,
)

global_config.host = os.environ["ARGO_HOST"]
global_config.token = os.environ["ARGO_TOKEN"]
global_config.image = "python:3.11"
NAMESPACE = os.environ["ARGO_NAMESPACE"]
service = WorkflowsService(namespace=NAMESPACE)


@script(command=["python3"])
def double(n: int):
    print(2 * n)


@script(command=["python3"], outputs=[Parameter(name="square", value_from=m.ValueFrom(path="/tmp/square"))])
def square(n: int):
    with open("/tmp/square", "w") as f:
        f.write(str(n * n))


def finished(workflow, expected="Succeeded"):
    result = workflow.wait(poll_interval=1)
    nodes = {n.display_name: n for n in (result.status.nodes or {}).values()}
    assert result.status.phase == expected, (result.status.phase, [(n.display_name, n.phase, n.message) for n in nodes.values()])
    return nodes


def values(node):
    return {p.name: p.value for p in node.outputs.parameters or []}


def steps():
    with Workflow(namespace=NAMESPACE, generate_name="steps-", entrypoint="main", labels={"suite": "hera"}) as w:
        with Steps(name="main") as s:
            double(name="first", arguments={"n": 21})
            with s.parallel():
                double(name="left", arguments={"n": "{{steps.first.outputs.result}}"})
                square(name="right", arguments={"n": "{{steps.first.outputs.result}}"})
    w.create()
    nodes = finished(w)
    assert nodes["first"].outputs.result == "42"
    assert nodes["left"].outputs.result == "84"
    assert values(nodes["right"]) == {"square": "1764"}
    return w, nodes


def dag():
    with Workflow(namespace=NAMESPACE, generate_name="dag-", entrypoint="main") as w:
        make = Container(
            name="make", image="debian:12", command=["sh", "-c"], args=["echo made > /tmp/out.txt"],
            outputs=[Artifact(name="out", path="/tmp/out.txt")])
        use = Container(
            name="use", image="debian:12", command=["sh", "-c"], args=["cat /tmp/in.txt; echo {{inputs.parameters.k}}"],
            inputs=[Artifact(name="in", path="/tmp/in.txt"), Parameter(name="k")])
        with DAG(name="main"):
            a = make(name="a")
            b = use(name="b", arguments=[a.get_artifact("out").with_name("in"), Parameter(name="k", value="{{item}}")],
                    with_items=["x", "y"])
            a >> b
    w.create()
    nodes = finished(w)
    assert nodes["b(0:x)"].phase == "Succeeded" and nodes["b(1:y)"].phase == "Succeeded"
    stored = service.get_output_artifact(w.name, nodes["a"].id, "out")
    assert stored, "the artifact comes back"
    return w


def logs(w, nodes):
    # Hera reads one line: so one pod, and a line of it.
    assert service.pod_logs(w.name, nodes["first"].id, container="main") is not None
    assert service.workflow_logs(w.name, grep="^84$", container="main") is not None
    listed = service.list_workflows(label_selector="suite=hera")
    assert w.name in [i.metadata.name for i in listed.items]
    assert not service.list_workflows(label_selector="suite!=hera,suite").items


def templates():
    with WorkflowTemplate(namespace=NAMESPACE, name="hera-template", entrypoint="main", arguments=Parameter(name="n", value="4")) as t:
        with Steps(name="main"):
            square(name="squared", arguments={"n": "{{workflow.parameters.n}}"})
    t.lint()
    t.create()
    current = service.get_workflow_template("hera-template")
    assert current.metadata.uid and current.metadata.resource_version
    t.labels = {"changed": "yes"}
    updated = t.update()
    assert updated.metadata.labels == {"changed": "yes"}
    assert updated.metadata.resource_version != current.metadata.resource_version
    w = service.submit_workflow(
        m.WorkflowSubmitRequest(
            resource_kind="WorkflowTemplate", resource_name="hera-template",
            submit_options=m.SubmitOpts(parameters=["n=5"], generate_name="from-template-")))
    nodes = finished(Workflow(namespace=NAMESPACE, name=w.metadata.name))
    assert values(nodes["squared"]) == {"square": "25"}
    from_ref = Workflow(namespace=NAMESPACE, generate_name="ref-", workflow_template_ref=m.WorkflowTemplateRef(name="hera-template"))
    from_ref.create()
    assert values(finished(from_ref)["squared"]) == {"square": "16"}
    again = service.resubmit_workflow(w.metadata.name, m.WorkflowResubmitRequest())
    assert values(finished(Workflow(namespace=NAMESPACE, name=again.metadata.name))["squared"]) == {"square": "25"}
    with ClusterWorkflowTemplate(name="hera-shared", entrypoint="main") as c:
        Container(name="main", image="debian:12", command=["true"])
    c.create()
    assert any(i.metadata.name == "hera-shared" for i in service.list_cluster_workflow_templates().items)
    shared = Workflow(
        namespace=NAMESPACE, generate_name="shared-", workflow_template_ref=m.WorkflowTemplateRef(name="hera-shared", cluster_scope=True))
    shared.create()
    finished(shared)
    service.delete_cluster_workflow_template("hera-shared")
    service.delete_workflow_template("hera-template")
    try:
        service.get_workflow_template("hera-template")
        raise AssertionError("the template is gone")
    except NotFound:
        pass


def cron():
    with CronWorkflow(namespace=NAMESPACE, name="hera-cron", entrypoint="main", schedules=["@every 2s"], cron_suspend=False) as c:
        Container(name="main", image="debian:12", command=["true"])
    c.create()
    for _ in range(60):
        status = service.get_cron_workflow("hera-cron").status
        if status is not None and (status.succeeded or 0) >= 1:
            break
        time.sleep(1)
    else:
        raise AssertionError(f"the clock starts workflows: {status}")
    assert status.last_scheduled_time is not None
    suspended = service.suspend_cron_workflow("hera-cron", m.CronWorkflowSuspendRequest())
    assert suspended.spec.suspend is True
    service.delete_cron_workflow("hera-cron")


def control():
    with Workflow(namespace=NAMESPACE, generate_name="control-", entrypoint="main") as w:
        with Steps(name="main"):
            Suspend(name="approve")(name="wait")
            square(name="after", arguments={"n": 3})
    w.create()
    name = w.name
    service.resume_workflow(name, m.WorkflowResumeRequest())
    nodes = finished(w)
    assert values(nodes["after"]) == {"square": "9"}
    failing = Workflow(namespace=NAMESPACE, generate_name="failing-", entrypoint="main")
    with failing:
        Container(name="main", image="debian:12", command=["false"])
    failing.create()
    finished(failing, "Failed")
    service.retry_workflow(failing.name, m.WorkflowRetryRequest())
    finished(failing, "Failed")
    uid = service.get_workflow(failing.name).metadata.uid
    assert service.get_archived_workflow(uid).metadata.name == failing.name
    assert failing.name in [i.metadata.name for i in service.list_archived_workflows().items]
    service.delete_workflow(failing.name)
    try:
        service.get_workflow(failing.name)
        raise AssertionError("the workflow is gone")
    except NotFound:
        pass
    assert service.get_version().version and service.get_info() is not None and service.get_user_info().name


def main():
    logs(*steps())
    for part in [dag, templates, cron, control]:
        part()
        print("done:", part.__name__)


if __name__ == "__main__":
    main()
    sys.exit(0)
