/**
 * Node's flags for test processes. Worker threads of TypeScript load Node's type stripping, which is WebAssembly, and V8's
 * register of code pages loses track of it now and then where the processor has protection keys: "Check failed:
 * jit_page.has_value()", or SIGSEGV. Packages as published have no types to strip.
 */
export const NODE_FLAGS: readonly string[] = process.arch === "x64" ? ["--no-memory-protection-keys"] : [];
