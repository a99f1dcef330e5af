// A program: node eager-process.ts PATH MS: writes for so long, again and again without a pause, each time for some
// milliseconds. Says "ready", begins at a line on its stdin, and then says its longest wait for its turn.
import { once } from "node:events";
import { Database } from "../src/worker/file/database.ts";

const [path = "", ms = "0"] = process.argv.slice(2);
const db = new Database(path, null);
db.sql.exec("create table if not exists t (n)");
console.log("ready");
await once(process.stdin, "data");
let longest = 0;
for (const end = performance.now() + Number(ms); performance.now() < end;) {
  const asked = performance.now();
  db.begin("acked");
  longest = Math.max(longest, performance.now() - asked);
  db.sql.exec("insert into t values (1)");
  for (const until = performance.now() + 5; performance.now() < until;);
  db.commit();
}
console.log(Math.round(longest));
process.exit(0);
