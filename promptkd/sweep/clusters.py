"""The engines of clusters: jobs as Ray tasks, or as job arrays of SLURM."""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from promptkd import files
from promptkd.home import IMPORTED_FROM, command
from promptkd.sweep.engines import DEATHS, POLL
from promptkd.sweep.execute import execute
from promptkd.sweep.jobs import Job, Outcome
from promptkd.sweep.lock import holder
from promptkd.sweep.progress import Progress
from promptkd.texts import clipped, one_line


@dataclass(frozen=True)
class Cluster:
    """A Ray cluster, and the share of it that a run takes."""

    address: str = ""  # of a running cluster, or "auto"; "" starts Ray on this machine
    gpus: float | None = None  # of a run, 0.5 lets two share one; None is 1 where the cluster has any, else 0
    cpus: float = 1  # of a run
    workers: int = 0  # runs at a time where Ray is started here; 0: as many as the CPUs and GPUs take


def run_ray(
    jobs: Sequence[Job], known: Mapping[str, Outcome], cluster: Cluster, progress: Progress, since: str
) -> list[Outcome]:
    """Runs jobs as tasks of a Ray cluster, which places and pins them; a student waits for its teacher's task.

    A run that is killed is started again by its worker, a worker that is killed by Ray. The cluster's machines must see
    the project, the data and the output folder under the same paths.

    Args:
        jobs: what to run, each after the jobs that it needs.
        known: the outcomes of jobs that are not to run now.
        cluster: where.
        progress: shows what starts and ends.
        since: see `execute`.

    Raises:
        ValueError: Ray is not installed, or no machine of the cluster has what a run takes.
        OSError: no cluster at the address, or Ray does not start here.
    """
    try:
        import ray
    except ImportError as error:
        raise ValueError("--engine ray needs Ray: pip install 'ray>=2.30'") from error
    folder = os.getcwd()
    _connect(ray, cluster)
    try:
        share = cluster.gpus if cluster.gpus is not None else min(1.0, ray.cluster_resources().get("GPU", 0.0))
        _refuse_what_never_fits(cluster.cpus, share, [node["Resources"] for node in ray.nodes() if node["Alive"]])
        task = ray.remote(num_cpus=cluster.cpus, num_gpus=share, max_retries=DEATHS)(_ray_task)
        references: dict[str, Any] = {}
        for job in jobs:
            needed = [references.get(name) or known[name] for name in job.needs]
            references[job.name] = task.options(name=job.name).remote(job, since, folder, *needed)
        return _collect_ray(ray, jobs, references, progress)
    finally:
        ray.shutdown()


def _connect(ray: Any, cluster: Cluster) -> None:
    """Starts Ray, or connects to the cluster; its workers import this package as this process does.

    Raises:
        OSError: no cluster at the address, or Ray does not start here.
    """
    importable = str(IMPORTED_FROM)
    inherited = [entry for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry]
    paths = os.pathsep.join([importable, *inherited])
    options: dict[str, Any] = {"runtime_env": {"env_vars": {"PYTHONPATH": paths}}, "log_to_driver": False}
    if cluster.address:
        options["address"] = cluster.address
    elif cluster.workers:
        options["num_cpus"] = cluster.workers * cluster.cpus
    folder = os.getcwd()
    os.chdir(importable)  # Ray puts the current folder first on its workers' path: a json.py in it would be imported
    try:
        ray.init(**options)
    except Exception as error:  # Ray raises anything from ConnectionError to Exception itself
        where = f"at --address {cluster.address}" if cluster.address else "on this machine"
        raise OSError(f"Ray does not start {where}: {str(error).strip() or repr(error)}") from error
    finally:
        os.chdir(folder)


def _refuse_what_never_fits(cpus: float, gpus: float, machines: Sequence[Mapping[str, float]]) -> None:
    """Raises ValueError for runs that no machine has room for: Ray would wait for one for ever, without a word."""
    if gpus < 0 or cpus < 0 or (gpus > 1 and gpus != int(gpus)):
        raise ValueError(f"--gpus {gpus:g} --cpus {cpus:g}: give 0, a fraction of one, or whole GPUs; CPUs from 0 on")
    have = [(machine.get("CPU", 0.0), machine.get("GPU", 0.0)) for machine in machines]
    if not any(cpus <= its_cpus and gpus <= its_gpus for its_cpus, its_gpus in have):
        shapes = " and ".join(f"{its_cpus:g} CPUs with {its_gpus:g} GPUs" for its_cpus, its_gpus in sorted(set(have)))
        raise ValueError(
            f"--cpus {cpus:g} --gpus {gpus:g}: no machine of the cluster has that for a run (there are machines of "
            f"{shapes or 'nothing'}): ask for less, or add one"
        )


