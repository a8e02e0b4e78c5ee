"""`paymaster sweagent` if SWE-agent is missing or too old. Tests with the real SWE-agent are in tests/sweagent."""

import os
import signal
import subprocess
from importlib.metadata import packages_distributions

import pytest

from agents.steps import paymaster
from paymaster.agents.sweagent.launcher import main
from paymaster.errors import ExtraMissing


@pytest.mark.skipif("sweagent" in packages_distributions(), reason="SWE-agent is installed here")
@pytest.mark.parametrize("args", [["run"], ["run-batch", "--model-registry=none.yaml"], ["inspect"]])
def test_a_missing_sweagent_is_reported_with_how_to_install_it(args):
    with pytest.raises(ExtraMissing, match=r"git clone .*SWE-agent"):
        main(args)


def test_a_folder_of_that_name_is_not_sweagent(tmp_path, monkeypatch):
    (tmp_path / "sweagent").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ExtraMissing, match="SWE-agent is not installed in this environment"):
        main(["run"])


@pytest.mark.parametrize("version", ["0.7.0", "1.0.1"])
def test_an_old_sweagent_is_reported_with_the_required_version(tmp_path, monkeypatch, version):
    package, about = tmp_path / "sweagent", tmp_path / f"sweagent-{version}.dist-info"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('it must not be imported')\n")
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: sweagent\nVersion: {version}\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ExtraMissing, match=rf"SWE-agent {version} is too old; 1\.1 or later is needed"):
        main(["run", "--model-registry=none.yaml"])


@pytest.mark.parametrize(("command", "module"), [("run", "run_single"), ("run-batch", "run_batch")])
@pytest.mark.parametrize(("number", "status", "name"), [(signal.SIGINT, 130, "Ctrl-C"), (signal.SIGTERM, 143, "SIGTERM")])
def test_a_signal_while_sweagent_is_imported_ends_the_command(tmp_path, command, module, number, status, name):
    package = tmp_path / "sweagent" / "run"
    package.mkdir(parents=True)
    for folder in (package.parent, package):
        (folder / "__init__.py").touch()
    (package / f"{module}.py").write_text(f"import os\nos.kill(os.getpid(), {int(number)})\n")
    registry = tmp_path / "registry.yaml"
    registry.write_text("models: {m: {provider: openai, model_id: m, price: free}}")
    ended = subprocess.run(
        paymaster("sweagent", command, f"--model-registry={registry}"),
        check=False,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.returncode == status, ended.stderr
    assert ended.stderr.endswith(f"Nothing was begun.\nError: stopped by {name}\n")
