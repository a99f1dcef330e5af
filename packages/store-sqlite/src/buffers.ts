/**
 * What one open file takes beside the messages on their way through it: SQLite's page cache (32 MiB, `cache_size`), the log
 * that it keeps mapped until it is folded (16 MiB, `journal_size_limit`), and two looks of the relay (4 MiB each).
 */
export const BUFFER_BYTES: number = 56 * 1024 * 1024;
