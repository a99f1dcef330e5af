export { type Crash, crashAt, parseCrash, type Failpoint, FAILPOINTS } from "./crash.ts";
