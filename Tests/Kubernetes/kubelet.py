#!/usr/bin/env python3
"""Plays scheduler and kubelet for a real API server: binds pods to nodes that exist in name only, and runs their containers as
processes in bubblewrap, over this machine's programs with a root of their own. Python's standard library alone.

    kubelet.py --server https://127.0.0.1:6443 --ca ca.crt --token TOKEN --certificate kubelet.crt --key kubelet.key --port 10250
        --directory DIR --nodes '[{"name": "n1", "capacity": {"cpu": "8", "memory": "16Gi"}, "labels": {}, "taints": []}]'
        [--program IMAGE=/host/file:/path/in/container] [--instant SECONDS]

As a kubelet does: readiness probes; init containers in order, then the containers together; emptyDir, secret, configMap, projected secrets, hostPath and
claims (a directory for each), tokens of service accounts; subPath, readOnly; env with references; termination messages; grace at deletion;
activeDeadlineSeconds; logs over TLS. Restart policy Never alone. What image it is does not matter, but for
fubini-test/missing (cannot be pulled), fubini-test/oom (killed for its memory) and fubini-test/evict (evicted).
With --instant nothing runs: each pod succeeds so many seconds after it was bound. It ends when its parent does.
"""
import argparse, base64, concurrent.futures, datetime, glob, http.client, http.server, json, os, re, shutil, signal, socket, ssl
import subprocess, sys, threading, time, urllib.parse

STRATEGIC = "application/strategic-merge-patch+json"
BOUND_DIRECTORIES = ["/usr", "/etc", "/opt", "/bin", "/sbin", "/lib", "/lib32", "/lib64"]


