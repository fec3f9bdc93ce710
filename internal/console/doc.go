// Package console is the pages on which people look after their account, and
// the small API for the same.
//
// # Place in the path
//
// Beside it. The https door (web) hands it what is asked of the server's own
// host name. It asks account who somebody is and has it make every change;
// what it keeps itself is who is signed in (session). page draws.
//
// # Who may do what
//
//	nobody            sign in
//	a session         look; end sessions; lock the account
//	a fresh session   change anything: password and factor, or a passkey, were
//	                  shown within session.FreshLife (step-up)
//	an administrator  see the accounts; with a fresh session freeze and release
//
// Whose role owes a second factor, and has none, can do nothing but add one.
//
// # Attacks that this stops
//
// Another site's forms and scripts (CSRF): what changes something must come
// from a page of ours by the word of the browser (browser.SameOrigin), and the cookie
// does not come along with others' requests. A session planted by somebody
// (fixation): see session. A page of ours in another's frame: headers
// (browser.Protect). A link through us to elsewhere: next. What people are
// called is escaped where it stands.
//
// # Trust and limits
//
// Everything of a request is a stranger's. Bodies have at most maxBody octets
// and, by web, half a minute to arrive. Nothing secret is in an address, a log
// or an error.
package console
