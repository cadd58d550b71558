"""The image and the manifests for Kubernetes: valid, at one with each other and with the programs.

There is no Kubernetes here: :mod:`pods` imitates its pods. The image is not built.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import kubernetes_validate
import numpy as np
import pods
import pytest
import yaml
from scripts import ROOT
from yamllint import linter
from yamllint.config import YamlLintConfig

from dml import command_line, config, experiment
from dml.network import keys
from dml.network.peers import load
from dml.peers.config import ExperimentPeers, PeerConfig
from dml.plan import make_plan
from dml.results import checkpoint
from dml.shown_defaults import shown_defaults

K8S = ROOT / "scripts" / "k8s"
FILES = sorted(K8S.glob("*.yaml"))
RULES = YamlLintConfig("{extends: default, rules: {line-length: {max: 120}, document-start: disable}}")
OLDEST = "1.28"
"""The first version of Kubernetes that docs/containers.md names."""


def objects() -> list[dict[str, Any]]:
    return [found for file in FILES for found in yaml.safe_load_all(file.read_text()) if found]


def named(kind: str, name: str = "peers") -> dict[str, Any]:
    (found,) = [one for one in objects() if (one["kind"], one["metadata"]["name"]) == (kind, name)]
    return found


def pod_specs() -> list[dict[str, Any]]:
    return [named("Job")["spec"]["template"]["spec"], named("Pod", "files")["spec"]]


def containers() -> list[dict[str, Any]]:
    return [one for spec in pod_specs() for one in [*spec.get("initContainers", ()), *spec["containers"]]]


def own_files_and_peer() -> tuple[dict[str, Any], dict[str, Any]]:
    job, _ = pod_specs()
    (first,), (peer,) = job["initContainers"], job["containers"]
    return first, peer


@pytest.mark.parametrize("version", [OLDEST, kubernetes_validate.latest_version()])
def test_the_manifests_follow_the_schema(version: str):
    for found in objects():
        kubernetes_validate.validate(found, version, strict=True)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_the_linter_finds_nothing_in_a_manifest(file: Path):
    assert [str(problem) for problem in linter.run(file.read_text(), RULES)] == []


def test_the_linter_finds_nothing_in_the_dockerfile():
    path = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    call = ["hadolint", ROOT / "Dockerfile"]
    done = subprocess.run(call, env=path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_names_of_the_pods_are_those_of_the_file_of_peers():
    job, service = named("Job"), named("Service")
    spec = job["spec"]
    assert (spec["completionMode"], spec["completions"]) == ("Indexed", spec["parallelism"])
    assert spec["backoffLimit"] == 10 * spec["completions"]
    assert spec["template"]["spec"]["subdomain"] == service["metadata"]["name"]
    assert (service["spec"]["clusterIP"], service["spec"]["publishNotReadyAddresses"]) == ("None", True)
    host = f"{job['metadata']['name']}-%d.{service['metadata']['name']}"
    assert f'"- host: {host}\\n  port: {port()}\\n"' in (K8S / "prepare.sh").read_text()


def port() -> int:
    _, peer = own_files_and_peer()
    (found,) = peer["ports"]
    return int(found["containerPort"])


def test_peers_may_talk_to_peers_and_to_nobody_else():
    labels = named("Job")["spec"]["template"]["metadata"]["labels"]
    (own,) = named("Service")["spec"]["selector"].items()
    assert own in labels.items()
    assert own not in named("Pod", "files")["metadata"]["labels"].items()
    assert named("NetworkPolicy", "nobody")["spec"] == {
        "podSelector": {},
        "policyTypes": ["Ingress", "Egress"],
    }
    policy = named("NetworkPolicy")["spec"]
    peers = {"podSelector": {"matchLabels": dict([own])}}
    at = [{"port": port(), "protocol": "TCP"}]
    assert policy["podSelector"] == peers["podSelector"]
    assert policy["ingress"] == [{"from": [peers], "ports": at}]
    to_peers, to_names = policy["egress"]
    assert to_peers == {"to": [peers], "ports": at}
    assert {one["port"] for one in to_names["ports"]} == {53}
    (listed,) = named("Service")["spec"]["ports"]
    assert (listed["port"], listed["targetPort"]) == (port(), own_files_and_peer()[1]["ports"][0]["name"])


def test_no_container_has_a_privilege():
    enforced = named("Namespace", "distributed-ml")["metadata"]["labels"]
    assert enforced["pod-security.kubernetes.io/enforce"] == "restricted"
    for spec in pod_specs():
        context = spec["securityContext"]
        assert context["runAsNonRoot"]
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}
        assert spec["automountServiceAccountToken"] is False
        assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys()
        assert not [volume for volume in spec["volumes"] if "hostPath" in volume]
    for container in containers():
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert container["resources"]["requests"].keys() == {"cpu", "memory"}
        assert "memory" in container["resources"]["limits"]


def test_a_peer_sees_neither_the_secret_nor_the_parts_of_others():
    first, peer = own_files_and_peer()
    names = {volume["name"] for volume in pod_specs()[0]["volumes"]}
    assert {mount["name"] for mount in [*first["volumeMounts"], *peer["volumeMounts"]]} == names
    seen = {mount["name"]: mount for mount in peer["volumeMounts"]}
    assert "secret" not in seen
    assert seen["volume"]["subPath"] == "results"
    (secret,) = [mount for mount in first["volumeMounts"] if mount["name"] == "secret"]
    assert secret["subPathExpr"].replace("$(NODE)", "7") == keys.file_name("node 7", keys.SECRET)


def test_what_the_pods_mount_is_what_prepare_makes():
    job, files = pod_specs()
    claims = [
        volume["persistentVolumeClaim"]["claimName"]
        for spec in (job, files)
        for volume in spec["volumes"][:1]
    ]
    assert claims == [named("PersistentVolumeClaim")["metadata"]["name"]] * 2
    text = (K8S / "prepare.sh").read_text()
    (secret,) = [volume["secret"]["secretName"] for volume in job["volumes"] if "secret" in volume]
    assert f"create secret generic {secret} --from-file=$folder/keys" in text
    assert set(re.findall(r"scripts/k8s/(\w+\.yaml)", text)) == {file.name for file in FILES}
    assert {one["metadata"].get("namespace") for one in objects() if one["kind"] != "Namespace"} == {
        named("Namespace", "distributed-ml")["metadata"]["name"]
    }


def test_a_pod_calls_peer_with_flags_that_it_has():
    _, peer = own_files_and_peer()
    program, script = peer["command"]
    assert (program, (ROOT / script).is_file()) == ("python", True)
    fields = [*(("peer", flag, info) for flag, info in PeerConfig.flags()), *config.fields()]
    words = [word.replace("$(NODE)", "3") for word in peer["args"]]
    given = command_line.parse(fields, words, prog="", description="", defaults=shown_defaults())
    call = PeerConfig(**{flag: given.pop(flag) for flag, _ in PeerConfig.flags() if flag in given})
    assert (call.node, str(config.make(given).run.out_dir)) == (3, "/results")
    mounted = {mount["mountPath"] for mount in peer["volumeMounts"]}
    assert call.peers is not None
    assert {str(call.peers.parent), "/results"} < mounted
    variables = {variable["name"]: variable.get("value") for variable in peer["env"]}
    assert variables[keys.FOLDER_VARIABLE] in mounted


# Writes a file of peers as launch_peers.py does, without the time that its data take; calls other programs.
PYTHON = """#!/bin/bash
if [[ $1 != */launch_peers.py ]]; then exec {python} "$@"; fi
mkdir -p "${{@: -1}}"
printf 'nodes:\\n- port: 40001\\n- port: 40002\\n- port: 40003\\nparts: .\\n' > "${{@: -1}}/peers.yaml"
"""


def prepare(folder: Path, *words: object, **variables: str) -> "subprocess.CompletedProcess[str]":
    call = [K8S / "prepare.sh", folder, *map(str, words)]
    environment = {**os.environ, "PYTHON": sys.executable, **variables}
    return subprocess.run(call, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


def test_prepare_writes_hosts_and_keys_that_peers_take(tmp_path: Path):
    (tmp_path / "python").write_text(PYTHON.format(python=sys.executable))
    (tmp_path / "python").chmod(0o755)
    done = prepare(tmp_path / "files", PYTHON=str(tmp_path / "python"))
    assert (done.returncode, len(done.stdout.splitlines())) == (0, 5)
    assert "change completions and parallelism in scripts/k8s/job.yaml to 3, " in done.stderr
    peers = load(tmp_path / "files" / "experiment" / "peers.yaml", ExperimentPeers)
    assert [(node.host, node.port) for node in peers.nodes] == [
        (f"peers-{i}.peers", port()) for i in range(3)
    ]
    own = [keys.load(tmp_path / "files" / "keys" / f"node_{i}{keys.SECRET}").public for i in range(3)]
    assert own == [node.public_key for node in peers.nodes]
    again = prepare(tmp_path / "files", PYTHON=str(tmp_path / "python"))
    assert (again.returncode, again.stderr) == (
        2,
        f"error: {tmp_path / 'files'} is there already, and keys are never changed; give a new folder\n",
    )


def instructions() -> list[list[str]]:
    text = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
    return [line.split() for line in text.splitlines() if line and not line.startswith("#")]


def test_the_image_is_that_of_the_manifests_and_of_its_user():
    (image,) = {container["image"] for container in containers()}
    assert f"docker build -t {image} ." in (ROOT / "Dockerfile").read_text()
    (user,) = [words[1] for words in instructions() if words[0] == "USER"]
    for spec in pod_specs():
        context = spec["securityContext"]
        assert user == f"{context['runAsUser']}:{context['runAsGroup']}"


def test_the_image_gets_what_it_needs_and_nothing_that_is_private():
    copied = [word for words in instructions() if words[0] == "COPY" for word in words[1:-1]]
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert {line[1:] for line in ignored if line.startswith("!")} == set(copied)
    assert "*" in ignored
    assert all((ROOT / name).exists() for name in copied)
    included = re.findall(r"^-r (.*)$", (ROOT / "requirements.txt").read_text(), re.MULTILINE)
    assert set(included) < set(copied)


@pytest.mark.slow
def test_the_pods_of_the_job_train_the_models_of_one_process(tmp_path: Path):
    """As the manifest's user, without capabilities, on a file system that cannot be changed."""
    if reason := pods.why_not():
        pytest.skip(reason)
    flags = {"topology_file": "cycle:n=4", "rounds": 2, "engine": "loop", "threads": 1}
    words = [word for flag, value in flags.items() for word in (f"--{flag}", value)]
    assert prepare(tmp_path / "files", *words, DML_KEYS=str(tmp_path / "own")).returncode == 0
    job = named("Job")
    volume, secret = as_on_a_cluster(tmp_path / "files", tmp_path, job)
    hosts = tmp_path / "hosts"
    hosts.write_text("".join(f"127.0.0.{i + 2} peers-{i}.peers\n" for i in range(4)))
    first, peer = own_files_and_peer()
    there = {"volume": volume, "secret": secret}
    of_job = [pods.Pod(job, i, tmp_path / f"pod_{i}", there, hosts) for i in range(4)]
    probe = "id -u; touch /app/x /own/x || ls /volume /secret || grep ^CapEff /proc/self/status"
    probed = (
        of_job[3].start({**peer, "command": ["bash", "-c", probe], "args": []}).communicate(timeout=60)[0]
    )
    assert probed.splitlines()[0] == "10001"
    assert probed.count("Read-only file system") == probed.count("No such file or directory") == 2
    assert re.search(r"CapEff:\s0+$", probed)
    for container in (first, peer):
        started = [pod.start(container) for pod in of_job]
        said = [process.communicate(timeout=120)[0] for process in started]
        assert [process.returncode for process in started] == [0] * 4, said
    for i in range(4):
        of_pod = {path.name for path in (tmp_path / f"pod_{i}").rglob("*.*") if path.is_file()}
        of_all = {"peers.yaml", "public_keys.yaml", "tests.safetensors"}
        assert of_pod == {f"node_{i}.key_secret", f"part_{i}.safetensors"} | of_all
    alone = make_plan(config.make({**flags, "out_dir": tmp_path / "alone"}))
    experiment.run(alone.config)
    (theirs,) = [path for path in (volume / "results").iterdir() if path.suffix == ".h5"]
    models = [checkpoint.read(checkpoint.path_of(path), alone.identity.id) for path in (theirs, alone.result)]
    assert models[0] is not None
    assert models[1] is not None
    np.testing.assert_array_equal(models[0].X, models[1].X)


def as_on_a_cluster(files: Path, folder: Path, job: dict[str, Any]) -> tuple[Path, Path]:
    """The volume, whose owner is the user of the pods, and the secret, which their group can read."""
    user = job["spec"]["template"]["spec"]["securityContext"]["fsGroup"]
    volume, secret = folder / "volume", folder / "secret"
    shutil.copytree(files / "experiment", volume / "experiment")
    (volume / "results").mkdir()
    shutil.copytree(files / "keys", secret)
    for path in (volume, *volume.rglob("*")):
        os.chown(path, user, user)
    for path in secret.iterdir():
        os.chown(path, 0, user)
        path.chmod(0o440)
    return volume, secret
