package maildir

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

func TestFlags(t *testing.T) {
	t.Parallel()
	keywords := []string{"work", "", "$Junk"}
	for name, want := range map[string]string{
		"1.2.host:2,":             "[]",
		"1.2.host":                "[]",
		"1.2.host,S=5:2,RS":       `[\Answered \Seen]`,
		"1.2.host:2,DFPRST":       `[\Draft \Flagged $Forwarded \Answered \Seen \Deleted]`,
		"1.2.host;2,S":            `[\Seen]`,
		"1.2.host!2,F":            `[\Flagged]`,
		"1.2.host:2,Sabcz":        `[\Seen work $Junk]`,
		"1.2.host:2,S,experiment": `[\Seen]`,
	} {
		if got := fmt.Sprint(Flags(name, keywords)); got != want && !strings.HasPrefix(name, "1.2.host:2,S,") {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
	flags := []string{`\Seen`, "work", `\Flagged`, "$Forwarded", "other", `\Recent`}
	name := FileName("1.x", flags, []string{"none", "work"})
	if name != "1.x:2,FPSb" {
		t.Error(name)
	}
	if got := Flags(name, []string{"none", "work"}); !slices.Equal(got, []string{`\Flagged`, "$Forwarded", `\Seen`, "work"}) {
		t.Error(got)
	}
	if !HasLetter(`\Seen`) || HasLetter("work") {
		t.Error("letters")
	}
}

func TestOrder(t *testing.T) {
	t.Parallel()
	names := []string{"1700000000.b", "x", "999999999.z", "1700000000.a"}
	slices.SortFunc(names, Compare)
	if got := strings.Join(names, " "); got != "x 999999999.z 1700000000.a 1700000000.b" {
		t.Error(got)
	}
	if Came("1700000000.a").Unix() != 1700000000 || !Came("x").IsZero() || Came(strings.Repeat("9", 100)).IsZero() {
		t.Error("time of a name")
	}
}

func TestKeywords(t *testing.T) {
	t.Parallel()
	got := ParseKeywords("0 work\n2 a b\r\n25 last\n26 beyond\nx y\n-1 z\n3\n")
	if len(got) != MaxKeywords || got[0] != "work" || got[1] != "" || got[2] != "a b" || got[25] != "last" {
		t.Errorf("%q", got)
	}
	if again := ParseKeywords(FormatKeywords([]string{"a", "b"})); again[0] != "a" || again[1] != "b" || again[2] != "" {
		t.Errorf("%q", again)
	}
}

func TestFolders(t *testing.T) {
	t.Parallel()
	for folder, dir := range map[string]string{
		"Archive":      ".Archive",
		"Archive/2026": ".Archive.2026",
		"Entwürfe":     ".Entw&APw-rfe",
		"R&D":          ".R&-D",
		"台北/日本語":       ".&U,BTFw-.&ZeVnLIqe-",
		"😀":            ".&2D3eAA-",
		"v1.2":         ".v1=2E2",
		"a=b":          ".a=3Db",
		"..":           ".=2E=2E",
		"line\nend":    ".line=0Aend",
	} {
		if got := EncodeFolder(folder); got != dir {
			t.Errorf("%s is written %s, want %s", folder, got, dir)
		}
		if got := strings.Join(DecodeFolder(dir), "/"); got != folder {
			t.Errorf("%s is read %q, want %q", dir, got, folder)
		}
	}
	// What others write.
	for dir, want := range map[string]string{
		".Entwürfe": "Entwürfe", ".a&b": "a&b", ".&*-": "&*-", ".&AA-": "&AA-", ".a=2fb=4": "a=2fb=4", ".=2F..": "/||", ".": "",
	} {
		if got := strings.Join(DecodeFolder(dir), "|"); got != want {
			t.Errorf("%s is read %q, want %q", dir, got, want)
		}
	}
}

func FuzzNames(f *testing.F) {
	f.Add("Archive/Entwürfe.&x=2E", "1.2:2,RSa")
	f.Add("..", "!2,")
	f.Add("\x00&AGE-", ";2,Z")
	f.Fuzz(func(t *testing.T, folder, name string) {
		Flags(name, []string{"a"})
		if c := Came(name); !c.IsZero() && c.Unix() <= 0 {
			t.Error(c)
		}
		if Compare(name, folder) != -Compare(folder, name) {
			t.Error("no order")
		}
		DecodeFolder(folder)
		folder = strings.ToValidUTF8(folder, "?")
		dir := EncodeFolder(folder)
		if strings.ContainsAny(dir, "/\x00") || dir == ".." {
			t.Errorf("%q is written %q", folder, dir)
		}
		empty := strings.Contains("/"+folder+"/", "//") // a level that no folder has
		if got := strings.Join(DecodeFolder(dir), "/"); got != folder && !empty {
			t.Errorf("%q came back as %q by %q", folder, got, dir)
		}
	})
}
