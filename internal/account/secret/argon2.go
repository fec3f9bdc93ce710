package secret

import (
	"context"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync/atomic"

	"golang.org/x/crypto/argon2"

	"gatepost/internal/account/turn"
)

// Cost is what one run of Argon2id takes.
type Cost struct {
	Time   uint32 // passes
	Memory uint32 // KiB
	Lanes  uint8
}

// Argon2id is the cost of every password that is set from now on: the second
// recommendation of RFC 9106, section 4 (3 passes over 64 MiB), but in one
// lane, so that as many processors are busy as there are runs. It is more
// than three times the least that OWASP asks for in memory.
var Argon2id = Cost{Time: 3, Memory: 64 << 10, Lanes: 1}

const (
	saltSize = 16 // RFC 9106, section 3.1
	hashSize = 32
)

// worst is the most that a stored hash may ask for: a damaged row must not
// take the memory of the whole machine.
var worst = Cost{Time: 16, Memory: 256 << 10, Lanes: 16}

// Lines are who waits for a place to hash in.
type Lines interface {
	// Enter waits for a place; done gives it back.
	Enter(ctx context.Context, who turn.Who) (done func(), err error)
	// Own is Enter for administration, which waits its turn however many
	// wait.
	Own(ctx context.Context) (done func(), err error)
}

// Hasher runs Argon2id, as often at once as there are places.
type Hasher struct {
	Lines
	cost   Cost
	random io.Reader
	count  *atomic.Int64
}

// NewHasher returns a hasher; it adds each run to count.
func NewHasher(cost Cost, lines Lines, random io.Reader, count *atomic.Int64) *Hasher {
	return &Hasher{Lines: lines, cost: cost, random: random, count: count}
}

// Hash returns what is stored of p, a PHC string. It is for administration:
// it waits its turn however many wait.
func (h *Hasher) Hash(ctx context.Context, p Password) (string, error) {
	salt := make([]byte, saltSize)
	if _, err := io.ReadFull(h.random, salt); err != nil {
		return "", err
	}
	done, err := h.Own(ctx)
	if err != nil {
		return "", err
	}
	defer done()
	w := phc{h.cost, salt, make([]byte, hashSize)}
	w.sum = h.run(p, w)
	return w.String(), nil
}

// Mark returns what is the same for two equal passwords, by which one sees
// that they are, over a salt that is the caller's. It costs what Hash does,
// so that it is no quicker way to guess.
func (h *Hasher) Mark(ctx context.Context, p Password, salt []byte) ([]byte, error) {
	done, err := h.Own(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	return h.run(p, phc{h.cost, salt, nil}), nil
}

// IsOne reports whether p is what one of the stored hashes is of. Like Hash it
// waits its turn, for each.
func (h *Hasher) IsOne(ctx context.Context, p Password, stored []string) (bool, error) {
	for _, s := range stored {
		done, err := h.Own(ctx)
		if err != nil {
			return false, err
		}
		same := h.Verify(p, s)
		done()
		if same {
			return true, nil
		}
	}
	return false, nil
}

// Verify reports whether stored is the hash of p. It is called in a place
// and always runs Argon2id once: where stored is empty or damaged, as for an
// account that does not exist, the answer is no after the same time.
func (h *Hasher) Verify(p Password, stored string) bool {
	want, err := parsePHC(stored)
	if err != nil {
		want = phc{h.cost, make([]byte, saltSize), nil}
	}
	sum := h.run(p, want)
	return len(want.sum) == hashSize && subtle.ConstantTimeCompare(sum, want.sum) == 1
}

func (h *Hasher) run(p Password, w phc) []byte {
	h.count.Add(1)
	return argon2.IDKey([]byte(p), w.salt, w.Time, w.Memory, w.Lanes, hashSize)
}

// phc is a hash with its salt and cost, written
// $argon2id$v=19$m=65536,t=3,p=1$salt$hash.
type phc struct {
	Cost
	salt, sum []byte
}

var b64 = base64.RawStdEncoding

func (h phc) String() string {
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version,
		h.Memory, h.Time, h.Lanes, b64.EncodeToString(h.salt), b64.EncodeToString(h.sum))
}

var errPHC = errors.New("secret: not a hash of ours")

// Sound reports whether stored can be the hash of a password.
func Sound(stored string) bool {
	_, err := parsePHC(stored)
	return err == nil
}

func parsePHC(s string) (phc, error) {
	var h phc
	f := strings.Split(s, "$")
	if len(f) != 6 || f[0] != "" || f[1] != "argon2id" || f[2] != fmt.Sprintf("v=%d", argon2.Version) {
		return h, errPHC
	}
	if n, err := fmt.Sscanf(f[3], "m=%d,t=%d,p=%d", &h.Memory, &h.Time, &h.Lanes); n != 3 || err != nil {
		return h, errPHC
	}
	if h.Memory > worst.Memory || h.Time < 1 || h.Time > worst.Time || h.Lanes < 1 || h.Lanes > worst.Lanes {
		return h, errPHC
	}
	var errSalt, errSum error
	h.salt, errSalt = b64.DecodeString(f[4])
	h.sum, errSum = b64.DecodeString(f[5])
	if errSalt != nil || errSum != nil || len(h.salt) < 8 || len(h.sum) != hashSize {
		return h, errPHC
	}
	// Only one spelling: what Sscanf let pass besides is damage.
	if h.String() != s {
		return h, errPHC
	}
	return h, nil
}
