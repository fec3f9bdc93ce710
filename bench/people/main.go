// Command people measures what accounts cost a server, and what its answers
// tell of them by their time:
//
//	go run ./bench/people -gatepost ./gatepost many    10,000 accounts: memory, start, sign-ins
//	go run ./bench/people -gatepost ./gatepost alike   names that exist and names that do not
//
// It works on loopback, in a directory that it removes.
package main

import (
	"flag"
	"fmt"
	"os"
)

func main() {
	gatepost := flag.String("gatepost", "./gatepost", "the binary under test")
	n := flag.Int("n", 0, "how many accounts, or attempts of each kind; 0: 10,000, or 200")
	flag.Parse()
	measure := map[string]func(*server, int) error{"many": many, "alike": alike}[flag.Arg(0)]
	if measure == nil {
		flag.Usage()
		os.Exit(2)
	}
	s, err := install(*gatepost)
	if err == nil {
		err = measure(s, *n)
		s.remove()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "people:", err)
		os.Exit(1)
	}
}
