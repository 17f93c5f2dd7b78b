// rows.md says which test shows which requirement. Here is what keeps it true.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import test from "node:test";

const read = (name) => readFile(new URL(name, import.meta.url), "utf8");

test("every test that rows.md names exists", async () => {
  const rows = [...(await read("rows.md")).matchAll(/^\| [AB]\d+ \|.*\| (\S+\.mjs): (.*) \|$/gm)];
  assert.ok(rows.length > 50);
  for (const [, file, name] of rows) {
    assert.ok((await read(file)).includes(`test("${name}"`), `${file}: ${name}`);
  }
});
