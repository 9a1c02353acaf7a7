// Package log is the one log of a node: the ordered, checksummed stream of
// everything that changes the store. It is write-ahead log, replication stream
// and archive in one. Import it under a name such as wal.
//
// # Offsets
//
// A record is addressed by its offset: the number of record bytes before it
// since the log began. Offsets are the replication offsets. They never
// restart, and segment headers don't count.
//
// # Files
//
//	00000000000000000000.log   a segment, named by the offset of its first record
//	00000000000067108812.log
//	next.tmp                   the next segment, made ahead; deleted when the log is opened
//	state                      the history of terms, the newest segment, and how far had been synced (state.go)
//	state.tmp                  its successor being written; deleted when the log is opened
//	repair.tmp                 what is kept of a damaged log being written (repair.go); deleted when the log is opened
//
// A segment is a header and records, back to back. A record never spans two
// segments; one larger than a segment gets a segment of its size. Behind the last
// record there is nothing but zeros or the end of the file. All integers are
// little endian, all checksums CRC-32C.
//
//	segment header, 128 bytes
//	  0  magic       8  "CAIRNLOG"
//	  8  crc         4  of bytes 12 to 128
//	 12  version     4  1
//	 16  start       8  offset of the first record
//	 24  previous    8  start of the segment before; all ones in the first one
//	 32  synced      8  offset known synced when the segment was begun
//	 40  wall        8  unix milliseconds when it was begun
//	 48  link        4  crc of the record before the first one; 0 at offset 0
//	 52  -           4  zero
//	 56  term start  8  start of the term in force
//	 64  term ID    40  its replication ID; zeros before the first term
//	104  flags       4  bit 0: the records are another node's, and so are their "synced"
//	108  -          20  zero
//
//	record
//	  0  crc         4  of bytes 4 to length
//	  4  length      4  of the whole record, 40 to 2^31
//	  8  offset      8  its own
//	 16  synced      8  offset known synced when it was appended; never more than offset
//	 24  wall        8  unix milliseconds when it was appended
//	 32  link        4  crc of the record before it; 0 at offset 0
//	 36  kind        1  see Kind
//	 37  -           1  zero
//	 38  slots       2  how many follow, at most 16384
//	 40  slot        2  each
//	     payload
//
// The record format can't change without a new version: a replica's records
// are byte for byte its primary's, and the archive keeps them for ever. The segment header's
// size, magic, crc and version keep their places in every version, so that a
// newer format is told from damage.
//
// # What is a record
//
// Bytes count as a record only where the record before ends, with the right
// checksum, their own offset, and the link to the record before. So neither stale bytes behind
// a cut nor a record of another history at the same offset can be taken for one.
//
// # Invariants
//
//  1. Room on the disk is reserved (fallocate) before a record is appended, so
//     that a full disk refuses a record instead of half-writing it.
//  2. A reader sees only what the operating system has; Synced moves only after a sync that
//     began after these bytes were written.
//  3. At most the last two segments are not wholly synced: nobody waits while a full
//     segment is synced, but a third one is begun only when the first is. A segment's name and header
//     are synced, and the state file names it, before any record in it counts as synced.
//  4. A write that fails is finished with the same bytes at the same place, before anything
//     else is written. A sync that fails is never tried again.
//  5. Segments go from the oldest on, each removal synced before the next, so what is
//     left never has a hole.
//
// # Recovery
//
// After a power loss, pages that were not synced may be there or not, in any
// order. Open reads from the segment that holds the greatest offset known synced (from the state
// file and the segment headers) to the first bytes that are no record. There the
// log ends: what lies behind is a torn tail and is zeroed, and segments behind it
// are removed. But if a record found anywhere behind says that more than
// this had been synced, then the disk has lost what it had promised to keep:
// Open returns a DamagedError and changes nothing; so it does when the segment that the state file names is gone.
// A record that came from another node proves nothing of the kind: it says what was synced there.
//
// # Concurrency
//
// Append fills a buffer under mu. Whoever flushes and finds no writer takes the
// buffer, releases mu and writes; others wait for it and then write, at once, all that has
// gathered. Three goroutines belong to the log: the syncer syncs (always: in a loop while
// anybody waits, so one sync serves all of them; everysec: on a timer) and retries what has
// failed; the keeper makes segments ahead, and the caller calls back. Under always and on a quick disk
// FlushStable syncs in its caller's thread, which saves waking the syncer and being woken by it.
//
// Lock order: syncMu, mu, waiters.mu.
package log
