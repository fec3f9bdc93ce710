package breached

import (
	"bytes"
	_ "embed" // the list
	"sync"
)

//go:generate go test . -run ^TestCommon$ -update

//go:embed common.list
var common []byte

// Common returns the list that ships inside, held in memory.
var Common = sync.OnceValues(func() (*List, error) {
	l, err := Read(bytes.NewReader(common), int64(len(common)))
	if err == nil {
		err = l.hold()
	}
	return l, err
})
