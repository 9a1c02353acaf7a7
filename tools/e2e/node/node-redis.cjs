// Usage: node node-redis.cjs PORT PROTOCOL
const { createCluster, RESP_TYPES } = require('redis');
const workload = require('./workload.cjs');

async function main() {
  const cluster = createCluster({
    rootNodes: [{ url: `redis://127.0.0.1:${process.argv[2]}` }],
    RESP: Number(process.argv[3]),
  });
  cluster.on('error', (e) => { throw e; });
  await cluster.connect();
  const raw = cluster.withTypeMapping({ [RESP_TYPES.BLOB_STRING]: Buffer });
  await workload(`node-redis${process.argv[3]}`, {
    set: (k, v) => cluster.set(k, v),
    get: (k) => cluster.get(k),
    getBuffer: (k) => raw.get(k),
    del: (k) => cluster.del(k),
    mget: (keys) => cluster.mGet(keys),
    pipelineSet: (keys) => Promise.all(keys.map((k) => cluster.set(k, k))),
    multi: (k) => cluster.multi().incrBy(k, 5).incr(k).exec(),
  });
  await cluster.close();
  console.log('ok');
}
main().catch((e) => { console.error(e); process.exit(1); });
