"""What RabbitMQ understands and amqpd does not yet: such settings are named in a warning, not refused.

Patterns as in `schema`: `$word` is any one word, `**` any one or more words at the end. Keys of plugins that amqpd has
no counterpart of are taken together; those of the broker itself are listed, so that a misspelt one is still refused.
Source: RabbitMQ's deps/*/priv/schema, 3.12 to 4.2; rabbitmq.com/docs/configure; the docker image's entry point.
"""

from __future__ import annotations

from amqpd.config.schema import CATEGORIES, matches

__all__ = ["KNOWN", "known", "unsupported_variable"]

TLS = (
    "bypass_pem_cache",
    "cacertfile",
    "cacerts.$name",
    "cert",
    "certfile",
    "ciphers.$cipher",
    "client_renegotiation",
    "crl_check",
    "depth",
    "dh",
    "dhfile",
    "fail_if_no_peer_cert",
    "hostname_verification",
    "honor_cipher_order",
    "honor_ecc_order",
    "key.$type",
    "keyfile",
    "log_alert",
    "log_level",
    "password",
    "psk_identity",
    "reuse_session",
    "reuse_sessions",
    "secure_renegotiate",
    "sni",
    "verify",
    "versions.$version",
)
TLS_OF = ("ssl_options", "definitions.tls", "amqp_client.ssl_options", "log.syslog.ssl_options")

FORMATTER = (
    "time_format",
    "level_format",
    "single_line",
    "plaintext.format",
    "json.field_map",
    "json.verbosity_map",
)
ROTATION = ("date", "size", "count", "compress")
LOG_CATEGORIES = (
    "connection",
    "channel",
    "queue",
    "mirroring",
    "federation",
    "upgrade",
    "ra",
    "user",
    "shovel",
    "prelaunch",
)

