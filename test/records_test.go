package test

import (
	"encoding/json"
	"strings"
	"testing"
)

// The zone file that we write is one that a name server takes, and with it
// the check finds nothing wrong; without a record it says which and how.
func TestRecordsAreFoundAsPrinted(t *testing.T) {
	t.Parallel()
	s := install(t, "records.test", "")
	admin := func(args ...string) string { return run(t, "", binary, append(args, "--config", s.config)...) }
	admin("domain", "add", "parked.test")
	admin("domain", "set", "parked.test", "--parked")
	zone := admin("dns", "records.test", "--zone") + admin("dns", "parked.test", "--zone") +
		"$ORIGIN .\nmx.records.test. A " + s.ip + "\n"
	n := newNames(t, zone)
	s.configure(n.config())
	for _, domain := range []string{"records.test", "parked.test"} {
		var list []struct{ Check, Level, Text, Fix string }
		if err := json.Unmarshal([]byte(admin("dns", domain, "--check", "--json")), &list); err != nil || len(list) < 3 {
			t.Fatalf("%+v, %v", list, err)
		}
		for _, f := range list {
			// The addresses of this machine are not those of the case.
			if f.Level != "ok" && f.Check != "dns.address" {
				t.Errorf("%+v", f)
			}
		}
	}
	n = newNames(t, strings.ReplaceAll(zone, "v=spf1 mx", "v=spf1 ip4:192.0.2.1"))
	s.configure(n.config())
	out, err := try("", binary, "dns", "records.test", "--check", "--config", s.config)
	if err == nil || !strings.Contains(out, "does not let this server ("+s.ip+") send") || !strings.Contains(out, `"v=spf1 mx -all"`) {
		t.Errorf("%v:\n%s", err, out)
	}
}

// Nobody sends in the name of a domain that takes no mail.
func TestNullMXSender(t *testing.T) {
	t.Parallel()
	n := newNames(t, "silent.test. MX 0 .\n")
	s := start(t, "nullmx.test", n.config())
	c := s.world(t)
	reply, err := c.transact("<x@silent.test>", []string{"<" + s.address() + ">"}, letter("x@silent.test", "silent"))
	if err != nil || !strings.HasPrefix(reply, "550 5.7.27") {
		t.Errorf("%s, %v", reply, err)
	}
	c.mail("<x@remote.test>", []string{"<" + s.address() + ">"}, letter("x@remote.test", "loud"))
	s.arrives(s.address(), "loud")
}