def _collect_ray(ray: Any, jobs: Sequence[Job], references: dict[str, Any], progress: Progress) -> list[Outcome]:
    """Waits for the tasks of the jobs, and cancels them after a Ctrl-C; returns the outcomes."""
    outcomes: dict[str, Outcome] = {}
    names = {reference: name for name, reference in references.items()}
    open_references = list(references.values())
    try:
        while open_references:
            done, open_references = ray.wait(open_references, timeout=POLL)
            for reference in done:
                name = names[reference]
                try:
                    outcomes[name] = ray.get(reference)
                except ray.exceptions.RayError as error:
                    # The cluster lost it, more often than it tries again; nothing is known against the run itself.
                    message = one_line(error) or repr(error)
                    outcomes[name] = Outcome(name, "lost", f"Ray: {clipped(message)}")
                progress.ended(outcomes[name])
            for job in jobs:  # Ray decides when a run starts: it has when its directory is locked
                if job.name not in outcomes and not progress.is_running(job) and holder(job.directory):
                    progress.started(job)
            progress.show()
    except KeyboardInterrupt:
        progress.say("Stopping the runs")
        for reference in open_references:
            ray.cancel(reference, force=False)
        ray.wait(open_references, num_returns=len(open_references), timeout=30)
    return [outcomes.get(job.name, Outcome(job.name, "interrupted")) for job in jobs]


def _ray_task(job: Job, since: str, folder: str, *needed: Outcome) -> Outcome:
    """Runs one job in a Ray worker, with `folder` as its current folder; waits where another sweep runs it."""
    if failed := [outcome.name for outcome in needed if outcome.state != "done"]:
        return Outcome(job.name, "blocked", f"needs {', '.join(failed)}")
    while (outcome := execute(job, deaths_allowed=DEATHS, since=since, folder=folder)).state == "busy":
        time.sleep(POLL)
    return outcome


def write_slurm(jobs: Sequence[Job], folder: Path, options: Sequence[str] = (), at_once: int = 0) -> Path:
    """Writes a job array for each stage (jobs that need nothing, jobs that need those, ...) and a script for them all.

    Args:
        jobs: what to run, each after the jobs that it needs.
        folder: where jobs.json, stage<N>.sbatch and submit.sh go.
        options: of sbatch, for every task, as "--partition=gpu".
        at_once: how many tasks of an array run at a time; 0: as many as fit.

    Returns:
        the script that submits everything.
    """
    folder = folder.absolute()
    listed = folder / "jobs.json"
    files.write_json(listed, [job.to_dict() for job in jobs])
    stages: dict[int, list[int]] = {}
    depth: dict[str, int] = {}
    for index, job in enumerate(jobs):
        depth[job.name] = max((depth[name] + 1 for name in job.needs if name in depth), default=0)
        stages.setdefault(depth[job.name], []).append(index)
    submit = [
        "#!/usr/bin/env bash",
        "# Submits the sweep; a stage starts when the one before it has ended.",
        "set -euo pipefail",
    ]
    for stage, indices in sorted(stages.items()):
        script = folder / f"stage{stage}.sbatch"
        files.write_text(script, _stage_script(stage, indices, listed, options, at_once))
        after = ' --dependency="afterany:$id"' if stage else ""
        submit.append(f'id=$(sbatch --parsable{after} {shlex.quote(str(script))}); echo "stage {stage}: $id"')
    path = folder / "submit.sh"
    files.write_text(path, "\n".join(submit) + "\n")
    return path


def _stage_script(stage: int, indices: Sequence[int], listed: Path, options: Sequence[str], at_once: int) -> str:
    """The script of a job array: each task runs the job of its index, in the folder that the sweep was started in."""
    array = ",".join(map(str, indices)) + (f"%{at_once}" if at_once else "")
    logs = str(listed.parent).replace("%", "%%") + "/slurm-%A_%a.log"  # sbatch reads %A in a path as a number
    lines = [
        "#!/usr/bin/env bash",
        f"#SBATCH --job-name=sweep-{stage}",
        f"#SBATCH --array={array}",
        f"#SBATCH --output={shlex.quote(logs)}",
        "#SBATCH --requeue",
        *(f"#SBATCH {option}" for option in options),
        "set -euo pipefail",
        f"cd {shlex.quote(os.getcwd())}",
        f'exec {shlex.join(command("job"))} {shlex.quote(str(listed))} "$SLURM_ARRAY_TASK_ID"',
    ]
    return "\n".join(lines) + "\n"
