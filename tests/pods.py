"""Pods of a manifest as processes of this machine, as there is no Kubernetes for the tests.

A pod has a file system of its own: that of this machine, which it cannot change, with the volumes of the
manifest in their places. Its processes run as the user of the manifest, without any capability. All pods are
on the loopback interface, each with an address of its own. Limits of memory and the policies of the network
are not imitated.
"""

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from scripts import ROOT

ENVIRONMENT = Path(sys.prefix)
SYSTEM = ("/bin", "/sbin", "/lib", "/lib64", "/usr", "/opt", "/etc", "/proc", "/dev")


def why_not() -> str | None:
    """Why there can be no pods on this machine, as a plain line; None if there can be some."""
    if os.geteuid() != 0:
        return "pods have file systems of their own, which needs root"
    if not (shutil.which("unshare") and shutil.which("setpriv")):
        return "pods need unshare and setpriv of util-linux"
    tried = ["unshare", "--mount", "mount", "-t", "tmpfs", "none", "/mnt"]
    done = subprocess.run(tried, capture_output=True, text=True, check=False)
    return f"pods cannot be made here: {done.stderr.strip()}" if done.returncode else None


class Pod:
    """One pod of an indexed Job.

    Args:
        job: the manifest.
        index: the number of the pod.
        folder: for its files; it is made.
        volumes: the content of volumes by name; the others are empty.
        hosts: the content of ``/etc/hosts``.
    """

    def __init__(
        self, job: Mapping[str, Any], index: int, folder: Path, volumes: Mapping[str, Path], hosts: Path
    ) -> None:
        self._spec = job["spec"]["template"]["spec"]
        self._index, self._folder, self._hosts = index, folder, hosts
        self._user = self._spec["securityContext"]["runAsUser"]
        (folder / "root").mkdir(parents=True)
        self._volumes = {}
        for volume in self._spec["volumes"]:
            self._volumes[volume["name"]] = volumes.get(volume["name"], folder / volume["name"])
            if "emptyDir" in volume:
                (folder / volume["name"]).mkdir()
                os.chown(folder / volume["name"], self._user, self._user)

    def start(self, container: Mapping[str, Any]) -> "subprocess.Popen[str]":
        """Starts one of its containers."""
        script = "\n".join(["set -eu", *self._root(), *self._mounts(container), self._call(container)])
        return subprocess.Popen(
            ["unshare", "--mount", "--propagation", "private", "bash", "-c", script],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def _root(self) -> list[str]:
        root = self._folder / "root"
        lines = [f"mount -t tmpfs none {root}"]
        for folder in SYSTEM:
            if Path(folder).is_symlink():
                lines.append(f"cp -P {folder} {root}{folder}")
            elif Path(folder).exists():
                lines += [f"mkdir {root}{folder}", f"mount --rbind {folder} {root}{folder}"]
        lines.append(f"mount --bind {self._hosts} {root}/etc/hosts")
        python = Path(sys.base_prefix)
        if not any(python.is_relative_to(folder) for folder in SYSTEM):
            lines += _bind(python, f"{root}{python}", True)
        return [*lines, *_bind(ROOT, f"{root}/app", True), *_bind(ENVIRONMENT, f"{root}/venv", True)]

    def _mounts(self, container: Mapping[str, Any]) -> list[str]:
        lines: list[str] = []
        for mount in container["volumeMounts"]:
            sub = mount.get("subPath") or self._filled(mount.get("subPathExpr", ""))
            source = self._volumes[mount["name"]] / sub
            lines += _bind(
                source, f"{self._folder / 'root'}{mount['mountPath']}", mount.get("readOnly", False)
            )
        assert container["securityContext"]["readOnlyRootFilesystem"]
        return [*lines, f"mount -o remount,ro {self._folder / 'root'}"]

    def _call(self, container: Mapping[str, Any]) -> str:
        variables = {
            "PATH": "/venv/bin:/usr/bin:/bin",
            "PYTHONPATH": "/app/src",
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        for variable in container["env"]:
            variables[variable["name"]] = variable.get("value", str(self._index))
        words = [self._filled(word) for word in [*container["command"], *container.get("args", ())]]
        own = [f"{name}={value}" for name, value in variables.items()]
        user = (
            f"setpriv --reuid {self._user} --regid {self._user} --clear-groups --no-new-privs --inh-caps=-all"
        )
        inside = f"cd /app; exec {user} --bounding-set=-all env -i {shlex.join([*own, *words])}"
        return f"exec chroot {self._folder / 'root'} bash -c {shlex.quote(inside)}"

    def _filled(self, text: str) -> str:
        return text.replace("$(NODE)", str(self._index))


def _bind(source: Path, target: str, read_only: bool) -> Sequence[str]:
    made = f"mkdir -p {target}" if source.is_dir() else f"mkdir -p {Path(target).parent}; touch {target}"
    lines = [made, f"mount --bind {source} {target}"]
    return [*lines, f"mount -o remount,bind,ro {target}"] if read_only else lines
