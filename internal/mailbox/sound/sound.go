// Package sound checks the rows and bodies of mailboxes in a snapshot. It
// belongs to mailbox.
package sound

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"math"

	"gatepost/internal/audit"
	"gatepost/internal/blob"
	"gatepost/internal/envelope"
	"gatepost/internal/lines"
	"gatepost/internal/mailbox/title"
	"gatepost/internal/store"
)

// fixBody is what is to be done about a body that is not what was filed.
const fixBody = "Restore a backup to another directory and export the mailbox from there. Then look at the health of the disk."

// Moment is the store of one moment: every call of View shows the same.
type Moment interface {
	View(f func(*store.Tx) error) error
}

// checker gathers what is wrong with the mailboxes of a snapshot.
type checker struct {
	n     Moment
	blobs blob.Store
	found func(audit.Finding)
	bad   []bad
}

// bad is a body that is not what was filed.
type bad struct {
	id    int64
	fault string
}

// Work returns the octets that Check reads.
func Work(n Moment) (octets int64, err error) {
	err = n.View(func(tx *store.Tx) error {
		return tx.QueryRow(`SELECT CAST(COALESCE(SUM(size), 0) AS BIGINT) FROM body`).Scan(&octets)
	})
	return octets, err
}

// Check reads every row and every body of the mailboxes in a snapshot, and
// tells what is wrong. done is told of the octets that were read, owned of the
// blobs that belong to a body. It changes nothing.
func Check(ctx context.Context, n Moment, blobs blob.Store, done func(int64), owned func(name string), found func(audit.Finding)) error {
	c := &checker{n: n, blobs: blobs, found: found}
	for _, question := range questions {
		if err := c.ask(question.query, question.say); err != nil {
			return err
		}
	}
	if err := c.folders(); err != nil {
		return err
	}
	if err := c.bodies(ctx, done, owned); err != nil {
		return err
	}
	return c.name()
}

func (c *checker) fail(fix, format string, args ...any) {
	c.found(audit.Finding{Check: "mailbox", Level: audit.Failure, Text: fmt.Sprintf(format, args...), Fix: fix})
}

// question is a rule of the schema as a query for what breaks it: a text that
// says where, and three numbers.
type question struct {
	query string
	say   string // with the text and the numbers in their order
}

// whose is the address of an account, or its number where it is gone.
const whose = `COALESCE(a.local || '@' || a.domain, 'account ' || CAST(f.account AS TEXT))`

