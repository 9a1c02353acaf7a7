// Package replication keeps replicas of a store: the primary's side, the replica's, and what both know of each
// other. It knows no cluster.
//
// # One log
//
// A replica's log is byte for byte its primary's, so a position is a log offset, and two nodes resume at the
// last offset that their histories of terms share. Records are sent as soon as the primary's operating system has them and never
// before; a replica appends them to its own log through the engine's commit. It serves
// replicas of its own from that log, by the same code.
//
// # Protocol
//
// A replica connects to the port for clients, authenticates with AUTH, and sends one command:
//
//	CAIRN.SYNC version node-id port address capabilities end link full terms
//
//	version       2
//	node-id       a name for the replica, up to 64 visible characters
//	port          that it listens on
//	address       at which clients reach it; empty: where the connection comes from
//	capabilities  names separated by commas: s2
//	end, link     where its log ends, and the checksum of the record that ends there
//	full          1 if it can't use anything but a full sync
//	terms         its history, newest last: id:start, separated by commas, at most 256
//
// The answer is an error, or "+CAIRN 4" and from there on frames in both directions. All integers are
// little endian.
//
//	0  crc      4  CRC-32C of what follows
//	4  length   4  of the payload, at most 1 MiB
//	8  kind     1
//	9  flags    1  1: the payload is s2; 2, 4, 8: acknowledge when written, stable, synced
//	10 payload
//
//	from the primary
//	  D decision   mode(1) offset(8)      go on at offset; cut the log at offset; or everything anew (also the answer to R if that is less)
//	  L log        offset(8) bytes        any piece of the log; records begin and end anywhere
//	  P ping       end(8) stamp(8) behind(8)   how far the primary's log was written when it was sent, the stamp of the replica's last
//	                                      acknowledgement before that, and how old the primary's own data may be: nanoseconds, negative if unknown
//	  F files      last(1) n×[size(8) length(1) name]
//	  C chunk      file(4) offset(8) bytes
//	  E end        file(4) crc(4)         of the whole file
//	  B begin      offset(8) link(4) until(8) terms      the files are complete; the log from here to until makes them whole
//	  X error      text
//
//	from the replica
//	  A ack        written(8) stable(8) synced(8) stamp(8)   the stamp is a time by the replica's clock, not 0, which comes back in pings
//	  H have       last(1) n×[size(8) crc(4)]            what it has of each file already
//	  R repair     slots(2048)                           a bit for each slot that it needs, since it can't just cut its log
//
// # Full sync
//
// The primary makes a checkpoint (hard links), says which files it has, and learns what the replica has got of them: how many
// bytes and their checksum. What is the same is not sent again, so a sync goes on where it was broken off, also when the
// primary was restarted or the checkpoint is another one. Then it sends the log from the
// checkpoint's offset. The replica goes on with its old data until the new is whole, replaces the store by it and reconnects.
//
// # Repair of slots
//
// A replica that is told to cut its log, but has what came behind in its store's files, asks with R for the slots that the
// records there touch. They come as a single file (C, E), then B and the log from the fork on, as in a full sync. An older primary hangs up
// instead; after some attempts the replica asks for everything.
package replication
