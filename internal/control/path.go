package control

import (
	"fmt"
	"os"
	"path/filepath"
)

// maxSocketPath is what the kernel takes for the name of a socket
// (sun_path of unix(7)), less its final NUL.
const maxSocketPath = 107

// reach returns a name for path that is short enough for a socket, going
// through an open directory where it is not. close must be called once the
// name is no longer needed.
func reach(path string) (short string, close func(), err error) {
	if len(path) <= maxSocketPath {
		return path, func() {}, nil
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return "", nil, err
	}
	return fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), filepath.Base(path)), func() { dir.Close() }, nil
}