var questions = []question{
	{`SELECT ` + whose + `, f.used, CAST(COALESCE(SUM(m.size), 0) AS BIGINT), 0
		FROM mailbox f LEFT JOIN account a ON a.id = f.account
		LEFT JOIN folder d ON d.account = f.account LEFT JOIN message m ON m.folder = d.id
		GROUP BY f.account, f.used, a.local, a.domain HAVING f.used <> COALESCE(SUM(m.size), 0)`,
		"The mailbox of %[1]s counts %[2]d octets, its messages have %[3]d."},
	{`SELECT ` + whose + ` || ', ' || f.name, f.uidnext, MAX(m.uid), 0
		FROM folder f LEFT JOIN account a ON a.id = f.account JOIN message m ON m.folder = f.id
		GROUP BY f.id, f.account, f.name, f.uidnext, a.local, a.domain HAVING MAX(m.uid) >= f.uidnext OR MIN(m.uid) < 1`,
		"In %[1]s the next UID is %[2]d and a message has %[3]d."},
	{`SELECT ` + whose + ` || ', ' || f.name, f.modseq, MAX(m.modseq), 0
		FROM folder f LEFT JOIN account a ON a.id = f.account JOIN message m ON m.folder = f.id
		GROUP BY f.id, f.account, f.name, f.modseq, a.local, a.domain HAVING MAX(m.modseq) > f.modseq`,
		"In %[1]s the highest change is %[2]d and a message has %[3]d."},
	{`SELECT ` + whose + ` || ', ' || f.name, e.uid, f.uidnext, 0
		FROM expunged e JOIN folder f ON f.id = e.folder LEFT JOIN account a ON a.id = f.account
		LEFT JOIN message m ON m.folder = e.folder AND m.uid = e.uid
		WHERE e.uid >= f.uidnext OR m.id IS NOT NULL`,
		"In %[1]s the message of UID %[2]d is said to be gone and is there, or never was."},
	{`SELECT ` + whose + ` || ', ' || f.name, m.id, m.body, 0
		FROM message m JOIN folder f ON f.id = m.folder LEFT JOIN account a ON a.id = f.account
		LEFT JOIN body b ON b.id = m.body WHERE b.id IS NULL`,
		"In %[1]s message %[2]d has no content."},
	{`SELECT ` + whose + ` || ', ' || f.name, m.id, m.size, b.size
		FROM message m JOIN folder f ON f.id = m.folder LEFT JOIN account a ON a.id = f.account
		JOIN body b ON b.id = m.body WHERE b.size <> m.size`,
		"In %[1]s message %[2]d has %[3]d octets and its content %[4]d."},
	{`SELECT 'body', b.id, b.refs, COALESCE(r.n, 0)
		FROM body b LEFT JOIN (SELECT body, COUNT(*) AS n FROM message GROUP BY body) r ON r.body = b.id
		WHERE b.refs <> COALESCE(r.n, 0)`,
		"Content %[2]d counts %[3]d messages that have it; there are %[4]d."},
	{`SELECT s.name, s.next, MAX(m.id), 0 FROM sequence s JOIN message m ON s.name = 'message'
		GROUP BY s.name, s.next HAVING MAX(m.id) >= s.next`,
		"The sequence %[1]s goes on with %[2]d, and %[3]d is given already."},
	{`SELECT s.name, s.next, MAX(f.id), 0 FROM sequence s JOIN folder f ON s.name = 'folder'
		GROUP BY s.name, s.next HAVING MAX(f.id) >= s.next`,
		"The sequence %[1]s goes on with %[2]d, and %[3]d is given already."},
	{`SELECT CASE WHEN m.account IS NULL THEN 'no mailbox' ELSE 'the mailbox' END, i.account, LENGTH(i.same), i.copies
		FROM imported i LEFT JOIN mailbox m ON m.account = i.account
		WHERE m.account IS NULL OR LENGTH(i.same) <> 16 OR i.copies < 1`,
		"What is remembered of an import into %[1]s of account %[2]d has %[3]d octets and stands for %[4]d messages."},
	{`SELECT f.recipient, LENGTH(f.spool), 0, 0 FROM filed f WHERE LENGTH(f.spool) <> 16`,
		"What is remembered as filed for %[1]s has an id of %[2]d octets."},
}

// ask tells what a query finds.
func (c *checker) ask(query, say string) error {
	return c.n.View(func(tx *store.Tx) error {
		rows, err := tx.Query(query)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var where string
			var n [3]int64
			if err := rows.Scan(&where, &n[0], &n[1], &n[2]); err != nil {
				return err
			}
			c.fail(audit.FixRows, say, where, n[0], n[1], n[2])
		}
		return rows.Err()
	})
}

