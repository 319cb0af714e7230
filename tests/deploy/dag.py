"""The DAG: it compiles, it is imported, and an exit code of userpipe becomes a success, a retry or a failure for good.

Airflow itself is 150 packages. In its place stands what the DAG uses of it, BashOperator as in Airflow 2.10.
"""

import os
import pathlib
import subprocess
import sys
import tempfile
import types

DAG_FILE = pathlib.Path(sys.argv[1])


class AirflowException(Exception):
    """The task failed, and is tried again."""


class AirflowFailException(AirflowException):
    """It failed for good."""


class AirflowSkipException(AirflowException):
    """It was skipped."""


class DAG:
    """Takes the arguments that the DAG gives, and collects its tasks."""

    current = None

    def __init__(self, dag_id, description, schedule, start_date, catchup, max_active_runs, default_args, tags):
        self.dag_id, self.schedule, self.catchup, self.default_args = dag_id, schedule, catchup, default_args
        self.max_active_runs, self.tasks = max_active_runs, []

    def __enter__(self):
        DAG.current = self
        return self

    def __exit__(self, *_):
        DAG.current = None


class BashOperator:
    """Runs its command in bash; a non-zero exit code is a failure, or a skip where it is one of these."""

    def __init__(self, *, task_id, bash_command, env, append_env, skip_on_exit_code, execution_timeout):
        assert task_id and execution_timeout
        self.command, self.skip = bash_command, skip_on_exit_code
        self.env = {**os.environ, **env} if append_env else env
        DAG.current.tasks.append(self)

    def execute(self, context):
        code = subprocess.run(["bash", "-c", self.command], env=self.env, check=False).returncode
        if code in self.skip:
            raise AirflowSkipException(f"exit code {code}")
        if code != 0:
            raise AirflowException(f"exit code {code}")


def stand_in():
    """Puts the modules into place: those of Airflow 2."""
    names = ("airflow", "airflow.exceptions", "airflow.operators", "airflow.operators.bash")
    airflow = {name: types.ModuleType(name) for name in names}
    airflow["airflow"].DAG = DAG
    airflow["airflow.operators.bash"].BashOperator = BashOperator
    for exception in (AirflowFailException, AirflowSkipException):
        setattr(airflow["airflow.exceptions"], exception.__name__, exception)
    sys.modules.update(airflow)


def outcome(task, code, folder):
    """What becomes of the task where userpipe ends with this code."""
    program = folder / "userpipe"
    script = f'#!/bin/sh\n[ "$1" = produce ] && [ -n "$USERPIPE_BROKERS" ] && exit {code}\nexit 99\n'
    program.write_text(script, encoding="utf-8")
    program.chmod(0o755)
    task.env["PATH"] = f"{folder}:{os.environ['PATH']}"
    try:
        task.execute({})
    except AirflowFailException:
        return "failed"
    except AirflowException:
        return "retried"
    return "done"


def main():
    source = compile(DAG_FILE.read_text(encoding="utf-8"), str(DAG_FILE), "exec")
    stand_in()
    module = {"__name__": DAG_FILE.stem}
    exec(source, module)
    dag = module["dag"]
    assert dag.catchup is False and dag.max_active_runs == 1 and dag.default_args["retries"] > 0
    (task,) = dag.tasks
    with tempfile.TemporaryDirectory() as folder:
        codes = [0, 1, 2, 65, 69, 74, 75, 77, 78]
        found = {code: outcome(task, code, pathlib.Path(folder)) for code in codes}
    expected = dict.fromkeys(codes, "retried") | {0: "done"} | dict.fromkeys([2, 65, 77, 78], "failed")
    assert found == expected, f"{found} instead of {expected}"
    print(f"airflow: {dag.dag_id} is imported, and {len(codes)} exit codes are what they should be")


if __name__ == "__main__":
    main()
