// rows.md says which test shows which requirement. Here is what keeps it true.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import test from "node:test";

const read = (name) => readFile(new URL(name, import.meta.url), "utf8");

/** How the test of a name begins: one of many has a template for a name. */
const isIn = (source, name) =>
  [`test("${name}"`, `test(\`${name}\``, `def ${name}(`].some((beginning) => source.includes(beginning));

test("every test that rows.md names exists", async () => {
  const page = await read("rows.md");
  const lines = [...page.matchAll(/^\| [A-Z]\d+ \|.*$/gm)];
  const rows = [...page.matchAll(/^\| [ABCDEM]\d+ \|.*\| (\S+\.(?:mjs|py)): (.*) \|$/gm)];
  assert.ok(rows.length > 100);
  assert.equal(rows.length, lines.length, "every row names a test");
  for (const [, file, name] of rows) {
    assert.ok(isIn(await read(file), name), `${file}: ${name}`);
  }
});
