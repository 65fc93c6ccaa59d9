"""Cluster set-ups: files parse and fit their tools' schemas, and name what `run.sh` knows.

Checks that need a tool (kfp, dask-jobqueue, dask-kubernetes, kubernetes-validate, kubectl) skip
where it is not installed; ``NEEDS=cluster bash tests/run.sh`` has all of them from pip.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ivector.base.errors import UsageError
from recipes.cluster import pipeline
from recipes.engine.driver import stages
from recipes.engine.settings import Settings, read
from recipes.systems import STAGES, SYSTEMS, trunk_of

ROOT = Path(__file__).resolve().parents[2]
CLUSTER = ROOT / "recipes/cluster"
MANIFESTS = sorted((CLUSTER / "kubernetes").glob("*.yaml"))
KUBERNETES = "1.30"  # checked against the schemas of this version


def settings(words: list[str]) -> Settings:
    """What ``run.sh`` makes of a command; all its options are good ones."""
    assert words[:2] == ["bash", "recipes/run.sh"]
    return read(words[2:], ROOT)


def documents(path: Path) -> list[dict]:
    """Objects of a YAML file."""
    yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")
    return [found for found in yaml.safe_load_all(path.read_text(encoding="utf-8")) if found]


def manifests() -> dict[str, dict]:
    """Every Kubernetes object, by kind."""
    return {
        found["kind"]: found
        for path in MANIFESTS
        if path.name != "kustomization.yaml"
        for found in documents(path)
    }


def pod_specs() -> dict[str, dict]:
    """Specifications of the pods that the manifests make."""
    found = manifests()
    cluster = found["DaskCluster"]["spec"]
    return {
        "scheduler": cluster["scheduler"]["spec"],
        "worker": cluster["worker"]["spec"],
        "recipe": found["Job"]["spec"]["template"]["spec"],
    }


# Pipeline


def test_stages_are_complete_and_in_order():
    steps = pipeline.chosen(pipeline.ALL_SYSTEMS)
    assert steps == list(pipeline.STEPS)
    names = [step.name for step in steps]
    assert len(set(names)) == len(names)
    stages = []
    for i, step in enumerate(steps):
        assert set(step.after) <= set(names[:i])
        words = step.arguments.split()
        first, last = (int(words[words.index(o) + 1]) for o in ("--stage", "--stop-stage"))
        stages += range(first, last + 1)
        system = words[words.index("--system") + 1] if "--system" in words else "all"
        assert system == "all" or system in step.systems
        for other in (steps[names.index(name)] for name in step.after):
            stop = other.arguments.split()
            assert int(stop[stop.index("--stop-stage") + 1]) < first
    assert set(stages) == set(range(11))


def test_documentation_names_every_component():
    text = (CLUSTER / "README.md").read_text(encoding="utf-8")
    names = set(re.findall(r"[\w-]+", text[text.index("| component |") :]))
    assert [step.name for step in pipeline.STEPS if step.name not in names] == []


@pytest.mark.parametrize("system", pipeline.ALL_SYSTEMS)
def test_a_system_alone_has_what_it_needs(system):
    steps = pipeline.chosen([system])
    names = [step.name for step in steps]
    assert names[:2] == ["corpus", "features"]
    assert names[-2:] == ["calibration-and-fusion", "report"]
    assert all(set(step.after) & set(names) for step in steps[1:])
    assert len(steps) == (9 if system in ("ivector", "cosine") else 6)


@pytest.mark.parametrize("step", pipeline.STEPS, ids=lambda step: step.name)
def test_run_sh_accepts_a_components_command(step):
    options = pipeline.MINIATURE
    if step.systems == ("embedder",):
        options += " --embedder setup.cfg --embedder-front-end waveform"  # not opened here
    words = pipeline.whole_command(step, pipeline.SYSTEMS, "/w", options)
    found = settings(shlex.split(words))
    (number,) = stages(found)
    assert found.common.exp == Path("/w/exp") and found.common.num_components == 8
    # It has something to do there, for a system that needs the component.
    names = [name for group in STAGES[number].steps for name in group]
    users = step.systems or pipeline.ALL_SYSTEMS
    assert number in (0, 1, 9, 10) or any(
        SYSTEMS[trunk].steps.get(name) == number
        for name in names
        for system in users
        for trunk in (system, trunk_of(system))
    )


def test_an_option_that_run_sh_has_not_is_noticed():
    with pytest.raises(UsageError, match="unknown option --nonsense"):
        settings("bash recipes/run.sh --nonsense 1".split())


def test_commands_are_printed_without_kfp():
    command = [sys.executable, "-S", CLUSTER / "pipeline.py", "--commands", "--systems", "ivector"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    assert lines[0] == "# corpus"
    assert lines[1].startswith("bash recipes/run.sh --stage 0 --stop-stage 0 --resume true --data")
    assert len(lines) == 18


def test_pipeline_compiles(tmp_path):
    pytest.importorskip("kfp", reason="kfp is not installed (pip install -e .[pipeline])")
    path = tmp_path / "new" / "pipeline.yaml"
    words = ["--compile", str(path), "--image", "example.org/x:1", "--claim", "mine", "--gpu"]
    assert pipeline.main(words) == 0
    (spec, platform) = documents(path)
    tasks = spec["root"]["dag"]["tasks"]
    steps = {step.name: step for step in pipeline.chosen(pipeline.SYSTEMS)}
    assert set(tasks) == set(steps)
    executors = spec["deploymentSpec"]["executors"]
    pods = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    for name, task in tasks.items():
        given = task["inputs"]["parameters"]
        command = given["command"]["runtimeValue"]["constant"]
        assert command == pipeline.command(steps[name], pipeline.SYSTEMS)
        assert given["options"] == {"componentInputParameter": "options"}
        after = [other for other in steps[name].after if other in steps]
        assert sorted(task.get("dependentTasks", [])) == sorted(after)
        assert task["retryPolicy"]["maxRetryCount"] >= 10
        assert not task["cachingOptions"].get("enableCache")
        container = executors[f"exec-{name}"]["container"]
        assert container["image"] == "example.org/x:1"
        assert "pip install" not in " ".join(container["command"])
        assert ("accelerator" in container["resources"]) == steps[name].trains_network
        (mount,) = pods[f"exec-{name}"]["pvcMount"]
        assert (mount["constant"], mount["mountPath"]) == ("mine", pipeline.VOLUME)
        assert pods[f"exec-{name}"]["tolerations"][0]["key"] == "cloud.google.com/gke-spot"


@pytest.mark.slow
def test_pipeline_runs_with_the_subprocess_runner(tmp_path):
    pytest.importorskip("kfp", reason="kfp is not installed (pip install -e .[pipeline])")
    options = f"{pipeline.MINIATURE} --nj 1 --dev-folds 0 --bootstrap 20"
    command = [sys.executable, CLUSTER / "pipeline.py", "--local", "run", "--options", options]
    done = subprocess.run(
        [*command, "--systems", "gmm-ubm"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "| gmm-ubm | all " in done.stdout
    (page,) = (tmp_path / "run/kubeflow").glob("*/report/page")
    assert "<html" in page.read_text(encoding="utf-8")
    order = re.findall(r"Executing task \S*?'([a-z-]+)'", done.stdout + done.stderr)
    assert sorted(order) == sorted(step.name for step in pipeline.chosen(["gmm-ubm"]))


# Kubernetes


def test_manifests_fit_together():
    found = manifests()
    assert set(found) == {
        "PersistentVolumeClaim", "NetworkPolicy", "DaskCluster", "DaskAutoscaler", "Job"
    }  # fmt: skip
    cluster = found["DaskCluster"]["metadata"]["name"]
    assert found["DaskAutoscaler"]["spec"]["cluster"] == cluster
    scheduler = found["DaskCluster"]["spec"]["scheduler"]
    assert scheduler["service"]["selector"]["dask.org/cluster-name"] == cluster
    (driver,) = pod_specs()["recipe"]["containers"]
    assert f"--scheduler=tcp://{cluster}-scheduler:8786" in driver["args"]
    assert found["PersistentVolumeClaim"]["metadata"]["name"] == pipeline.CLAIM
    for name in ("worker", "recipe"):
        claims = [v.get("persistentVolumeClaim") for v in pod_specs()[name]["volumes"]]
        assert {"claimName": pipeline.CLAIM} in claims
        mounts = pod_specs()[name]["containers"][0]["volumeMounts"]
        assert {"name": "workspace", "mountPath": pipeline.VOLUME} in mounts
    assert (
        found["Job"]["metadata"]["labels"].items()
        <= {**found["Job"]["spec"]["template"]["metadata"]["labels"]}.items()
    )
    (kustomization,) = documents(CLUSTER / "kubernetes/kustomization.yaml")
    others = {path.name for path in MANIFESTS} - {"kustomization.yaml"}
    assert set(kustomization["resources"]) == others


def test_pods_are_not_root_and_workers_alone_are_pre_emptible():
    specs = pod_specs()
    for spec in specs.values():
        assert spec["securityContext"]["runAsNonRoot"] and not spec["automountServiceAccountToken"]
        (container,) = spec["containers"]
        assert container["securityContext"]["allowPrivilegeEscalation"] is False
        assert container["image"] == "ivector-plda"
        assert "memory" in container["resources"]["limits"]
    assert specs["worker"]["nodeSelector"] == {"cloud.google.com/gke-spot": "true"}
    assert specs["worker"]["terminationGracePeriodSeconds"] < 30
    assert not any("tolerations" in specs[name] for name in ("scheduler", "recipe"))


def test_run_sh_accepts_the_jobs_command():
    (container,) = pod_specs()["recipe"]["containers"]
    assert settings(container["args"]).common.backend == "dask"


def test_dask_accepts_the_arguments_of_scheduler_and_worker():
    pytest.importorskip("distributed", reason="dask is not installed (pip install -e .[scale])")
    from distributed.cli import dask_scheduler, dask_worker

    for name, module in (("scheduler", dask_scheduler), ("worker", dask_worker)):
        (container,) = pod_specs()[name]["containers"]
        program, verb, *words = container["args"]
        assert (program, verb) == ("dask", name)
        module.main.make_context(verb, words)


def test_plain_objects_fit_the_schemas_of_kubernetes():
    validate = pytest.importorskip(
        "kubernetes_validate", reason="kubernetes-validate is not installed"
    ).validate
    found = manifests()
    for kind in ("PersistentVolumeClaim", "NetworkPolicy", "Job"):
        validate(found[kind], KUBERNETES, strict=True)
    # The operator's own schema lets unknown keys of a pod pass.
    for name, spec in pod_specs().items():
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}
        validate(pod, KUBERNETES, strict=True)
        pod["spec"] = {**spec, "nonsense": 1}
        with pytest.raises(Exception, match="nonsense"):
            validate(pod, KUBERNETES, strict=True)
    service = found["DaskCluster"]["spec"]["scheduler"]["service"]
    meta = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "scheduler"}}
    validate({**meta, "spec": service}, KUBERNETES, strict=True)


@pytest.mark.parametrize("kind", ["DaskCluster", "DaskAutoscaler"])
def test_dask_objects_fit_the_operators_schemas(kind):
    import importlib.util

    jsonschema = pytest.importorskip("jsonschema", reason="jsonschema is not installed")
    package = importlib.util.find_spec("dask_kubernetes")
    if package is None or package.origin is None:
        pytest.skip("dask-kubernetes is not installed (pip install -e .[cluster])")
    charts = Path(package.origin).parent / "operator/deployment/helm"
    (definition,) = documents(charts / f"dask-kubernetes-operator/crds/{kind.lower()}.yaml")
    found = manifests()[kind]
    group, version = found["apiVersion"].split("/")
    assert (definition["spec"]["group"], definition["spec"]["names"]["kind"]) == (group, kind)
    (served,) = [v for v in definition["spec"]["versions"] if v["name"] == version]
    schema = served["schema"]["openAPIV3Schema"]
    jsonschema.validate(found, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**found, "spec": {}}, schema)


def test_kustomize_builds_all():
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not installed")
    command = ["kubectl", "kustomize", str(CLUSTER / "kubernetes")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    images = re.findall(r"image: (\S+)", done.stdout)
    assert images == ["registry.example.org/ivector-plda:latest"] * 3
    assert done.stdout.count("namespace: ivector\n") == 5


# SLURM


def start(tmp_path: Path, *words: str) -> subprocess.CompletedProcess:
    """Run ``start.py`` with a home folder of its own."""
    pytest.importorskip(
        "dask_jobqueue", reason="dask-jobqueue is not installed (pip install -e .[slurm])"
    )
    environment = {k: v for k, v in os.environ.items() if not k.startswith("DASK_")}
    environment |= {"HOME": str(tmp_path), "DASK_CONFIG": str(tmp_path / ".config/dask")}
    return subprocess.run(
        [sys.executable, CLUSTER / "slurm/start.py", *words],
        cwd=tmp_path, env=environment, capture_output=True, text=True,
    )  # fmt: skip


def test_job_script_of_a_slurm_worker(tmp_path):
    done = start(tmp_path, "--print")
    assert done.returncode == 0, done.stderr
    for line in (
        "-p preemptible", "--cpus-per-task=8", "--mem=32G", "-t 04:00:00", "--requeue",
        "--open-mode=append",
    ):  # fmt: skip
        assert f"#SBATCH {line}\n" in done.stdout
    (worker,) = [line for line in done.stdout.splitlines() if "dask_worker" in line]
    assert worker.startswith(f"{sys.executable} -m distributed.cli.dask_worker tcp://")
    assert "--nthreads 1 --memory-limit 4.00GiB --nworkers 8" in worker
    assert "--death-timeout 300" in worker and "--lifetime 225m" in worker
    assert "OMP_NUM_THREADS=1" in done.stdout


def test_users_configuration_of_slurm_wins(tmp_path):
    own = tmp_path / ".config/dask/jobqueue.yaml"
    own.parent.mkdir(parents=True)
    own.write_text("jobqueue: {slurm: {queue: mine, account: lab, cores: 4, processes: 4}}\n")
    done = start(tmp_path, "--print")
    assert done.returncode == 0, done.stderr
    assert "#SBATCH -p mine\n#SBATCH -A lab\n" in done.stdout
    assert "--nworkers 4" in done.stdout and "-t 04:00:00" in done.stdout


def test_jobqueue_file_has_only_keys_that_dask_jobqueue_knows():
    (own,) = documents(CLUSTER / "slurm/jobqueue.yaml")
    assert own["distributed"]["scheduler"]["allowed-failures"] >= 100
    package = pytest.importorskip(
        "dask_jobqueue", reason="dask-jobqueue is not installed (pip install -e .[slurm])"
    )
    (known,) = documents(Path(package.__file__).with_name("jobqueue.yaml"))
    assert set(own["jobqueue"]["slurm"]) <= set(known["jobqueue"]["slurm"])


def test_driver_job_is_bash_and_its_command_is_known():
    script = CLUSTER / "slurm/recipe.sbatch"
    subprocess.run(["bash", "-n", script], check=True)
    text = script.read_text(encoding="utf-8")
    directives = re.findall(r"^#SBATCH (.*)$", text, re.M)
    assert "--requeue" in directives and "--open-mode=append" in directives
    (line,) = re.findall(r"^(bash recipes/run.sh .*) \"\$@\" &$", text, re.M)
    line = line.replace("${SLURM_CPUS_PER_TASK:-2}", "2")
    assert settings(shlex.split(line)).common.backend == "dask"


# Container


def test_container_file_copies_what_the_context_has():
    text = (CLUSTER / "Containerfile").read_text(encoding="utf-8")
    kept = (CLUSTER / "Containerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    allowed = {line[1:] for line in kept if line.startswith("!")}
    copied = set()
    for line in re.findall(r"^COPY (.*)$", text, re.M):
        *sources, _ = line.split()
        copied |= {source.split("/")[0] for source in sources}
        assert all((ROOT / source).exists() for source in sources)
    assert copied == allowed
    assert text.index("USER ") < text.index("RUN bash recipes/run.sh")
    (extras,) = re.findall(r"^ARG EXTRAS=(\S+)$", text, re.M)
    setup = (ROOT / "setup.cfg").read_text(encoding="utf-8")
    assert all(f"\n{extra} =\n" in setup for extra in extras.split(","))
    (line,) = re.findall(r"^RUN (bash recipes/run.sh (?:.*\\\n)*.*?)\s*\\?\n +&&", text, re.M)
    words = shlex.split(line.replace("\\\n", " "))
    assert settings(words)


def test_readme_names_files_and_options_that_exist():
    text = (CLUSTER / "README.md").read_text(encoding="utf-8")
    for name in re.findall(r"recipes/cluster/[\w./-]+\w", text):
        assert (ROOT / name).exists(), name
    commands = re.findall(r"^(bash recipes/run\.sh .*)$", text, re.M)
    assert commands
    for line in commands:
        words = shlex.split(line.replace("[", "").replace("]", "").partition("  #")[0])
        assert settings(words)
