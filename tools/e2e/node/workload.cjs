// What both Node.js clients do; each adapter gives the same few methods.
const assert = require('node:assert');

module.exports = async function workload(name, db) {
  for (let i = 0; i < 100; i++) assert.strictEqual(await db.set(`${name}:${i}`, `value ${i}`), 'OK');
  for (let i = 0; i < 100; i++) assert.strictEqual(await db.get(`${name}:${i}`), `value ${i}`);
  assert.strictEqual(await db.get(`${name}:absent`), null);

  const names = Array.from({ length: 50 }, (_, i) => `{${name}}p${i}`);
  assert.deepStrictEqual(await db.pipelineSet(names), names.map(() => 'OK'));
  assert.deepStrictEqual(await db.mget(names), names);
  assert.deepStrictEqual(await db.multi(`{${name}}n`), [5, 6]);
  assert.strictEqual(await db.del(`${name}:0`), 1);

  const binary = Buffer.from([0, 255, 13, 10, 128]);
  await db.set(`${name}:binary`, binary);
  assert.deepStrictEqual(await db.getBuffer(`${name}:binary`), binary);
};
