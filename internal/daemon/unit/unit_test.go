package unit

import (
	"strings"
	"testing"

	"gatepost/internal/config"
)

func TestFiles(t *testing.T) {
	t.Parallel()
	units := func(file, user, more string) (map[string]string, error) {
		cfg, err := config.Parse(file, []byte("hostname = \"mx.example.org\"\n"+more))
		if err != nil {
			t.Fatal(err)
		}
		list, err := Files(cfg, "/usr/bin/gatepost", user)
		files := map[string]string{}
		for _, f := range list {
			files[f.Name] = f.Text
		}
		return files, err
	}
	files, err := units(StateDir+"/gatepost.toml", "gatepost", "")
	got := files["gatepost.service"]
	if err != nil || len(files) != 1 || !strings.Contains(got, "\nStateDirectory=gatepost\n") || !strings.Contains(got, "\nAmbientCapabilities=CAP_NET_BIND_SERVICE\n") {
		t.Errorf("%v, %v", files, err)
	}
	files, err = units("/home/anna/mail/gatepost.toml", "gatepost", "[listen]\nmx = [\"systemd:mx\", \"systemd:more\"]\nsubmission = [\":5870\"]\nsubmissions = []\nimaps = []\nhttps = []\nhttp = []\n")
	got = files["gatepost.service"]
	if err != nil || len(files) != 3 || !strings.Contains(files["gatepost-more.socket"], "ListenStream=25\nFileDescriptorName=more\n") ||
		!strings.Contains(got, "\nRequires=gatepost-mx.socket gatepost-more.socket\n") || !strings.Contains(got, "\nReadWritePaths=/home/anna/mail\n") ||
		!strings.Contains(got, "\nProtectHome=read-only\n") || strings.Contains(got, "AmbientCapabilities") {
		t.Errorf("%v, %v", files, err)
	}
	for file, user := range map[string]string{"/srv/a b/gatepost.toml": "gatepost", "/srv/%h/gatepost.toml": "gatepost", "/srv/gatepost.toml": "root\nUser=root"} {
		if files, err := units(file, user, ""); err == nil {
			t.Errorf("%q, %q: %v", file, user, files)
		}
	}
}
