"""The upstream suites, pinned, and what is known about their tests: each exception with its reason.

`left_out` is for tests that can't say anything about the broker here: they need what a test machine doesn't have, or
only exercise the client. `failing` is for tests that run and don't pass. An entry that is no longer true fails the run.
"""

from __future__ import annotations

from interop.upstream import Edit, Suite

TLS = "needs a TLS listener with the suite's own certificates"
CONTAINER = "runs rabbitmqctl in a container that the suite starts"
NO_BROKER = "exercises the client alone"
SLOW_CLIENT = "waits for timers of the client; the broker does the same as in its siblings"
CLIENT_RACE = "closes the connection itself while its reader sees the end: either may win, against RabbitMQ too"

POINTED = """

@pytest.fixture(scope="session")
def rabbitmq_container():
    from types import SimpleNamespace

    return SimpleNamespace(host="{host}", ports={"5672/tcp": {port}, "5671/tcp": 1})


@pytest.fixture(scope="session")
def amqp_direct_url():
    return URL("amqp://{user}:{password}@{host}:{port}//")
"""
"""Instead of the fixtures that start a container."""

AIO_PIKA_OPTIONS = ("--timeout=30", "-o", "log_cli=false")

AIO_PIKA_OPTIONS = ("--timeout=30", "-o", "log_cli=false")

AIOMISC = (
    "aiomisc==18.0.37",
    "aiomisc-pytest==2.0.0",
    "aiothreads==1.1.4",
    "colorlog==6.12.0",
    "logging-journald==0.6.12",
    "shortuuid==1.0.13",
    "timeout-decorator==0.5.0",
)
REQUESTS = (
    "requests==2.34.2",
    "urllib3==2.8.0",
    "certifi==2026.10.18",
    "charset-normalizer==3.5.2",
)

AMQPSTORM_ENV = {
    "AMQP_HOST": "{host}",
    "AMQP_USERNAME": "{user}",
    "AMQP_PASSWORD": "{password}",
    "AMQP_URI": "amqp://{user}:{password}@{host}:{port}/%2F",
    "AMQP_HTTP_URL": "{control_url}",
}
AMQPSTORM_PORT = Edit(
    "amqpstorm/tests/functional/utility.py",
    old="kwargs.setdefault('timeout', 1)",
    new="kwargs.setdefault('timeout', 1)\n        kwargs.setdefault('port', {port})",
)
"""The suite takes the host from the environment, but not the port."""

