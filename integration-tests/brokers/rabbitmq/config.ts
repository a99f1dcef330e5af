/** The same for the makers' image and for ours. */
export const RABBITMQ_CONF = `
loopback_users.guest = false
log.console = true
log.console.level = info
log.file = false
# A shared test machine may be short of memory or disk without that being what a test is about.
vm_memory_high_watermark.relative = 0.6
disk_free_limit.absolute = 50MB
# Nodes of a cluster wait for their tables at start; a test's cluster is small.
mnesia_table_loading_retry_timeout = 10000
`.trimStart();

export const DEFAULT_MEMORY_WATERMARK = "0.6";
export const DEFAULT_DISK_LIMIT = "50MB";

export function enabledPlugins(more: readonly string[]): string {
  return `[${["rabbitmq_management", "rabbitmq_consistent_hash_exchange", ...more].join(",")}].\n`;
}

/**
 * Runs as root in either image: writes the cookie that the nodes of a cluster share, with the owner and the mode that
 * Erlang demands, then becomes the broker. The makers' image has its own entry point, Debian's package has none.
 */
export const START_SCRIPT = `#!/bin/sh
set -e
# Engines may hand down a limit of a billion files, for which Erlang would make room.
ulimit -n 65536 2>/dev/null || true
cookie=/var/lib/rabbitmq/.erlang.cookie
rm -f "$cookie"
printf %s "$TALLY_ERLANG_COOKIE" >"$cookie"
chmod 400 "$cookie"
chown rabbitmq:rabbitmq /var/lib/rabbitmq "$cookie"
if command -v docker-entrypoint.sh >/dev/null; then exec docker-entrypoint.sh rabbitmq-server; fi
export HOME=/var/lib/rabbitmq
exec setpriv --reuid=rabbitmq --regid=rabbitmq --init-groups /usr/lib/rabbitmq/bin/rabbitmq-server
`;
