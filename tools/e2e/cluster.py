"""redis-py's cluster client: python3 cluster.py PORT"""
import sys

import redis
from redis.cluster import RedisCluster

db = RedisCluster(host="127.0.0.1", port=int(sys.argv[1]), decode_responses=False)
assert len(db.get_nodes()) == 3, db.get_nodes()

for i in range(100):
    assert db.set(f"py:{i}", f"value {i}")
for i in range(100):
    assert db.get(f"py:{i}") == f"value {i}".encode()
assert db.get("py:absent") is None
assert db.set("py:binary", b"\x00\xff\r\n") and db.get("py:binary") == b"\x00\xff\r\n"

with db.pipeline() as p:
    for i in range(50):
        p.set(f"py:pipe{i}", i)
    for i in range(50):
        p.get(f"py:pipe{i}")
    got = p.execute()
assert got == [True] * 50 + [str(i).encode() for i in range(50)], got

tagged = {f"{{py}}{i}": str(i) for i in range(20)}
assert db.mset(tagged)
assert db.mget(list(tagged)) == [v.encode() for v in tagged.values()]
assert db.mset_nonatomic({f"py:n{i}": i for i in range(20)})
assert db.mget_nonatomic([f"py:n{i}" for i in range(20)]) == [str(i).encode() for i in range(20)]
assert db.exists(*tagged) == 20 and db.delete(*list(tagged)[:5]) == 5

assert db.incrby("py:count", 7) == 7 and db.incrbyfloat("py:count", 0.5) == 7.5
assert db.setbit("py:bits", 100, 1) == 0 and db.bitcount("py:bits") == 1
assert db.bitop("OR", "{py}dest", "{py}6", "{py}7") == 1
assert db.expire("py:1", 1000) and 990 < db.ttl("py:1") <= 1000
assert db.set("py:2", "x", ex=100, xx=True, get=True) == b"value 2"
assert len(set(db.scan_iter(match="py:pipe*"))) == 50
assert db.dbsize(target_nodes="all") > 200
assert db.cluster_info(target_nodes=db.get_random_node())["cluster_state"] == "ok"

try:
    db.get_node_from_key("py:1").redis_connection.execute_command("MGET", "py:1", "py:2", "py:3")
    raise SystemExit("a request over several slots was answered")
except redis.exceptions.ResponseError as e:
    assert "CROSSSLOT" in str(e) or "slot" in str(e), e

try:
    db.incr("py:binary")
    raise SystemExit("INCR of bytes was answered")
except redis.exceptions.ResponseError as e:
    assert str(e) == "value is not an integer or out of range", e
print("ok")