SUITES = (
    Suite(
        name="py-amqp",
        package="amqp",
        version="5.4.2",
        arguments=("t/integration", "--timeout=30"),
        env={"RABBITMQ_HOST": "{host}", "RABBITMQ_5672_TCP": "{port}"},
        left_out={
            "*[tls]": TLS,
            "*[tls-*": TLS,
            "*::test_tls_connect_fails": TLS,
            "*::test_tls_default_certs": TLS,
            "*::test_tls_no_default_certs_fails": TLS,
        },
        minimum=48,
        timeout=120,
    ),
    Suite(
        name="kombu",
        package="kombu",
        version="5.7.0",
        arguments=("t/integration/test_py_amqp.py", "--timeout=30"),
        env={"RABBITMQ_HOST": "{host}", "RABBITMQ_5672_TCP": "{port}"},
        leftovers=("priority_requeue_test",),
        minimum=43,
        timeout=180,
    ),
    Suite(
        name="amqpstorm",
        package="amqpstorm",
        version="3.1.4",
        arguments=(
            "amqpstorm/tests/functional",
            "--ignore=amqpstorm/tests/functional/ssl",
            "--ignore=amqpstorm/tests/functional/management",
            "--ignore=amqpstorm/tests/functional/test_web_based.py",
            "--timeout=60",
        ),
        env=AMQPSTORM_ENV,
        edits=(AMQPSTORM_PORT,),
        requires=REQUESTS,
        left_out={
            "*::Consume1kUntilEmptySelect::*": SLOW_CLIENT,
            "*::Consume1kUntilEmptyPoll::*": SLOW_CLIENT,
        },
        minimum=85,
        timeout=180,
    ),
    Suite(
        name="amqpstorm-management",
        package="amqpstorm",
        version="3.1.4",
        arguments=(
            "amqpstorm/tests/functional/management",
            "amqpstorm/tests/functional/test_web_based.py",
            "--timeout=30",
        ),
        env=AMQPSTORM_ENV,
        edits=(
            AMQPSTORM_PORT,
            Edit(
                "amqpstorm/tests/functional/management/test_connection.py",
                old="HOST, USERNAME, PASSWORD,",
                new="HOST, USERNAME, PASSWORD, port={port},",
            ),
            Edit(
                "amqpstorm/tests/functional/test_web_based.py",
                old="Connection(HOST, USERNAME, PASSWORD,",
                new="Connection(HOST, USERNAME, PASSWORD, port={port},",
            ),
        ),
        requires=REQUESTS,
        left_out={"*::test_api_with_inaccessible": "connects to an address that is not of this machine"},
        failing={"*::test_api_cluster_name": "expects the name of its author's host"},
        needs_http=True,
        minimum=40,
        timeout=120,
    ),
    Suite(
        name="aiormq",
        package="aiormq",
        version="7.2.4",
        arguments=("tests", "--timeout=30"),
        edits=(Edit("tests/conftest.py", new=POINTED),),
        requires=AIOMISC,
        left_out={
            "*amqps*": TLS,
            "*::test_ssl_verification_fails_without_trusted_ca": TLS,
            "*::test_ssl_context": TLS,
            "*::test_closing_waiter_cancelled_before_connection_loss*": SLOW_CLIENT,
            "*::test_closing_waiter_cancellation*connection-True*": CLIENT_RACE,
            "*::test_connection_close_during_publish_drain*": CLIENT_RACE,
        },
        minimum=500,
        timeout=240,
    ),
    Suite(
        name="aio-pika",
        package="aio-pika",
        version="10.2.1",
        arguments=(
            "tests",
            "--ignore=tests/test_amqps.py",
            "--ignore=tests/test_amqp_robust.py",
            "--ignore=tests/test_amqp_robust_proxy.py",
            *AIO_PIKA_OPTIONS,
        ),
        env={"DOCKER_HOST": "tcp://{host}:{port}"},
        edits=(Edit("tests/conftest.py", new=POINTED),),
        requires=AIOMISC,
        left_out={
            "tests/test_robust_recovery.py::*": CONTAINER,
            "tests/test_pool.py::*": NO_BROKER,
            "tests/test_memory_leak.py::*": NO_BROKER,
            "*::test_create_channels_during_reconnect": CLIENT_RACE,
        },
        minimum=300,
        timeout=600,
    ),
    Suite(
        name="aio-pika-robust",
        package="aio-pika",
        version="10.2.1",
        arguments=("tests/test_amqp_robust.py", "tests/test_amqp_robust_proxy.py", *AIO_PIKA_OPTIONS),
        env={"DOCKER_HOST": "tcp://{host}:{port}"},
        edits=(Edit("tests/conftest.py", new=POINTED),),
        requires=AIOMISC,
        left_out={
            "*::test_channel_reconnect_stairway*": SLOW_CLIENT,
            "*::test_connection_stuck_reconnect": SLOW_CLIENT,
        },
        minimum=300,
        timeout=700,
    ),
    Suite(
        name="amqp091-go",
        package="github.com/rabbitmq/amqp091-go",
        version="v1.16.0",
        arguments=(".",),
        go_files=("integration_test.go", "connection_test.go", "reconnect_test.go"),
        env={"AMQP_URL": "{url}"},
        left_out={"TestConnection_Close_WhenMemoryAlarmIsActive": "raises an alarm with rabbitmqctl, in a container"},
        minimum=75,
        timeout=300,
    ),
    Suite(
        name="amqp091-go-recovery",
        package="github.com/rabbitmq/amqp091-go",
        version="v1.16.0",
        arguments=(".",),
        go_files=("recovery_test.go",),
        env={"AMQP_URL": "{url}"},
        edits=(
            Edit("internal/utils/http.go", old="localhost:15672", new="{host}:{http_port}"),
            Edit("recovery_test.go", old='"15672"', new='"{http_port}"'),
        ),
        needs_http=True,
        minimum=17,
        timeout=300,
    ),
)
