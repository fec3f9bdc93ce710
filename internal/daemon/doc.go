// Package daemon puts the parts together: it opens them from the ground up,
// hands each what it needs, and stops them in the reverse order. It is the
// only place that knows all of them, and the only one besides the commands
// that reads the configuration.
//
// The parts are opened by open (parts.go), for `serve` and for commands that
// find no server running. Serve adds the doors (serve.go) and replaces what
// SIGHUP can replace (generation.go). Try is a server on loopback that
// writes to itself (try.go).
//
// # On disk
//
// The data directory holds:
//
//	lock          held by the process that works on it
//	control.sock  the operator's commands to a running server
//	keys/         secrets: see keys
//	store.db      accounts and the index of mailboxes: see store
//	spool/        messages in flight: see spool
//	blobs/        large bodies of both: see blob
package daemon
