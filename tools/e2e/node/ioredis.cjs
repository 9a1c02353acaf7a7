// Usage: node ioredis.cjs PORT
const assert = require('node:assert');
const Redis = require('ioredis');
const workload = require('./workload.cjs');

async function main() {
  const cluster = new Redis.Cluster([{ host: '127.0.0.1', port: Number(process.argv[2]) }]);
  await workload('ioredis', {
    set: (k, v) => cluster.set(k, v),
    get: (k) => cluster.get(k),
    getBuffer: (k) => cluster.getBuffer(k),
    del: (k) => cluster.del(k),
    mget: (keys) => cluster.mget(keys),
    pipelineSet: async (keys) => {
      const p = cluster.pipeline();
      keys.forEach((k) => p.set(k, k));
      return (await p.exec()).map(([err, v]) => { if (err) throw err; return v; });
    },
    multi: async (k) => (await cluster.multi().incrby(k, 5).incr(k).exec()).map(([, v]) => v),
  });
  // Unlike node-redis, this one doesn't split a request by slots: the server refuses it.
  await assert.rejects(cluster.mget('ioredis:1', 'ioredis:2', 'ioredis:3'), /CROSSSLOT|same slot/i);
  await cluster.quit();
  console.log('ok');
}
main().catch((e) => { console.error(e); process.exit(1); });