KNOWN: tuple[str, ...] = (
    # Listeners and sockets.
    "listeners.ssl",
    "listeners.ssl.$name",
    "num_acceptors.tcp",
    "num_acceptors.ssl",
    "socket_writer.gc_threshold",
    "reverse_dns_lookups",
    "proxy_protocol",
    "tcp_listen_options",
    "tcp_listen_options.buffer",
    "tcp_listen_options.delay_send",
    "tcp_listen_options.dontroute",
    "tcp_listen_options.exit_on_close",
    "tcp_listen_options.fd",
    "tcp_listen_options.high_msgq_watermark",
    "tcp_listen_options.high_watermark",
    "tcp_listen_options.linger.on",
    "tcp_listen_options.linger.timeout",
    "tcp_listen_options.low_msgq_watermark",
    "tcp_listen_options.low_watermark",
    "tcp_listen_options.port",
    "tcp_listen_options.priority",
    "tcp_listen_options.recbuf",
    "tcp_listen_options.send_timeout",
    "tcp_listen_options.send_timeout_close",
    "tcp_listen_options.sndbuf",
    "tcp_listen_options.tos",
    # TLS.
    "ssl_options",
    "amqp_client.ssl_options",
    *(f"{prefix}.{option}" for prefix in TLS_OF for option in TLS),
    "ssl_allow_poodle_attack",
    "ssl_handshake_timeout",
    "ssl_cert_login_from",
    "ssl_cert_login_san_type",
    "ssl_cert_login_san_index",
    # Users and logins.
    "auth_backends.$num",
    "auth_backends.$num.authn",
    "auth_backends.$num.authz",
    "anonymous_login_user",
    "anonymous_login_pass",
    "credential_validator.validation_backend",
    "credential_validator.min_length",
    "credential_validator.regexp",
    "default_policies.operator.$id.classic_queues.$option",
    # Limits.
    "channel_max_per_node",
    "ranch_connection_max",
    "vhost_max",
    "cluster_queue_limit",
    "cluster_exchange_limit",
    "session_max_per_connection",
    "link_max_per_session",
    "runtime_parameters.limits.$category",
    "consumer_disconnected_timeout",
    "vm_memory_high_watermark_paging_ratio",
    "vm_memory_calculation_strategy",
    # Queues.
    "queue_master_locator",
    "queue_leader_locator",
    "queue_index_embed_msgs_below",
    "classic_queue.default_version",
    "queue_types.$type.enabled",
    "quorum_queue.$option",
    "quorum_queue.continuous_membership_reconciliation.$option",
    "mirroring_sync_batch_size",
    "mirroring_sync_max_throughput",
    "message_store_shutdown_timeout",
    "message_interceptors.**",
    "deprecated_features.permit.$feature",
    "vhost_restart_strategy",
    # Definitions.
    "definitions.https.url",
    "definitions.hashing.algorithm",
    # Logging.
    "log.console.stdio",
    "log.console.use_colors",
    "log.console.color_esc_seqs.$level",
    "log.journald",
    "log.journald.level",
    "log.journald.fields",
    "log.syslog",
    "log.syslog.identity",
    "log.syslog.facility",
    "log.syslog.multiline_mode",
    "log.syslog.ip",
    "log.syslog.host",
    "log.syslog.port",
    "log.syslog.transport",
    "log.syslog.protocol",
    "log.exchange.formatter",
    "log.syslog.level",
    "log.syslog.formatter",
    *(
        f"log.{output}.formatter.{option}"
        for output in ("console", "file", "exchange", "syslog")
        for option in FORMATTER
    ),
    *(f"log.{part}.rotation.{option}" for part in ("file", "default", *LOG_CATEGORIES) for option in ROTATION),
    *(f"log.{category}.level" for category in LOG_CATEGORIES if category not in CATEGORIES),
    *(f"log.{category}.file" for category in LOG_CATEGORIES),
    "motd_file",
    # Clusters.
    "cluster_formation.**",
    "cluster_partition_handling",
    "cluster_partition_handling.pause_if_all_down.recover",
    "cluster_partition_handling.pause_if_all_down.nodes.$name",
    "cluster_keepalive_interval",
    "cluster_tags.$tag",
    "node_tags.$tag",
    "net_ticktime",
    "distribution.listener.interface",
    "distribution.listener.port_range.min",
    "distribution.listener.port_range.max",
    "delegate_count",
    "metadata_store.khepri.default_timeout",
    "mnesia_table_loading_retry_timeout",
    "mnesia_table_loading_retry_limit",
    "raft.**",
    # Statistics and the Erlang machine.
    "collect_statistics",
    "collect_statistics_interval",
    "default_worker_pool_size",
    "background_gc_enabled",
    "background_gc_target_interval",
    "hipe_compile",
    "erlang.K",
    "sysmon_handler.**",
    # Plugins.
    "amqp1_0.**",
    "auth_cache.**",
    "auth_http.**",
    "auth_ldap.**",
    "auth_oauth2.**",
    "management.**",
    "management_agent.**",
    "mqtt.**",
    "prometheus.**",
    "shovel.**",
    "stomp.**",
    "stream.**",
    "trust_store.**",
    "web_dispatch.**",
    "web_mqtt.**",
    "web_stomp.**",
)

VARIABLES = (
    "RABBITMQ_ADVANCED_CONFIG_FILE",
    "RABBITMQ_CONF_ENV_FILE",
    "RABBITMQ_ENABLED_PLUGINS_FILE",
    "RABBITMQ_LOG",
    "RABBITMQ_NODENAME",
    "RABBITMQ_PID_FILE",
    "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS",
    "RABBITMQ_VM_MEMORY_HIGH_WATERMARK",
)
VARIABLE_PREFIXES = ("RABBITMQ_SSL_", "RABBITMQ_MANAGEMENT_SSL_")


def known(name: str) -> bool:
    """Whether this is a key of RabbitMQ's, as far as this table goes."""
    return any(matches(pattern, name) for pattern in KNOWN)


def unsupported_variable(name: str) -> bool:
    """Whether this variable changes what RabbitMQ does, and nothing here."""
    return name in VARIABLES or name.startswith(VARIABLE_PREFIXES)
