"""For those who keep Airflow: it decides when users are fetched and sent, `userpipe consume` delivers beside it.

Put it into the DAGs folder; `userpipe` must be on the workers' path, and SETTINGS must fit. A run that is stopped or
fails loses nothing: what was fetched is in the ledger, and the next run sends it first.
"""

from datetime import datetime, timedelta

from airflow.exceptions import AirflowFailException, AirflowSkipException

try:  # Airflow 3
    from airflow.providers.standard.operators.bash import BashOperator
    from airflow.sdk import DAG
except ImportError:  # Airflow 2
    from airflow import DAG
    from airflow.operators.bash import BashOperator

# Where everything is. The password is a file of the workers, never a variable.
SETTINGS = {
    "USERPIPE_BROKERS": "kafka:9092",
    "USERPIPE_POSTGRES": "postgres://userpipe@postgres:5432/userpipe?sslmode=verify-full",
    "USERPIPE_POSTGRES_PASSWORD_FILE": "/run/secrets/userpipe/postgres-password",
    "USERPIPE_LOG_FORMAT": "json",
}

# Exit codes that no second attempt mends: wrong usage, bad input, credentials, configuration. All others are retried:
# 69 a dependency is away, 74 local input or output, 75 stopped before the end, 1 anything else.
HOPELESS = [2, 65, 77, 78]


class UserpipeOperator(BashOperator):
    """A command of userpipe whose exit code decides whether a retry makes sense."""

    def __init__(self, **kwargs):
        super().__init__(env=SETTINGS, append_env=True, skip_on_exit_code=HOPELESS, **kwargs)

    def execute(self, context):
        """Runs it. What BashOperator would skip, fails at once and for good."""
        try:
            return super().execute(context)
        except AirflowSkipException as refused:
            raise AirflowFailException(f"a retry would not help: {refused}") from refused


with DAG(
    dag_id="userpipe_produce",
    description="Users of the Random User API to Kafka",
    schedule=timedelta(minutes=1),
    start_date=datetime(2026, 1, 1),
    catchup=False,
    max_active_runs=1,
    default_args={"retries": 3, "retry_delay": timedelta(seconds=30)},
    tags=["userpipe"],
) as dag:
    UserpipeOperator(
        task_id="produce",
        bash_command="exec userpipe produce --count 100",
        execution_timeout=timedelta(minutes=10),
    )
