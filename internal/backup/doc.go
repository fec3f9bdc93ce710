// Package backup makes one file of all that a server stores, while it runs,
// reads it back, and brings it up elsewhere.
//
// # Place in the path
//
// None. A backup copies the one moment that package moment holds; its comment
// says why nothing that was acknowledged is missing then, and nothing is filed
// twice. Restore puts it into a new directory through the parts that own the
// data, so that a backup of an older version is upgraded as it is restored.
//
// # The file
//
// A tar archive (POSIX.1-2001), optionally encrypted with age. Its members, in
// this order:
//
//	backup.json      what it is, its format, when and where it was made
//	gatepost.toml    the configuration, as it was
//	files/N-NAME     the files that it names: certificates, passwords of routes
//	keys/NAME        the directory keys
//	store.db         the store, a whole SQLite database
//	queue/ID         a message of the spool (package spool/snapshot), its body
//	mail/NAME        the content of a message in a mailbox, where the store
//	                 names a file
//	sums/NNNNNNNN    after every 1,000 members, and before the last: SHA-256,
//	                 octets and name of each, a line for a line
//	manifest.json    the last: how much there is, the SHA-256 over all sums,
//	                 what was damaged already; and a line with its own SHA-256
//
// So a reader needs little memory, whatever the size, and can say which member
// is damaged; and no member can be taken out, put in or moved without notice.
//
// # Damage
//
// What cannot be read is copied as far as it can, with zeros for the rest, and
// named in the manifest: the rest of the mail must not depend on it. Damage
// stays damage, since checksums from before are kept: the restored server
// knows it as this one does.
//
// # Restore
//
// Everything is put into a directory ".restoring" below the one that is
// wanted, and takes its place only when the manifest was read and agrees. So a
// backup that is damaged, cut short or hostile leaves nothing behind. Every
// message of the queue is held; every folder gets a new UIDVALIDITY; ids go on
// where none was given before.
//
// # Trust and limits
//
// The file is as secret as the server: keys, passwords of routes and all mail
// are in it; it has mode 0600. Whoever can write it can put anything into a
// server that is restored from it, except beyond its directory: members are
// known by name and kind, names have a grammar, links and the like are
// refused, nothing is larger than the file itself, and what is read into
// memory has a bound.
package backup
