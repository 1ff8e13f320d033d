"""A program in Hera's own style. Nothing in it knows that the server is not Argo's, but for its address and token."""

import json
import os
import sys
import time

from hera.exceptions import BadRequest, HeraException, NotFound
from hera.shared import global_config
from hera.workflows import (
    DAG,
    Artifact,
    ClusterWorkflowTemplate,
    Container,
    CronWorkflow,
    Env,
    Parameter,
    RetryStrategy,
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


@script(
    command=["python3"],
    inputs=[Parameter(name="words"), Artifact(name="table", path="/tmp/table.json")],
    outputs=[Artifact(name="report", path="/tmp/report.txt"), Parameter(name="count", value_from=m.ValueFrom(path="/tmp/count"))])
def report(words: list):
    import json

    table = json.load(open("/tmp/table.json"))
    open("/tmp/report.txt", "w").write(" ".join(f"{w}={table[w]}" for w in words))
    open("/tmp/count", "w").write(str(len(words)))


@script(command=["python3"], outputs=[Artifact(name="table", path="/tmp/table.json")])
def table():
    import json

    json.dump({"a": 1, "b": 2, "c": 3}, open("/tmp/table.json", "w"))


@script(command=["python3"])
def numbers(count: int):
    import json

    print(json.dumps(list(range(count))))


def scripts():
    """Scripts with artifacts and parameters on both sides, loops over results, and the bytes back."""
    with Workflow(namespace=NAMESPACE, generate_name="scripts-", entrypoint="main") as w:
        total = Container(
            name="total", image="debian:12", command=["sh", "-c"], args=["echo {{inputs.parameters.all}}; cat /tmp/r"],
            env=[Env(name="X", value="y")], inputs=[Parameter(name="all"), Artifact(name="r", path="/tmp/r")])
        with DAG(name="main"):
            made = table(name="made")
            told = report(name="told", arguments=[
                Parameter(name="words", value=["a", "c"]), made.get_artifact("table")])
            listed = numbers(name="listed", arguments={"count": 3})
            each = double(name="each", arguments={"n": "{{item}}"}, with_param=listed.result)
            done = total(name="done", arguments=[
                Parameter(name="all", value=each.result), told.get_artifact("report").with_name("r")])
            made >> told >> done
            listed >> each >> done
    result = w.create(wait=True, poll_interval=1)
    assert result.status.phase == "Succeeded", result.status
    nodes = {n.display_name: n for n in result.status.nodes.values()}
    assert values(nodes["told"]) == {"count": "2"}
    assert [nodes[f"each({i}:{i})"].outputs.result for i in range(3)] == ["0", "2", "4"]
    # Hera reads an answer of one line, and no more of it than that it is there.
    assert service.pod_logs(w.name, nodes["done"].id, container="main", grep="^a=1 c=3$") is not None
    assert service.workflow_logs(w.name, selector="workflows.argoproj.io/workflow=" + w.name, grep="a=1", follow=True)
    told = nodes["told"]
    whole = service.get_output_artifact(w.name, told.id, "report")
    assert whole and whole == service.get_artifact_file("workflows", w.name, told.id, "report", "outputs")
    assert service.get_output_artifact_by_uid(result.metadata.uid, told.id, "report") == whole
    assert service.get_input_artifact(w.name, told.id, "table") == service.get_output_artifact(w.name, nodes["made"].id, "table")
    assert service.get_input_artifact_by_uid(result.metadata.uid, told.id, "table")
    try:
        service.get_output_artifact(w.name, told.id, "none")
        raise AssertionError("there is no such artifact")
    except NotFound:
        pass
    return w


def failures():
    """Retries of tasks, hooks, exit handlers; then what failed is retried and submitted again."""
    with Workflow(
        namespace=NAMESPACE, generate_name="failures-", entrypoint="main", on_exit="tidy",
        arguments=Parameter(name="code", value="1"),
        hooks={"running": m.LifecycleHook(template="tidy", expression="workflow.status == 'Running'")}) as w:
        ok = Container(
            name="ok", image="debian:12", command=["sh", "-c"], args=["date +%s%N > /tmp/out"],
            outputs=[Parameter(name="at", value_from=m.ValueFrom(path="/tmp/out"))])
        bad = Container(
            name="bad", image="debian:12", command=["sh", "-c"], args=["exit {{workflow.parameters.code}}"],
            retry_strategy=RetryStrategy(limit="1", retry_policy="Always"))
        Container(name="tidy", image="debian:12", command=["true"])
        with Steps(name="main"):
            ok(name="first")
            bad(name="second", hooks={"exit": m.LifecycleHook(template="tidy")})
    w.create()
    nodes = finished(w, "Failed")
    assert nodes["second(0)"].phase == "Failed" and nodes["second(1)"].phase == "Failed"
    assert nodes[f"{w.name}.onExit"].phase == "Succeeded"
    assert any(name.endswith("hooks.running") for name in nodes), list(nodes)
    at = values(nodes["first"])["at"]
    again = service.resubmit_workflow(w.name, m.WorkflowResubmitRequest(memoized=True))
    nodes = finished(Workflow(namespace=NAMESPACE, name=again.metadata.name), "Failed")
    assert values(nodes["first"])["at"] == at, "what succeeded is not done again"
    service.retry_workflow(w.name, m.WorkflowRetryRequest(parameters=["code=0"]))
    nodes = finished(w)
    assert values(nodes["first"])["at"] == at
    service.retry_workflow(
        w.name, m.WorkflowRetryRequest(restart_successful=True, node_field_selector="displayName=first"))
    nodes = finished(w)
    assert values(nodes["first"])["at"] != at, "it was chosen"
    uid = service.get_workflow(w.name).metadata.uid
    again = service.resubmit_archived_workflow(uid, m.ResubmitArchivedWorkflowRequest(parameters=["code=0"]))
    finished(Workflow(namespace=NAMESPACE, name=again.metadata.name))


def gates():
    """People at the gates: values without an end, ends of single nodes, whole workflows held, stopped and terminated."""
    with Workflow(namespace=NAMESPACE, generate_name="gates-", entrypoint="main", labels={"suite": "gates"}) as w:
        ask = Suspend(name="ask", intermediate_parameters=[Parameter(name="answer", enum=["yes", "no"], default="no")])
        with Steps(name="main") as s:
            with s.parallel():
                ask(name="one")
                ask(name="two")
    w.create()
    selector = "displayName=one"

    def set_(**more):
        return service.set_workflow(w.name, m.WorkflowSetRequest(node_field_selector=selector, **more))

    def node(workflow, name):
        return next(n for n in workflow.status.nodes.values() if n.display_name == name)

    one = node(set_(output_parameters=json.dumps({"answer": "yes"}), message="asked"), "one")
    assert one.phase == "Running" and one.message == "asked" and values(one) == {"answer": "yes"}
    for wrong in [{"phase": "Skipped"}, {"output_parameters": json.dumps({"other": "x"})}]:
        try:
            set_(**wrong)
            raise AssertionError(f"{wrong} cannot be set")
        except BadRequest:
            pass
    service.resume_workflow(w.name, m.WorkflowResumeRequest(node_field_selector=selector))
    stopped = service.stop_workflow(
        w.name, m.WorkflowStopRequest(node_field_selector="displayName=two", message="nobody came"))
    assert node(stopped, "two").phase == "Failed" and node(stopped, "two").message == "nobody came"
    finished(w, "Failed")

    def held():
        h = Workflow(namespace=NAMESPACE, generate_name="held-", entrypoint="main", suspend=True, labels={"suite": "gates"})
        with h:
            Container(name="main", image="debian:12", command=["sleep", "60"])
        h.create()
        return h

    h = held()
    assert service.get_workflow(h.name).spec.suspend is True
    service.resume_workflow(h.name, m.WorkflowResumeRequest())
    assert not service.get_workflow(h.name).spec.suspend
    service.suspend_workflow(h.name, m.WorkflowSuspendRequest())
    service.stop_workflow(h.name, m.WorkflowStopRequest(message="enough"))
    finished(h, "Failed")
    h = held()
    service.terminate_workflow(h.name, m.WorkflowTerminateRequest())
    finished(h, "Failed")

    def names(**query):
        return [i.metadata.name for i in service.list_workflows(label_selector="suite=gates", **query).items or []]

    assert len(names()) == 3 and names(field_selector=f"metadata.name={w.name}") == [w.name]
    assert names(field_selector="status.phase=Running") == []
    first = service.list_workflows(label_selector="suite=gates", limit="2")
    assert len(first.items) == 2
    assert len(names(continue_=first.metadata.continue_)) == 1
    assert "suite" in service.list_archived_workflow_label_keys().items
    assert "gates" in service.list_archived_workflow_label_values(label_selector="suite").items
    assert len(service.list_archived_workflows(label_selector="suite=gates").items) == 3


def documents():
    """Everything is checked before it is stored; what is stored is listed, changed, held and removed."""
    with CronWorkflow(namespace=NAMESPACE, name="hera-hourly", entrypoint="main", schedules=["0 * * * *"], timezone="Europe/Berlin") as c:
        Container(name="main", image="debian:12", command=["true"])
    c.lint()
    c.create()
    assert "hera-hourly" in [i.metadata.name for i in service.list_cron_workflows().items]
    assert service.suspend_cron_workflow("hera-hourly", m.CronWorkflowSuspendRequest()).spec.suspend is True
    assert not service.resume_cron_workflow("hera-hourly", m.CronWorkflowResumeRequest()).spec.suspend
    c.schedules = ["30 * * * *"]
    assert c.update().spec.schedules == ["30 * * * *"]
    run = service.submit_workflow(m.WorkflowSubmitRequest(resource_kind="CronWorkflow", resource_name="hera-hourly"))
    finished(Workflow(namespace=NAMESPACE, name=run.metadata.name))
    service.delete_cron_workflow("hera-hourly")
    broken = Workflow(namespace=NAMESPACE, generate_name="broken-", entrypoint="nowhere")
    with broken:
        Container(name="main", image="debian:12", command=["true"])
    for act in [broken.lint, broken.create]:
        try:
            act()
            raise AssertionError("there is no such entrypoint")
        except HeraException as error:
            assert "nowhere" in str(error), error


def main():
    logs(*steps())
    for part in [dag, scripts, failures, gates, documents, templates, cron, control]:
        part()
        print("done:", part.__name__)


if __name__ == "__main__":
    main()
    sys.exit(0)