// folders checks what SQL cannot say of a folder, and tells of mailboxes that
// belong to nobody.
func (c *checker) folders() error {
	return c.n.View(func(tx *store.Tx) error {
		rows, err := tx.Query(`SELECT f.account, f.name, f.role, f.uidvalidity, f.uidnext, x.uidvalidity, COALESCE(a.id, 0)
			FROM folder f JOIN mailbox x ON x.account = f.account LEFT JOIN account a ON a.id = f.account
			ORDER BY f.account, f.id`)
		if err != nil {
			return err
		}
		defer rows.Close()
		last := int64(0)
		for rows.Next() {
			var id, validity, next, greatest, there int64
			var name, role string
			if err := rows.Scan(&id, &name, &role, &validity, &next, &greatest, &there); err != nil {
				return err
			}
			if there == 0 && id != last {
				c.found(audit.Finding{Check: "mailbox", Level: audit.Warning,
					Text: fmt.Sprintf("The account %d is gone and its mail is still there.", id), Fix: "The next start of the server removes it."})
			}
			last = id
			switch kept, ok := title.Clean(name); {
			case !ok || kept != name || !title.IsRole(role):
				c.fail(audit.FixRows, "A folder of account %d is called %q and has the role %q.", id, name, role)
			case validity < 1 || validity > greatest || greatest > math.MaxUint32 || next < 1 || next > math.MaxUint32+1:
				c.fail(audit.FixRows, "The folder %s of account %d has UIDVALIDITY %d of at most %d, and UIDNEXT %d.", name, id, validity, greatest, next)
			}
		}
		return rows.Err()
	})
}

// bodies reads every body and compares it with its row.
func (c *checker) bodies(ctx context.Context, done func(int64), owned func(string)) error {
	return c.n.View(func(tx *store.Tx) error {
		rows, err := tx.Query(`SELECT id, size, blob, header, content, header_sum, content_sum, ends FROM body ORDER BY id`)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() && ctx.Err() == nil {
			var id, size, headerSum, contentSum int64
			var name string
			var header, inline, ends []byte
			if err := rows.Scan(&id, &size, &name, &header, &inline, &headerSum, &contentSum, &ends); err != nil {
				return err
			}
			length, sum, fault := int64(len(inline)), crc32.Checksum(inline, envelope.SumTable), ""
			if name != "" {
				owned(name)
				length, sum, fault = c.file(name)
			}
			switch n := int64(len(header)) + length; {
			case fault != "":
			case n != size:
				fault = fmt.Sprintf("has %d octets instead of %d", n, size)
			case !Matches(contentSum, sum) || !Matches(headerSum, crc32.Checksum(header, envelope.SumTable)):
				fault = "does not match its checksum"
			case lines.Check(ends) != nil:
				fault = "has a note of its line ends that nobody wrote"
			}
			if fault != "" && len(c.bad) < maxBad {
				c.bad = append(c.bad, bad{id, fault})
			}
			done(size)
		}
		return errors.Join(rows.Err(), ctx.Err())
	})
}

// maxBad bounds the bodies that are told of.
const maxBad = 1000

// unsummed marks a body that was filed before there were checksums.
const unsummed = -1

// Matches compares a checksum in a row with what was read.
func Matches(row int64, sum uint32) bool { return row == unsummed || row == int64(sum) }

// file reads a body in a file.
func (c *checker) file(name string) (length int64, sum uint32, fault string) {
	f, err := c.blobs.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, 0, fmt.Sprintf("is missing: its file %s is not there", name)
	}
	if err != nil {
		return 0, 0, fmt.Sprintf("cannot be opened: %v", err)
	}
	defer f.Close()
	h := crc32.New(envelope.SumTable)
	if _, err := io.Copy(h, io.NewSectionReader(f, 0, f.Size())); err != nil {
		return 0, 0, fmt.Sprintf("cannot be read: %v", err)
	}
	return f.Size(), h.Sum32(), ""
}

// name tells of the bodies that are bad, by the messages that have them.
func (c *checker) name() error {
	return c.n.View(func(tx *store.Tx) error {
		for _, b := range c.bad {
			var where string
			var message int64
			err := tx.QueryRow(`SELECT `+whose+` || ', ' || f.name, m.id
				FROM message m JOIN folder f ON f.id = m.folder LEFT JOIN account a ON a.id = f.account
				WHERE m.body = ? ORDER BY m.id LIMIT 1`, b.id).Scan(&where, &message)
			switch {
			case errors.Is(err, store.ErrNotFound):
				c.fail(fixBody, "Content %d, which no message has, %s.", b.id, b.fault)
			case err != nil:
				return err
			default:
				c.fail(fixBody, "The content of message %d in %s %s.", message, where, b.fault)
			}
		}
		return nil
	})
}
