package internal

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// What docs/attacks-accounts.md says is held by a test is: each row of its
// first table names some, as `directory` TestOne, TestTwo; `another` TestThree.
func TestAttacksAreTested(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../docs/attacks-accounts.md")
	if err != nil {
		t.Fatal(err)
	}
	table, _, _ := strings.Cut(string(page), "\n## ")
	named := regexp.MustCompile("`([a-z/]+)` (Test[A-Za-z0-9, ]+)")
	rows := 0
	for line := range strings.Lines(table) {
		cells := strings.Split(strings.TrimSpace(line), "|")
		if len(cells) != 5 || strings.Trim(cells[1], "- ") == "" || strings.TrimSpace(cells[1]) == "attack" {
			continue
		}
		rows++
		found := named.FindAllStringSubmatch(cells[3], -1)
		if len(found) == 0 {
			t.Errorf("no test holds %q", cells[1])
		}
		for _, f := range found {
			tests := testsIn(t, filepath.Join("..", f[1]))
			for _, name := range strings.Fields(strings.ReplaceAll(f[2], ",", " ")) {
				if !strings.Contains(tests, "func "+name+"(t *testing.T)") {
					t.Errorf("there is no test %s in %s", name, f[1])
				}
			}
		}
	}
	if rows < 15 {
		t.Errorf("%d rows were found", rows)
	}
}

// testsIn returns the text of the tests of a package.
func testsIn(t *testing.T, dir string) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		all.Write(b)
	}
	return all.String()
}
