// Package epoch decides who owns which slot and who is a shard's primary: one Raft group (hashicorp/raft) for the
// cluster, whose log holds grants and nothing else, and leases that fence every primary. It is never on the path of data.
//
// # The table
//
// A Table is the fold of all grants: slots belong to shards, each since an epoch; a shard has a primary since an epoch,
// replicas, and, while writes wait for replicas, the set of those that hold every acknowledged write. A grant is a
// compare-and-set on the epochs of the slots and of the shard concerned. What is granted gets a new epoch, greater than the
// group's last and than every claim that the proposer has seen. apply is a pure function; Propose may be called on any
// node, and a request that is retried under its ID is granted once.
//
// # Who is in the group
//
// Up to five nodes vote, spread over hosts and shards (planVoters). Only voters are Raft servers of the group: an entry costs
// four messages however many nodes there are. Everybody else follows the table: one call waits at a voter until there
// is a newer table and brings it whole, some KB, so that 100 nodes are 20 waiting calls a voter. A node keeps the last table that it
// followed, and finds the voters by it after a restart; else it asks whoever has one, as gossip says.
//
// Raft's peers are node IDs, found by a Dialer, so all network addresses may change at once. A Raft address is the node's ID with the
// incarnation of its log; a connection names cluster, generation and incarnation, and is refused if it means another. So a node that
// has lost its log never votes as the node that it was, and two groups never mix.
//
// The group is formed by Bootstrap, which adopts all claims as they are. One that has granted nothing yet gives way to one that has, or whose
// ID is smaller, by an entry of its own log: from then on it grants nothing. One that has adopted nothing, since its founder was lost, is left by its voters for
// the one that is formed then (member.barren). Recover starts a new generation from what one
// node knows. Its risk: what only the lost voters knew is lost, and if a majority of them comes back before it has heard of the new generation, there are two
// groups until it does.
//
// # Leases
//
// A primary serves only inside a lease, which it renews every third of it at all voters directly; it counts when a majority has
// promised. A voter's promise is: no other node gets this shard's lease for a full lease L from now. The voter refuses as long as
// it has promised another node, unless that one has released its lease; it refuses whoever is not the primary in its own table; and it says
// nothing at all for L after its start, because it has forgotten what it promised; only in the first life of its log there is nothing to forget (Voter.Fresh).
//
// With the promise comes the index of the last entry in the voter's log. A renewal counts only when the holder's own
// table has come that far. A leader begins its term with an empty grant, so the index never stays behind an entry that is in no table.
//
// # Why two primaries are never inside leases
//
// Let clocks (CLOCK_BOOTTIME, read as durations, never compared between nodes) run wrong by the rate r at most. The holder counts 9/10 L from the
// moment it sent a renewal; the voter counts L from the later moment it received it. In true time the holder stops after at most
// 0.9 L/(1-r), the voter keeps its promise for at least L/(1+r): with r up to 5 % the promise outlasts the lease.
//
// Two leases of one shard at one time would need promises of two majorities. If these are of one set of voters, they
// share a voter, which does not promise twice. The set changes by one voter at a time, so that the majorities of a set and of the next one
// share a voter too; and a leader lets L pass between two changes, and before its first one, since all that was in its log is decided (pace). A voter that
// has lost its log counts as two: it is taken out, and comes back later as a new one. So let an old lease stand on a majority M of
// set i, and a new one on set i+2 or later. The entry of set i+1 was in the log of some voter of M more than L before set
// i+2 could count. If that voter promised before it had the entry, the lease has ended by then. If after, it named an index that
// the holder, who believed in set i, had not reached: the promise did not count.
//
// A grant takes slots from a shard either with its primary's consent (Released), or to nobody first; then a leader lets L pass before it grants them
// anew. By then the old owner's lease rests on renewals that were sent after the entry was committed, a majority of voters has
// it in their logs, and so the owner's table has it, or the lease has ended.
//
// What is not covered: a clock that stands still while the process runs on (a frozen guest), a process that stops between its last look at the lease
// and the reply for longer than the lease's margin of L/10, and Recover's risk. All nodes must have the same L. lease_sim_test.go plays all of this.
//
// # Failover
//
// The leader replaces a primary that gossip calls dead. A majority of voters has to agree, each when its promise to the old primary has ended, and
// then makes no new one for L; members of the shard are asked for the end of their logs and promise to refuse the old
// primary; the best log is granted, with acknowledgements by replicas only one that is in sync
// (or, by an operator's word, any). A node that may have lost the end of its log to a power failure says so: it is granted only when nobody who is sure has everything
// can be, and all have answered; such a primary holds no lease before it is granted anew. Exclusion does not hang on any
// of that: it is what spares a live primary, and acknowledged writes. A killed primary is replaced L after its last renewal, and a little.
package epoch