def now():
    return datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def quantity(text):
    match = re.fullmatch(r"([0-9.]+(?:[eE][0-9]+)?)([a-zA-Z]*)", str(text))
    scale = {"": 1, "n": 1e-9, "u": 1e-6, "m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12,
             "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}
    return float(match.group(1)) * scale[match.group(2)]


class API:
    """One connection for each thread. Connections that break are made anew for as long as this process lives."""

    def __init__(self, options):
        address = urllib.parse.urlsplit(options.server)
        self.host, self.port, self.token = address.hostname, address.port, options.token
        self.context = ssl.create_default_context(cafile=options.ca)
        self.local = threading.local()

    def connect(self, timeout):
        return http.client.HTTPSConnection(self.host, self.port, context=self.context, timeout=timeout)

    def headers(self, kind="application/json"):
        return {"Authorization": "Bearer " + self.token, "Content-Type": kind, "Accept": "application/json"}

    def call(self, method, path, body=None, kind="application/json"):
        while True:
            try:
                if getattr(self.local, "connection", None) is None:
                    self.local.connection = self.connect(20)
                self.local.connection.request(method, path, json.dumps(body) if body is not None else None, self.headers(kind))
                answer = self.local.connection.getresponse()
                data = answer.read()
                if answer.status == 429 or answer.status >= 500:
                    time.sleep(0.2)
                    continue
                return answer.status, json.loads(data) if data else {}
            except (OSError, http.client.HTTPException, ValueError):
                self.local.connection = None
                time.sleep(0.2)

    def watch(self, path):
        """Yields all objects as ("SYNC", [objects]), then changes; begins anew with a list when the watch breaks."""
        while True:
            try:
                status, found = self.call("GET", path)
                if status != 200:
                    raise OSError(str(found))
                yield "SYNC", found["items"]
                connection = self.connect(90)
                query = "watch=true&timeoutSeconds=60&resourceVersion=" + found["metadata"]["resourceVersion"]
                connection.request("GET", path + "?" + query, headers=self.headers())
                answer = connection.getresponse()
                while answer.status == 200:
                    line = answer.readline()
                    if not line:
                        break
                    event = json.loads(line)
                    if event["type"] == "ERROR":
                        break
                    yield event["type"], event["object"]
                connection.close()
            except (OSError, http.client.HTTPException, ValueError):
                time.sleep(0.2)


def pod_path(pod, below=""):
    meta = pod["metadata"]
    return "/api/v1/namespaces/%s/pods/%s%s" % (meta["namespace"], meta["name"], below)


def requests_of(pod):
    """What a pod asks for: its containers together, or the init container that asks for most."""
    def of(container):
        resources = container.get("resources") or {}
        return {**(resources.get("limits") or {}), **(resources.get("requests") or {})}
    total = {"pods": 1.0}
    for container in pod["spec"]["containers"]:
        for name, value in of(container).items():
            total[name] = total.get(name, 0.0) + quantity(value)
    for container in pod["spec"].get("initContainers") or []:
        for name, value in of(container).items():
            total[name] = max(total.get(name, 0.0), quantity(value))
    return total


class NodeState:
    def __init__(self, spec):
        self.name, self.labels, self.taints = spec["name"], spec.get("labels") or {}, spec.get("taints") or []
        self.capacity = {"pods": "2000", **spec["capacity"]}
        self.free = {name: quantity(value) for name, value in self.capacity.items()}
        self.labels = {"kubernetes.io/hostname": self.name, "kubernetes.io/arch": "amd64", "kubernetes.io/os": "linux", **self.labels}

    def objection(self, pod, wanted):
        """Why the scheduler would not take it; None when it would."""
        selector = pod["spec"].get("nodeSelector") or {}
        if any(self.labels.get(key) != value for key, value in selector.items()):
            return "node(s) didn't match Pod's node affinity"
        for taint in self.taints:
            if not any(self.tolerates(toleration, taint) for toleration in pod["spec"].get("tolerations") or []):
                return "node(s) had taint {%s: %s}, that the pod didn't tolerate" % (taint["key"], taint.get("value", ""))
        lacking = [name for name, value in sorted(wanted.items()) if self.free.get(name, 0) + 1e-9 < value]
        return "Insufficient " + lacking[0] if lacking else None

    @staticmethod
    def tolerates(toleration, taint):
        if toleration.get("effect") not in (None, "", taint["effect"]):
            return False
        if toleration.get("operator") == "Exists":
            return toleration.get("key") in (None, "", taint["key"])
        return toleration.get("key") == taint["key"] and (toleration.get("value") or "") == (taint.get("value") or "")


class Cluster:
    def __init__(self, options):
        self.options, self.api = options, API(options)
        self.nodes = {spec["name"]: NodeState(spec) for spec in json.loads(options.nodes)}
        self.lock = threading.Condition()
        self.waiting, self.told, self.held, self.workers = {}, {}, {}, {}
        self.pool = concurrent.futures.ThreadPoolExecutor(16)
        self.programs = dict(program.split("=", 1) for program in options.program)

    def register(self):
        for node in self.nodes.values():
            self.api.call("POST", "/api/v1/nodes", {
                "metadata": {"name": node.name, "labels": node.labels}, "spec": {"taints": node.taints}})
            self.beat(node, {
                "capacity": node.capacity, "allocatable": node.capacity,
                "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}, {"type": "Hostname", "address": node.name}],
                "daemonEndpoints": {"kubeletEndpoint": {"Port": self.options.port}},
                "nodeInfo": {key: "" for key in ("machineID", "systemUUID", "bootID", "kernelVersion", "osImage",
                             "kubeProxyVersion")} | {"architecture": "amd64", "operatingSystem": "linux",
                             "containerRuntimeVersion": "bubblewrap://1", "kubeletVersion": "v1.20.2"}})

    def beat(self, node, status=None):
        moment = now()
        conditions = [{"type": "Ready", "status": "True", "reason": "KubeletReady", "message": "kubelet.py lives",
                       "lastHeartbeatTime": moment}]
        conditions += [{"type": kind, "status": "False", "reason": "Enough", "message": "", "lastHeartbeatTime": moment}
                       for kind in ("MemoryPressure", "DiskPressure", "PIDPressure")]
        self.api.call("PATCH", "/api/v1/nodes/%s/status" % node.name, {"status": {**(status or {}), "conditions": conditions}},
                      STRATEGIC)

    def heartbeats(self):
        while True:
            time.sleep(3)
            for node in self.nodes.values():
                self.beat(node)

    def event(self, pod, kind, reason, message, source="kubelet"):
        meta, moment = pod["metadata"], now()
        self.api.call("POST", "/api/v1/namespaces/%s/events" % meta["namespace"], {
            "metadata": {"generateName": meta["name"] + "."}, "type": kind, "reason": reason, "message": message,
            "involvedObject": {"apiVersion": "v1", "kind": "Pod", "namespace": meta["namespace"], "name": meta["name"],
                               "uid": meta["uid"]},
            "source": {"component": source}, "firstTimestamp": moment, "lastTimestamp": moment, "count": 1})

    def status(self, pod, **status):
        return self.api.call("PATCH", pod_path(pod, "/status"), {"metadata": {"uid": pod["metadata"]["uid"]}, "status": status},
                             STRATEGIC)

    def observe(self):
        for kind, what in self.api.watch("/api/v1/pods"):
            if kind == "SYNC":
                there = {pod["metadata"]["uid"] for pod in what}
                for uid in [uid for uid in set(self.waiting) | set(self.workers) | set(self.held) if uid not in there]:
                    self.gone(uid)
                for pod in what:
                    self.see(pod)
            elif kind == "DELETED":
                self.gone(what["metadata"]["uid"])
            else:
                self.see(what)

    def see(self, pod):
        uid, node = pod["metadata"]["uid"], pod["spec"].get("nodeName")
        ended = (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")
        with self.lock:
            if not node:
                if not ended and not pod["metadata"].get("deletionTimestamp"):
                    self.waiting[uid] = pod
                    self.lock.notify()
                return
            if node not in self.nodes:
                return
            if not ended and uid not in self.held:
                self.take(uid, self.nodes[node], requests_of(pod))
            worker = self.workers.get(uid)
            if worker is None:
                if ended and not pod["metadata"].get("deletionTimestamp"):
                    self.release(uid)
                    return
                worker = self.workers[uid] = (Instant if self.options.instant is not None else Pod)(self, pod, ended)
        if pod["metadata"].get("deletionTimestamp"):
            worker.delete(pod)

    def gone(self, uid):
        with self.lock:
            self.waiting.pop(uid, None)
            self.told.pop(uid, None)
            self.release(uid)
            worker = self.workers.pop(uid, None)
        if worker:
            worker.kill()

    def take(self, uid, node, wanted):
        self.held[uid] = (node, wanted)
        for name, value in wanted.items():
            node.free[name] = node.free.get(name, 0) - value

    def release(self, uid):
        with self.lock:
            node, wanted = self.held.pop(uid, (None, {}))
            for name, value in wanted.items():
                node.free[name] += value
            self.lock.notify()

    def schedule(self):
        while True:
            with self.lock:
                self.lock.wait(0.5)
                chosen = []
                for uid, pod in list(self.waiting.items()):
                    wanted = requests_of(pod)
                    objections = {node.name: node.objection(pod, wanted) for node in self.nodes.values()}
                    node = next((self.nodes[name] for name, objection in objections.items() if objection is None), None)
                    if node:
                        del self.waiting[uid]
                        self.take(uid, node, wanted)
                        chosen.append((self.bind, pod, node.name))
                    elif self.told.get(uid) != (text := self.tell(objections)):
                        self.told[uid] = text
                        chosen.append((self.refuse, pod, text))
            for body, pod, detail in chosen:
                self.pool.submit(body, pod, detail)

    def tell(self, objections):
        counts = {}
        for objection in objections.values():
            counts[objection] = counts.get(objection, 0) + 1
        why = ", ".join("%d %s" % (count, objection) for objection, count in sorted(counts.items()))
        return "0/%d nodes are available: %s." % (len(self.nodes), why)

    def bind(self, pod, node):
        status, answer = self.api.call("POST", pod_path(pod, "/binding"), {
            "metadata": {"name": pod["metadata"]["name"], "uid": pod["metadata"]["uid"]},
            "target": {"apiVersion": "v1", "kind": "Node", "name": node}})
        if status not in (200, 201, 409):
            self.release(pod["metadata"]["uid"])

    def refuse(self, pod, text):
        self.status(pod, conditions=[{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": text,
                                      "lastTransitionTime": now()}])
        self.event(pod, "Warning", "FailedScheduling", text, "default-scheduler")


class Instant:
    """A pod that succeeds in a moment."""

    def __init__(self, cluster, pod, ended):
        self.cluster, self.pod, self.begun = cluster, pod, now()
        if not ended:
            timer = threading.Timer(cluster.options.instant, lambda: cluster.pool.submit(self.succeed))
            timer.daemon = True
            timer.start()

    def succeed(self):
        def state(container):
            return {"name": container["name"], "image": container["image"], "imageID": "", "ready": False, "restartCount": 0,
                    "state": {"terminated": {"exitCode": 0, "reason": "Completed", "startedAt": self.begun, "finishedAt": now()}}}
        spec = self.pod["spec"]
        self.cluster.status(
            self.pod, phase="Succeeded", hostIP="127.0.0.1", podIP="127.0.0.1", startTime=self.begun,
            initContainerStatuses=[state(container) for container in spec.get("initContainers") or []],
            containerStatuses=[state(container) for container in spec["containers"]])
        self.cluster.release(self.pod["metadata"]["uid"])

    def delete(self, pod):
        self.cluster.pool.submit(self.cluster.api.call, "DELETE", pod_path(pod), {
            "gracePeriodSeconds": 0, "preconditions": {"uid": pod["metadata"]["uid"]}})

    def kill(self):
        pass


class Waits(Exception):
    """A container cannot start yet: the reason that is shown, the message, and the event."""

    def __init__(self, reason, message, event):
        super().__init__(message)
        self.reason, self.message, self.event = reason, message, event


class Pod:
    """A pod that runs: a thread that starts its containers, and tells how they are."""

    def __init__(self, cluster, pod, ended):
        self.cluster, self.pod, self.meta, self.spec = cluster, pod, pod["metadata"], pod["spec"]
        self.directory = os.path.join(cluster.options.directory, "pods", self.meta["uid"])
        self.states, self.processes, self.children, self.affirmed = {}, {}, {}, set()
        self.ending, self.deleted, self.lost = threading.Event(), False, False
        self.phase, self.reason, self.message, self.started = "Pending", None, None, now()
        self.ended = ended
        # Running already: a kubelet before this one had it, and its processes are gone.
        self.lost = (pod.get("status") or {}).get("phase") == "Running"
        if not ended:
            threading.Thread(target=self.run, daemon=True).start()

    # What is told

    def containers(self):
        return [(container, True) for container in self.spec.get("initContainers") or []] + [
            (container, False) for container in self.spec["containers"]]

    def report(self):
        def statuses(inits):
            return [{"name": c["name"], "image": c["image"], "imageID": "fubini-test", "restartCount": 0,
                     "containerID": "bubblewrap://%s-%s" % (self.meta["uid"], c["name"]),
                     "ready": self.is_ready(c), "started": "running" in self.states.get(c["name"], {}),
                     "state": self.states.get(c["name"]) or {"waiting": {"reason": "PodInitializing" if self.phase == "Pending"
                              and self.spec.get("initContainers") else "ContainerCreating"}}}
                    for c, init in self.containers() if init == inits]
        done = all(self.states.get(c["name"], {}).get("terminated", {}).get("exitCode") == 0
                   for c, init in self.containers() if init)
        ready = all(self.is_ready(c) for c in self.spec["containers"])
        status = {
            "phase": self.phase, "reason": self.reason, "message": self.message, "hostIP": "127.0.0.1", "podIP": "127.0.0.1",
            "podIPs": [{"ip": "127.0.0.1"}], "startTime": self.started, "containerStatuses": statuses(False),
            "initContainerStatuses": statuses(True),
            "conditions": [{"type": kind, "status": "True" if value else "False", "lastTransitionTime": now()}
                           for kind, value in (("PodScheduled", True), ("Initialized", done), ("ContainersReady", ready),
                                               ("Ready", ready))]}
        self.cluster.status(self.pod, **status)

    def is_ready(self, container):
        return "running" in self.states.get(container["name"], {}) and (
            not container.get("readinessProbe") or container["name"] in self.affirmed)

    def probe(self, container):
        """Asks whether it is ready, until it has ended."""
        probe, name, good = container["readinessProbe"], container["name"], 0
        self.ending.wait(probe.get("initialDelaySeconds", 0))
        while "running" in self.states.get(name, {}) and not self.ended:
            good = good + 1 if self.answers(probe, self.children.get(name)) else 0
            was = name in self.affirmed
            if good >= probe.get("successThreshold", 1):
                self.affirmed.add(name)
            else:
                self.affirmed.discard(name)
            if was != (name in self.affirmed):
                self.report()
            time.sleep(probe.get("periodSeconds", 10))

    @staticmethod
    def answers(probe, child):
        timeout = probe.get("timeoutSeconds", 1)
        try:
            if source := probe.get("exec"):
                return subprocess.run(["nsenter", "-t", str(child), "-m", "-p", "--"] + source["command"], timeout=timeout,
                                      stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0
            if source := probe.get("tcpSocket"):
                socket.create_connection((source.get("host") or "127.0.0.1", source["port"]), timeout).close()
                return True
            source = probe["httpGet"]
            connection = http.client.HTTPConnection(source.get("host") or "127.0.0.1", source["port"], timeout=timeout)
            connection.request("GET", source.get("path") or "/")
            return 200 <= connection.getresponse().status < 400
        except (OSError, http.client.HTTPException, subprocess.TimeoutExpired):
            return False

    def fail(self, reason, message):
        self.reason, self.message = reason, message
        self.ending.set()

    # Its life

    def run(self):
        try:
            self.live()
        except Exception as error:  # a mistake of this program must be seen as one
            self.phase, self.reason, self.message = "Failed", "KubeletError", repr(error)
        self.ended = True
        self.kill()
        self.report()
        self.cluster.release(self.meta["uid"])
        if self.deleted:
            self.remove()

    def live(self):
        if self.lost:
            self.phase, self.reason, self.message = "Failed", "NodeLost", "the kubelet was restarted, and its containers are gone"
            return
        if self.spec.get("restartPolicy") != "Never":
            self.phase, self.reason, self.message = "Failed", "Unsupported", "kubelet.py knows restartPolicy Never alone"
            return
        if seconds := self.spec.get("activeDeadlineSeconds"):
            timer = threading.Timer(seconds, self.fail, ("DeadlineExceeded", "Pod was active on the node longer than the specified deadline"))
            timer.daemon = True
            timer.start()
        self.report()
        for container in self.spec.get("initContainers") or []:
            if not self.start(container):
                return self.conclude()
            self.report()
            self.wait([container["name"]])
            if self.states[container["name"]]["terminated"]["exitCode"] != 0:
                return self.conclude()
            self.report()
        for container in self.spec["containers"]:
            if not self.start(container):
                return self.conclude()
        self.phase = "Running"
        self.report()
        names = [container["name"] for container in self.spec["containers"]]
        while running := [name for name in names if "running" in self.states[name]]:
            self.wait(running, first=True)
            if any("running" in self.states[name] for name in names):
                self.report()
        self.conclude()

    def conclude(self):
        self.kill()
        for container, _ in self.containers():
            # What never began has no state of its own.
            if "running" in self.states.get(container["name"], {}):
                self.finish(container["name"], 137)
        codes = [self.states.get(c["name"], {}).get("terminated", {}).get("exitCode") for c, _ in self.containers()]
        self.phase = "Succeeded" if all(code == 0 for code in codes) and not self.reason else "Failed"

    def start(self, container):
        """Whether it runs: False when the pod ends before."""
        name, pulls, told = container["name"], 0, None
        while not self.ending.is_set():
            try:
                if container["image"].startswith("fubini-test/missing"):
                    pulls += 1
                    text = 'Back-off pulling image "%s"' % container["image"] if pulls > 2 else (
                        'rpc error: code = NotFound desc = failed to pull and unpack image "%s": not found' % container["image"])
                    raise Waits("ImagePullBackOff" if pulls > 2 else "ErrImagePull", text, "BackOff" if pulls > 2 else "Failed")
                self.launch(container)
                return True
            except Waits as wait:
                self.states[name] = {"waiting": {"reason": wait.reason, "message": wait.message}}
                if told != wait.reason:
                    told = wait.reason
                    self.report()
                    self.cluster.event(self.pod, "Warning", wait.event, wait.message)
                self.ending.wait(0.5)
        return False

    def launch(self, container):
        name = container["name"]
        command, environment = self.words(container)
        arguments = self.sandbox(container, environment)
        log = open(self.log(name), "ab")
        read, write = os.pipe()
        process = subprocess.Popen(arguments + ["--info-fd", str(write), "--"] + command, stdin=subprocess.DEVNULL, stdout=log,
                                   stderr=log, pass_fds=[write], start_new_session=True)
        os.close(write)
        with os.fdopen(read) as info:
            try:
                self.children[name] = json.load(info)["child-pid"]
            except ValueError:
                pass  # it ended before it could say so: the wait tells
        log.close()
        self.processes[name] = process
        self.states[name] = {"running": {"startedAt": now()}}
        if container.get("readinessProbe"):
            threading.Thread(target=self.probe, args=(container,), daemon=True).start()
        image = container["image"]
        if image.startswith("fubini-test/oom"):
            threading.Timer(0.5, self.signal, (name, signal.SIGKILL, "OOMKilled")).start()
        if image.startswith("fubini-test/evict"):
            threading.Timer(0.5, self.fail, ("Evicted", "The node was low on resource: ephemeral-storage. ")).start()

    def wait(self, names, first=False):
        """Until they have ended, or one has; ends them, in order, when the pod is to end."""
        until = None
        while True:
            ended = [name for name in names if self.processes[name].poll() is not None]
            for name in ended:
                if "running" in self.states[name]:
                    self.finish(name, self.processes[name].returncode)
            if len(ended) == len(names) or (first and ended):
                return
            if self.ending.is_set() and until is None:
                grace = self.grace()
                until = time.monotonic() + grace
                for name in names:
                    self.signal(name, signal.SIGTERM if grace > 0 else signal.SIGKILL)
            if until is not None and time.monotonic() >= until:
                for name in names:
                    self.signal(name, signal.SIGKILL)
            time.sleep(0.02)

    def grace(self):
        if self.reason == "Evicted":
            return 0
        given = self.meta.get("deletionGracePeriodSeconds")
        return given if given is not None else self.spec.get("terminationGracePeriodSeconds", 30)

    def signal(self, name, number, reason=None):
        if reason and "running" in self.states.get(name, {}):
            self.states[name]["killed"] = reason
        child = self.children.get(name)
        process = self.processes.get(name)
        if process is None or process.poll() is not None:
            return
        try:
            os.kill(child, number) if child else process.send_signal(number)
        except ProcessLookupError:
            pass

    def kill(self):
        for name, process in list(self.processes.items()):
            self.signal(name, signal.SIGKILL)
            process.wait()

    def finish(self, name, code):
        state = self.states[name]
        code = 128 - code if code < 0 else code
        container = next(c for c, _ in self.containers() if c["name"] == name)
        reason = state.get("killed") or ("Completed" if code == 0 else "Error")
        message = self.termination(container, code)
        last = self.tail(name, 500).rsplit("\n", 2)[-2:] if code == 1 else [""]
        if code == 1 and any(line.startswith("bwrap: execvp") for line in last):
            code, reason, message = 128, "StartError", "failed to create containerd task: exec: " + last[0]
        self.states[name] = {"terminated": {
            "exitCode": code, "reason": reason, "message": message or None, "startedAt": state["running"]["startedAt"],
            "finishedAt": now(), "containerID": "bubblewrap://%s-%s" % (self.meta["uid"], name)}}

    def termination(self, container, code):
        with open(os.path.join(self.directory, container["name"] + ".message"), "rb") as file:
            text = file.read(4096).decode(errors="replace")
        if not text and code != 0 and container.get("terminationMessagePolicy") == "FallbackToLogsOnError":
            text = self.tail(container["name"], 2048)
        return text

    def log(self, name):
        os.makedirs(self.directory, exist_ok=True)
        return os.path.join(self.directory, name + ".log")

    def tail(self, name, count):
        with open(self.log(name), "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - count))
            return file.read().decode(errors="replace")

    def delete(self, pod):
        self.meta = pod["metadata"]
        self.deleted = True
        self.ending.set()
        if self.ended:
            self.cluster.pool.submit(self.remove)

    def remove(self):
        self.cluster.api.call("DELETE", pod_path(self.pod), {
            "gracePeriodSeconds": 0, "preconditions": {"uid": self.meta["uid"]}})
        shutil.rmtree(self.directory, ignore_errors=True)

    # How a container is made

    def words(self, container):
        api = self.cluster.api
        environment = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOSTNAME": self.meta["name"],
                       "HOME": "/", "KUBERNETES_SERVICE_HOST": api.host, "KUBERNETES_SERVICE_PORT": str(api.port)}
        for source in container.get("envFrom") or []:
            for kind, key in (("secrets", "secretRef"), ("configmaps", "configMapRef")):
                if reference := source.get(key):
                    for name, value in (self.data(kind, reference["name"], reference.get("optional"), "env") or {}).items():
                        environment[source.get("prefix", "") + name] = value.decode(errors="replace")
        for variable in container.get("env") or []:
            value = variable.get("value", "")
            if source := variable.get("valueFrom"):
                value = self.reference(source)
            if value is not None:
                environment[variable["name"]] = self.expand(value, environment)
        words = [self.expand(word, environment) for word in (container.get("command") or []) + (container.get("args") or [])]
        return words or ["/no-command-given"], environment

    @staticmethod
    def expand(text, environment):
        return re.sub(r"\$(\$|\(([A-Za-z_][A-Za-z0-9_.-]*)\))", lambda match: "$" if match.group(1) == "$" else environment.get(
            match.group(2), match.group(0)), text)

    def reference(self, source):
        for kind, key in (("secrets", "secretKeyRef"), ("configmaps", "configMapKeyRef")):
            if reference := source.get(key):
                data = self.data(kind, reference["name"], reference.get("optional"), "env")
                value = (data or {}).get(reference["key"])
                if value is None and not reference.get("optional"):
                    text = "couldn't find key %s in %s %s/%s" % (reference["key"], kind[:-1], self.meta["namespace"], reference["name"])
                    raise Waits("CreateContainerConfigError", text, "Failed")
                return None if value is None else value.decode(errors="replace")
        path = source.get("fieldRef", {}).get("fieldPath", "")
        if match := re.fullmatch(r"metadata\.(labels|annotations)\['(.*)'\]", path):
            return (self.meta.get(match.group(1)) or {}).get(match.group(2), "")
        fields = {"metadata.name": self.meta["name"], "metadata.namespace": self.meta["namespace"], "metadata.uid": self.meta["uid"],
                  "spec.nodeName": self.spec.get("nodeName"), "spec.serviceAccountName": self.spec.get("serviceAccountName"),
                  "status.podIP": "127.0.0.1", "status.hostIP": "127.0.0.1"}
        if path not in fields:
            raise Waits("CreateContainerConfigError", "kubelet.py cannot tell " + json.dumps(source), "Failed")
        return fields[path]

    def data(self, kind, name, optional, use):
        """What a Secret or a ConfigMap holds, as bytes."""
        status, found = self.cluster.api.call("GET", "/api/v1/namespaces/%s/%s/%s" % (self.meta["namespace"], kind, name))
        if status == 200:
            if kind == "secrets":
                return {key: base64.b64decode(value) for key, value in (found.get("data") or {}).items()}
            return {key: value.encode() for key, value in (found.get("data") or {}).items()}
        if optional:
            return None
        text = '%s "%s" not found' % (kind[:-1], name)
        if use == "env":
            raise Waits("CreateContainerConfigError", text, "Failed")
        raise Waits("ContainerCreating", 'MountVolume.SetUp failed for volume "%s" : %s' % (use, text), "FailedMount")

    def volume(self, volume):
        """The file or directory that stands for it."""
        name = volume["name"]
        if source := volume.get("hostPath"):
            if source.get("type") == "DirectoryOrCreate":
                os.makedirs(source["path"], exist_ok=True)
            return source["path"]
        if source := volume.get("persistentVolumeClaim"):
            path = "/api/v1/namespaces/%s/persistentvolumeclaims/%s" % (self.meta["namespace"], source["claimName"])
            if self.cluster.api.call("GET", path)[0] != 200:
                raise Waits("ContainerCreating", 'persistentvolumeclaim "%s" not found' % source["claimName"], "FailedMount")
            directory = os.path.join(self.cluster.options.directory, "claims", self.meta["namespace"], source["claimName"])
            os.makedirs(directory, exist_ok=True)
            return directory
        directory = os.path.join(self.directory, "volumes", name)
        if "emptyDir" not in volume and not os.path.isdir(directory):
            self.fill(volume, directory)
        os.makedirs(directory, exist_ok=True)
        return directory

    def fill(self, volume, directory):
        sources = volume.get("projected", {}).get("sources") or [volume]
        files = []
        for source in sources:
            if token := source.get("serviceAccountToken"):
                files.append((token["path"], self.token(token, volume["name"]), 0o644))
                continue
            if fields := source.get("downwardAPI"):
                files += [(item["path"], self.reference(item).encode(), 0o644) for item in fields["items"]]
                continue
            secret, config = source.get("secret"), source.get("configMap")
            if secret is None and config is None:
                raise Waits("ContainerCreating", "kubelet.py has no volumes like " + json.dumps(source), "FailedMount")
            what = secret if secret is not None else config
            data = self.data("secrets" if secret is not None else "configmaps", what.get("secretName") or what.get("name"),
                             what.get("optional"), volume["name"]) or {}
            mode = what.get("defaultMode") or (volume.get("projected") or {}).get("defaultMode") or 0o644
            items = what.get("items") or [{"key": key, "path": key} for key in data]
            for item in items:
                if item["key"] not in data:
                    raise Waits("ContainerCreating", 'MountVolume.SetUp failed for volume "%s" : references non-existent %s key: %s'
                                % (volume["name"], "secret" if secret is not None else "config", item["key"]), "FailedMount")
                files.append((item["path"], data[item["key"]], item.get("mode") or mode))
        for path, content, mode in files:
            path = os.path.join(directory, path)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "wb") as file:
                file.write(content)
            os.chmod(path, mode)

    def token(self, source, use):
        """Of the pod's service account, bound to the pod."""
        path = "/api/v1/namespaces/%s/serviceaccounts/%s/token" % (self.meta["namespace"], self.spec.get("serviceAccountName") or "default")
        status, made = self.cluster.api.call("POST", path, {"spec": {
            "audiences": [source["audience"]] if source.get("audience") else [], "expirationSeconds": source.get("expirationSeconds", 3600),
            "boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": self.meta["name"], "uid": self.meta["uid"]}}})
        if status != 201:
            raise Waits("ContainerCreating", 'MountVolume.SetUp failed for volume "%s" : %s' % (use, made.get("message")), "FailedMount")
        return made["status"]["token"].encode()

    def sandbox(self, container, environment):
        """bubblewrap's arguments: this machine's programs, a root of its own, its volumes."""
        security = {**(self.spec.get("securityContext") or {}), **(container.get("securityContext") or {})}
        user, group = security.get("runAsUser", 0), security.get("runAsGroup", security.get("runAsUser", 0))
        if security.get("runAsNonRoot") and user == 0:
            raise Waits("CreateContainerConfigError", "container has runAsNonRoot and image will run as root", "Failed")
        words = ["bwrap", "--unshare-user", "--uid", str(user), "--gid", str(group), "--unshare-pid", "--unshare-ipc", "--unshare-uts",
                 "--hostname", self.meta["name"], "--die-with-parent", "--new-session", "--as-pid-1", "--clearenv", "--tmpfs", "/"]
        for path in BOUND_DIRECTORIES:
            if os.path.islink(path):
                words += ["--symlink", os.readlink(path), path]
            elif os.path.isdir(path):
                words += ["--ro-bind", path, path]
        words += ["--proc", "/proc", "--dev", "/dev"]
        for path in ("/tmp", "/var/tmp", "/run", "/mnt", "/home", "/root", "/srv"):
            words += ["--dir", path]
        if program := self.cluster.programs.get(container["image"]):
            host, inside = program.split(":")
            words += self.place(inside, ["--ro-bind", host, inside])
        message = os.path.join(self.directory, container["name"] + ".message")
        os.makedirs(self.directory, exist_ok=True)
        open(message, "ab").close()
        os.chmod(message, 0o666)
        volumes = {volume["name"]: volume for volume in self.spec.get("volumes") or []}
        for mount in sorted(container.get("volumeMounts") or [], key=lambda mount: mount["mountPath"].count("/")):
            source = self.volume(volumes[mount["name"]])
            if mount.get("subPath"):
                source = os.path.join(source, mount["subPath"])
                if not os.path.exists(source):
                    os.makedirs(source)
            kind = volumes[mount["name"]]
            read_only = mount.get("readOnly") or "secret" in kind or "configMap" in kind or "projected" in kind
            words += self.place(mount["mountPath"], ["--ro-bind" if read_only else "--bind", source, mount["mountPath"]])
        path = container.get("terminationMessagePath") or "/dev/termination-log"
        words += self.place(path, ["--bind", message, path])
        for name, value in environment.items():
            words += ["--setenv", name, value]
        if security.get("readOnlyRootFilesystem"):
            words += ["--remount-ro", "/"]
        return words + ["--chdir", container.get("workingDir") or "/"]

    @staticmethod
    def place(path, words):
        """Within a directory of this machine nothing can be made: it is put together anew around the new entry."""
        parent = os.path.dirname(path.rstrip("/"))
        bound = any(path.startswith(directory + "/") for directory in BOUND_DIRECTORIES)
        if not bound or os.path.exists(path):
            return words
        while not os.path.isdir(parent):
            parent = os.path.dirname(parent)
        parent = os.path.realpath(parent)
        around = ["--tmpfs", parent]
        for entry in sorted(os.listdir(parent)):
            entry = os.path.join(parent, entry)
            around += ["--symlink", os.readlink(entry), entry] if os.path.islink(entry) else ["--ro-bind", entry, entry]
        return around + words


class Logs(http.server.BaseHTTPRequestHandler):
    """`/containerLogs/NAMESPACE/POD/CONTAINER`, as the API server asks a kubelet for it."""
    protocol_version = "HTTP/1.1"
    cluster = None

    def log_message(self, *words):
        pass

    def refuse(self, status, text):
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        address = urllib.parse.urlsplit(self.path)
        parts = address.path.strip("/").split("/")
        query = {key: values[-1] for key, values in urllib.parse.parse_qs(address.query).items()}
        if len(parts) != 4 or parts[0] != "containerLogs":
            return self.refuse(404, "not found")
        if unknown := set(query) - {"follow", "limitBytes", "tailLines"}:
            return self.refuse(400, "kubelet.py does not know " + ", ".join(unknown))
        _, namespace, name, container = parts
        with self.cluster.lock:
            pod = next((worker for worker in self.cluster.workers.values() if worker.pod["metadata"]["name"] == name
                        and worker.pod["metadata"]["namespace"] == namespace and isinstance(worker, Pod)), None)
        if pod is None or container not in pod.processes:
            return self.refuse(400, 'container "%s" in pod "%s" is waiting to start' % (container, name))
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        try:
            self.stream(pod, container, query)
            self.wfile.write(b"0\r\n\r\n")
        except OSError:
            self.close_connection = True

    def stream(self, pod, container, query):
        left = int(query.get("limitBytes", 1 << 62))
        with open(pod.log(container), "rb") as file:
            if "tailLines" in query:
                lines = file.read().splitlines(keepends=True)
                count = int(query["tailLines"])
                file.seek(sum(map(len, lines[:max(0, len(lines) - count)])))
            while left > 0:
                ended = pod.processes[container].poll() is not None
                data = file.read(min(65536, left))
                if data:
                    left -= len(data)
                    self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
                    self.wfile.flush()
                elif ended or query.get("follow") not in ("true", "1"):
                    return
                else:
                    time.sleep(0.05)


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, options):
        super().__init__(("127.0.0.1", options.port), Logs)
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(options.certificate, options.key)

    def finish_request(self, request, address):
        # In the connection's own thread: a client that does not shake hands keeps nobody else waiting.
        request.settimeout(600)
        super().finish_request(self.context.wrap_socket(request, server_side=True), address)

    def handle_error(self, request, address):
        pass


def main():
    parser = argparse.ArgumentParser()
    for name in ("server", "ca", "token", "certificate", "key", "directory", "nodes"):
        parser.add_argument("--" + name, required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--program", action="append", default=[])
    parser.add_argument("--instant", type=float)
    options = parser.parse_args()
    parent = os.getppid()
    cluster = Logs.cluster = Cluster(options)
    server = Server(options)
    cluster.register()
    for body in (server.serve_forever, cluster.heartbeats, cluster.observe, cluster.schedule):
        threading.Thread(target=body, daemon=True).start()
    print("ready", flush=True)
    while os.getppid() == parent:
        time.sleep(0.2)
    os._exit(0)  # bubblewrap ends with its parent, and so does everything in it


if __name__ == "__main__":
    main()
