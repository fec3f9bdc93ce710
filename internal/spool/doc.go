// Package spool is the durable log of messages in flight: what was
// acknowledged is here, whole, until every recipient is settled.
//
// # Place in the path
//
// The session writes a message as a Draft and commits it; the queue is
// offered its envelope, reads its body and reports changes of its
// recipients. The spool owns the state of recipients: it alone writes the
// mutable fields of an envelope, under its lock, and puts each change into
// the log.
//
// # States
//
// A message is in one of these states; a crash may come between any two.
//
//	state      where it is                           after a crash
//	---------  ------------------------------------  ------------------------
//	draft      memory; past 256 KiB a temporary      gone; its temporary file
//	           file of the blob store                is removed
//	appended   in the batch being written            gone, or whole as if
//	                                                 committed: never in part
//	committed  record synced; 250 was given          whole, offered again
//	held       committed, marked held                whole, held
//	moved      copied into a newer segment with its  the newer copy counts,
//	           state of that moment                  the older is ignored
//	done       every recipient final; the change     gone if the change was
//	           is in the log or in the batch         synced, else offered
//	           being written                         again (see below)
//	reclaimed  its record's segment is free          gone
//
//	transition            what makes it durable
//	--------------------  ------------------------------------------------
//	draft → appended      nothing: memory. A large body was synced, renamed
//	                      and its directory synced before
//	appended → committed  fdatasync of the segment, begun after the batch
//	                      was written whole
//	committed → done      a change record for its last recipient, synced
//	                      with a later batch; nobody waits
//	committed → moved     the copy's batch is synced; only then may the old
//	                      segment be freed
//	done → reclaimed      the segment is renamed to a free one and the
//	                      directory synced; free segments are older than
//	                      any that still explains why a record is dead
//
// An outcome that was not yet synced when the machine stopped is tried
// again. For a mailbox that is harmless (the mailbox remembers what it
// filed); another server may get the message twice, which RFC 5321, section
// 4.5.4.1 prefers to losing it.
//
// # On disk
//
// A directory of segments, all of one size, written once with zeros so that
// appending never has to allocate: NNNNNNNNNNNNNNNN.seg in use, .free for
// reuse. A segment begins with a header block (magic, version, generation,
// first sequence, CRC32C) and continues with batches, each beginning at a
// multiple of 4,096 so that no later write touches a block that was synced
// before:
//
//	batch   = length, generation, first sequence, last durable sequence,
//	          number of records, CRC32C of this header; records
//	record  = length, type, generation, sequence, CRC32C over header and
//	          payload; payload
//	message = body, then envelope (header fields, recipients with their
//	          state), then the changes that belong to it
//	changes = a list of changes
//	index   = what the segment holds, without bodies; ends a sealed one
//
// Generations only grow, and a segment that is used again gets a new one, so
// that what it held before is never read as new.
//
// # Recovery
//
// Sealed segments are read through their index, the newest one batch by
// batch. A bad batch is a torn tail if no later batch of the same generation
// says that it was durable: nothing of it was acknowledged. Otherwise it is
// corruption: it is reported, each record that still has a good checksum is
// salvaged, and reading goes on behind it. Nothing is truncated. A record
// that refers to a body which is missing or damaged is reported and kept. A
// damaged segment gets no index, so that every start reports it again; when
// nothing of it is needed any more it is set aside as .damaged, and reported
// until somebody takes it away.
//
// The very last batch has none behind it: should it decay before the next
// one is written or the spool closed, it passes for torn, and the report
// counts it as such.
//
// What cannot be read or synced at the start may be well at the next one: it
// is reported and left as it is, and nothing that was there is moved or
// freed, since one part of the log may explain another. New mail is taken.
// A format that is newer than this program is refused; the first version,
// which knew nothing of what is forwarded, is read as if nothing were.
//
// # When a write or sync fails
//
// The segment is closed for good: after a failed fsync nobody knows what is
// on the disk, and a second one may report success for pages that were
// dropped. The batch is written again to a new segment; if that fails too,
// those who wait for it get 452 and the changes in it stay in memory for the
// next attempt.
//
// # Snapshots
//
// A backup and a deep check read the spool of one moment while it goes on:
// Snapshot notes the messages with their states and keeps the segments that
// are in use from being freed, and what of them is written does not change.
//
// # Bounds
//
// Every size is in Options with its default. Disk use stays below twice the
// live records plus four segments, as long as all of the log can be read and
// nothing is set aside: segments that hold little are moved together. Segments
// that a snapshot keeps come on top. Memory is one entry of less than 1 KiB a
// message plus at most 64 MiB of fresh bodies.
package spool
