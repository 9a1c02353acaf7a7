// Package migrate moves slots from one shard to another while clients use them.
//
// The source sends each slot as it is at one moment, then what its log has for the slots since, again and again until little is left. It has
// commands for the slots wait, sends the last records, and asks the group (cluster/epoch) to grant the slots to the target when that says that it and
// its replicas hold everything. Then the commands go on, to the target.
//
// Who owns a slot is the group's word alone, so there is one owner whatever fails in between. What a crash leaves behind is settled by
// having the group grant the slots once more to whom they belong: that makes void every earlier request about them, and so it is known for good whose
// they are. A source that starts does so for the slots of which it has noted that they may leave, before it serves them; a target before it drops
// what it had said that it holds.
//
// A node that stops being a primary ends its part in every move, on both sides. What it had imported is in its shard's log: the new primary ends or
// drops that as it would after a crash. What it had given away and not dropped is in the group's table (epoch.Shard.Remains): the new primary drops it.
//
// Two state machines without clocks, goroutines and sockets decide what is done: source.go and target.go.
package migrate
