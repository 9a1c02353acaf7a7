package main

import "strings"

// redisCommands are the commands of Redis 7.2, and behind a colon their subcommands. Source: COMMAND LIST.
const redisCommands = `
acl:cat,deluser,dryrun,genpass,getuser,help,list,load,log,save,setuser,users,whoami append asking auth bgrewriteaof bgsave bitcount bitfield
bitfield_ro bitop bitpos blmove blmpop blpop brpop brpoplpush bzmpop bzpopmax bzpopmin
client:caching,getname,getredir,help,id,info,kill,list,no-evict,no-touch,pause,reply,setinfo,setname,tracking,trackinginfo,unblock,unpause
cluster:addslots,addslotsrange,bumpepoch,count-failure-reports,countkeysinslot,delslots,delslotsrange,failover,flushslots,forget,getkeysinslot,help,info,keyslot,links,meet,myid,myshardid,nodes,replicas,replicate,reset,saveconfig,set-config-epoch,setslot,shards,slaves,slots
command:count,docs,getkeys,getkeysandflags,help,info,list config:get,help,resetstat,rewrite,set copy dbsize debug decr decrby del discard dump echo
eval eval_ro evalsha evalsha_ro exec exists expire expireat expiretime failover fcall fcall_ro flushall flushdb
function:delete,dump,flush,help,kill,list,load,restore,stats geoadd geodist geohash geopos georadius georadius_ro georadiusbymember
georadiusbymember_ro geosearch geosearchstore get getbit getdel getex getrange getset hdel hello hexists hget hgetall hincrby hincrbyfloat hkeys hlen
hmget hmset hrandfield hscan hset hsetnx hstrlen hvals incr incrby incrbyfloat info keys lastsave
latency:doctor,graph,help,histogram,history,latest,reset lcs lindex linsert llen lmove lmpop lolwut lpop lpos lpush lpushx lrange lrem lset ltrim
memory:doctor,help,malloc-stats,purge,stats,usage mget migrate module:help,list,load,loadex,unload monitor move mset msetnx multi
object:encoding,freq,help,idletime,refcount persist pexpire pexpireat pexpiretime pfadd pfcount pfdebug pfmerge pfselftest ping psetex psubscribe
psync pttl publish pubsub:channels,help,numpat,numsub,shardchannels,shardnumsub punsubscribe quit randomkey readonly readwrite rename renamenx
replconf replicaof reset restore restore-asking role rpop rpoplpush rpush rpushx sadd save scan scard script:debug,exists,flush,help,kill,load sdiff
sdiffstore select set setbit setex setnx setrange shutdown sinter sintercard sinterstore sismember slaveof slowlog:get,help,len,reset smembers
smismember smove sort sort_ro spop spublish srandmember srem sscan ssubscribe strlen subscribe substr sunion sunionstore sunsubscribe swapdb sync time
touch ttl type unlink unsubscribe unwatch wait waitaof watch xack xadd xautoclaim xclaim xdel
xgroup:create,createconsumer,delconsumer,destroy,help,setid xinfo:consumers,groups,help,stream xlen xpending xrange xread xreadgroup xrevrange xsetid
xtrim zadd zcard zcount zdiff zdiffstore zincrby zinter zintercard zinterstore zlexcount zmpop zmscore zpopmax zpopmin zrandmember zrange zrangebylex
zrangebyscore zrangestore zrank zrem zremrangebylex zremrangebyrank zremrangebyscore zrevrange zrevrangebylex zrevrangebyscore zrevrank zscan zscore
zunion zunionstore`

// notServed gives the reasons for commands that are not served, by the first word of their names.
var notServed = map[string]string{
	"acl":          "there is one user, whose password is `requirepass`",
	"client":       "keys are not tracked for clients' caches, and no connection's replies go to another one",
	"eval":         scripts,
	"eval_ro":      scripts,
	"evalsha":      scripts,
	"evalsha_ro":   scripts,
	"failover":     "use `CLUSTER FAILOVER`, or `REPLICAOF` between standalone nodes",
	"fcall":        scripts,
	"fcall_ro":     scripts,
	"function":     scripts,
	"module":       "there are no modules",
	"monitor":      notYet,
	"psubscribe":   messages,
	"publish":      messages,
	"pubsub":       messages,
	"punsubscribe": messages,
	"script":       scripts,
	"spublish":     messages,
	"ssubscribe":   messages,
	"subscribe":    messages,
	"sunsubscribe": messages,
	"sync":         "replication has a protocol of its own, on the bus",
	"psync":        "replication has a protocol of its own, on the bus",
	"replconf":     "replication has a protocol of its own, on the bus",
	"unsubscribe":  messages,
}

const (
	scripts  = "scripts and functions are not served yet"
	messages = "channels are not served yet"
	notYet   = "not served yet"
)

// eachRedisCommand calls fn for every command and subcommand of Redis, "container|name".
func eachRedisCommand(fn func(name string)) {
	for _, word := range strings.Fields(redisCommands) {
		name, subs, container := strings.Cut(word, ":")
		fn(name)
		if container {
			for _, sub := range strings.Split(subs, ",") {
				fn(name + "|" + sub)
			}
		}
	}
}
