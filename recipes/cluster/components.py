"""Components and pipeline of `recipes.cluster.pipeline` in kfp's terms; importing it needs kfp.

A component's function is sent as source text and run in the container (or here), so each stands on
its own. Annotations are read by kfp as objects; hence no ``from __future__ import annotations``.
"""

from collections.abc import Sequence
from typing import Any

from ivector.base.extras import told_extra

with told_extra():
    from kfp import dsl, kubernetes
    from kfp.dsl import HTML, Metrics, Output

# A machine may be taken away many times in the days that a large corpus takes.
RETRIES = 20
BACK_OFF = {"backoff_duration": "30s", "backoff_factor": 2.0, "backoff_max_duration": "600s"}
LABEL = ("app.kubernetes.io/part-of", "ivector-plda")  # kubernetes/network.yaml lets these in
SPOT = ("cloud.google.com/gke-spot", "true")  # the taint of pre-emptible machines
GPU = "nvidia.com/gpu"


def run_stages(command: str, options: str, work: str) -> None:
    """Run ``command --data WORK/data --exp WORK/exp OPTIONS``."""
    import shlex
    import subprocess

    words = [*shlex.split(command), "--data", f"{work}/data", "--exp", f"{work}/exp"]
    words += shlex.split(options)
    print("+", shlex.join(words), flush=True)
    subprocess.run(words, check=True)


def run_report(
    command: str, options: str, work: str, page: Output[HTML], rates: Output[Metrics]
) -> None:
    """Run the command as the others do, then hand the page and the error rates to Kubeflow."""
    import json
    import shlex
    import shutil
    import subprocess

    words = [*shlex.split(command), "--data", f"{work}/data", "--exp", f"{work}/exp"]
    words += shlex.split(options)
    print("+", shlex.join(words), flush=True)
    subprocess.run(words, check=True)
    shutil.copyfile(f"{work}/exp/report/report.html", page.path)
    with open(f"{work}/exp/report/results.json", encoding="utf-8") as file:
        rows = json.load(file)
    for row in rows:
        if row["part"] == "all":
            rates.log_metric(f"EER % of {row['system']}", round(100 * row["eer"], 2))


def make_component(name: str, image: str) -> Any:
    """kfp's component of a step; the container image holds the repository and kfp."""
    function = run_report if name == "report" else run_stages
    component = dsl.component(function, base_image=image, install_kfp_package=False)
    component.component_spec.name = component.name = name
    return component


def make_pipeline(
    name: str,
    steps: Sequence[Any],
    commands: Sequence[str],
    work: str,
    image: str,
    claim: str,
    mount: str,
    gpu: bool = False,
) -> Any:
    """The pipeline; its parameters are the options of ``run.sh`` and the folder of the run.

    Parameters
    ----------
    name : str
    steps : sequence of `recipes.cluster.pipeline.Step`
    commands : sequence of str
        Of the steps.
    work : str
        Where the run lies unless its parameter says otherwise.
    image, claim, mount : str
        Container image; claim of the shared volume and where it is seen.
    gpu : bool
        Ask for a GPU where networks are trained.
    """

    @dsl.pipeline(name=name, description="Speaker verification, from recordings to report")
    def recipe(options: str = "", work: str = work) -> None:
        tasks: dict[str, Any] = {}
        for step, command in zip(steps, commands):
            component = make_component(step.name, image)
            task = component(command=command, options=options, work=work)
            task.after(*(tasks[other] for other in step.after if other in tasks))
            # What is done already is told by the volume, at which Kubeflow's cache does not look.
            task.set_caching_options(False)
            task.set_retry(RETRIES, **BACK_OFF)
            task.set_cpu_request(step.cpu).set_cpu_limit(step.cpu)
            task.set_memory_request(step.memory).set_memory_limit(step.memory)
            if gpu and step.trains_network:
                task.set_accelerator_type(GPU).set_accelerator_limit(1)
            kubernetes.mount_pvc(task, pvc_name=claim, mount_path=mount)
            kubernetes.add_toleration(
                task, key=SPOT[0], operator="Equal", value=SPOT[1], effect="NoSchedule"
            )
            kubernetes.add_pod_label(task, label_key=LABEL[0], label_value=LABEL[1])
            tasks[step.name] = task

    return recipe
