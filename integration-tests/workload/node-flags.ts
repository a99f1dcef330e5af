/**
 * Node's flags for test processes. Each worker thread of TypeScript loads Node's type stripping, which is one WebAssembly
 * module shared by all threads, and V8's collector of WebAssembly code frees pieces of it that another thread still uses:
 * SIGSEGV in `NativeModule::FreeCode`, or "Check failed: jit_page.has_value()". Without the collector nothing is freed.
 * Packages as published have no types to strip.
 */
export const NODE_FLAGS: readonly string[] = ["--no-wasm-code-gc"];
