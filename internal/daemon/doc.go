// Package daemon puts the parts together: it opens them from the ground up,
// hands each what it needs, and stops them in the reverse order. It is the
// only place that knows all of them, and the only one besides the commands
// that reads the configuration.
//
// The parts are opened by open (parts.go), for `serve` and for commands that
// find no server running. Serve adds the doors (serve.go) and replaces what
// SIGHUP can replace (generation.go).
//
// # The rooms below
//
// settings turns the configuration into what the parts take, and datadir knows
// what lies where. guard and protect put together what has several parts of
// its own. operate stands above: what the commands do, through a running
// server or without one; and so does trial, a server on loopback that writes
// to itself.
package daemon
