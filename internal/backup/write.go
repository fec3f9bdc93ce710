package backup

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"time"

	"gatepost/internal/backup/archive"
	"gatepost/internal/blob"
	"gatepost/internal/clock"
	"gatepost/internal/keys"
	"gatepost/internal/mailbox"
	"gatepost/internal/moment"
	"gatepost/internal/spool"
)

// Source is a server that can be copied.
type Source struct {
	Parts    moment.Parts
	Keys     *keys.Keys
	Hostname string
	Clock    clock.Clock
	// Config reads the configuration as it is now.
	Config func() (*Config, error)
}

// Config is the configuration and what it names.
type Config struct {
	Text  []byte
	Files []File
	Stale error // why it is not the file as it is now; nil: it is
}

// File is a file that a setting names.
type File struct {
	Setting string // as "tls.key"
	Path    string
	Content []byte
	Err     error // it cannot be read: it is named as damage
}

// maxDamage bounds the sentences about damage in a manifest.
const maxDamage = 200

// Job is a backup that was begun: what it will hold is decided.
type Job struct {
	s      *Source
	made   time.Time
	config *Config
	moment *moment.Moment
	mail   []mailbox.File
	head   archive.Head
	damage []string
	hurt   int64
}

// Begin decides what is in the backup: what is acknowledged by now. The caller
// closes the job.
func (s *Source) Begin(ctx context.Context) (*Job, error) {
	j := &Job{s: s, made: s.Clock.Now().UTC().Truncate(time.Second)}
	var err error
	if j.config, err = s.Config(); err != nil {
		return nil, err
	}
	if j.moment, err = moment.Take(ctx, s.Parts); err != nil {
		return nil, err
	}
	if err := j.plan(); err != nil {
		return nil, errors.Join(err, j.Close())
	}
	return j, nil
}

// Close ends a job, done or not.
func (j *Job) Close() error { return j.moment.Close() }

// Octets returns about how much Write will write.
func (j *Job) Octets() int64 { return j.head.Octets }

// plan finds out how much there is.
func (j *Job) plan() error {
	if len(j.config.Text) > archive.MaxSmall || len(j.config.Files) > archive.MaxFiles {
		return errors.New("the configuration is too large for a backup")
	}
	size, err := j.moment.Store.Size()
	if err != nil {
		return err
	}
	if j.mail, err = mailbox.Files(j.moment.Store); err != nil {
		return err
	}
	j.head = archive.Head{Format: archive.Format, Made: j.made, Hostname: j.s.Hostname}
	j.head.Octets = size + j.moment.Spool.Octets()
	for i := range j.mail {
		j.head.Octets += j.mail[i].Size
	}
	if j.config.Stale != nil {
		j.hurtBy("The configuration cannot be used as its file is now; this backup has the one that the server works with. %v.", j.config.Stale)
	}
	for i, f := range j.config.Files {
		if f.Err == nil && len(f.Content) > archive.MaxSmall {
			j.config.Files[i].Err = fmt.Errorf("it is larger than %d octets", archive.MaxSmall)
		}
		if err := j.config.Files[i].Err; err != nil {
			j.hurtBy("The file %s, which the setting %s names, is not in this backup: %v.", f.Path, f.Setting, err)
			continue
		}
		j.head.Octets += int64(len(f.Content))
		j.head.Files = append(j.head.Files, Named{
			Setting: f.Setting, Member: fmt.Sprintf("%s%d-%s", archive.Files, i, archive.Tamed(path.Base(f.Path))),
		})
	}
	if j.moment.Spool.Blind {
		j.hurtBy("A part of the spool could not be read when the server started; messages in it are not in this backup.")
	}
	return nil
}

// hurtBy notes what is not in the backup as it should be.
func (j *Job) hurtBy(text string, args ...any) {
	if j.hurt++; len(j.damage) < maxDamage {
		j.damage = append(j.damage, fmt.Sprintf(text, args...))
	}
}

// Write writes the backup. Only when it returns nil is it one.
func (j *Job) Write(ctx context.Context, w io.Writer) (*Manifest, error) {
	a := archive.NewWriter(ctx, w, j.made)
	m := &Manifest{Format: archive.Format, Made: j.made, Hostname: j.s.Hostname, Queued: int64(j.moment.Spool.Len())}
	for _, step := range []func(*archive.Writer, *Manifest) error{
		j.writeHead, j.writeConfig, j.writeKeys, j.writeStore, j.writeQueue, j.writeMail,
	} {
		if err := step(a, m); err != nil {
			return nil, fmt.Errorf("the backup could not be written: %w", err)
		}
	}
	m.Damage, m.Damaged = append([]string{}, j.damage...), j.hurt
	if err := a.Finish(m); err != nil {
		return nil, fmt.Errorf("the backup could not be written: %w", err)
	}
	return m, nil
}

func (j *Job) writeHead(a *archive.Writer, _ *Manifest) error { return a.Head(&j.head) }

func (j *Job) writeConfig(a *archive.Writer, _ *Manifest) error {
	if err := a.AddBytes(archive.Config, j.config.Text); err != nil {
		return err
	}
	n := 0
	for _, f := range j.config.Files {
		if f.Err != nil {
			continue
		}
		if err := a.AddBytes(j.head.Files[n].Member, f.Content); err != nil {
			return err
		}
		n++
	}
	return nil
}

func (j *Job) writeKeys(a *archive.Writer, _ *Manifest) error {
	return j.s.Keys.Each(func(name string, content []byte) error { return a.AddBytes(archive.Keys+name, content) })
}

// writeStore ends the store's part of the moment as soon as it can.
func (j *Job) writeStore(a *archive.Writer, _ *Manifest) error {
	size, err := j.moment.Store.Size()
	if err != nil {
		return err
	}
	if err := a.Fill(archive.Store, size, j.moment.Store.WriteTo); err != nil {
		return err
	}
	return j.moment.CloseStore()
}

func (j *Job) writeQueue(a *archive.Writer, _ *Manifest) error {
	err := j.moment.Spool.Each(func(m *spool.Message) error {
		head := m.Append(nil)
		name := archive.Queue + m.Envelope.ID.String()
		f, err := m.Open()
		if err != nil {
			j.hurtBy("The content of the queued message %v is not in this backup: %v.", m.Envelope.ID, err)
			return a.AddBytes(name, head)
		}
		defer f.Close()
		body := &mended{file: f}
		if err := a.Add(name, int64(len(head))+f.Size(), io.MultiReader(bytes.NewReader(head), body)); err != nil {
			return err
		}
		if fault := body.compare(m.Size, body.sum == m.Sum); fault != nil {
			j.hurtBy("The content of the queued message %v is damaged: %v.", m.Envelope.ID, fault)
		}
		return nil
	})
	j.moment.CloseSpool()
	return err
}

func (j *Job) writeMail(a *archive.Writer, m *Manifest) error {
	for i := range j.mail {
		f := &j.mail[i]
		file, err := j.s.Parts.Blobs.Open(f.Name)
		if err != nil {
			j.hurtBy("The content of a message in a mailbox (%s) is not in this backup: %v.", f.Name, err)
			continue
		}
		if err := j.writeFile(a, f, file); err != nil {
			return err
		}
		m.Files++
	}
	return nil
}

func (j *Job) writeFile(a *archive.Writer, f *mailbox.File, file blob.File) error {
	defer file.Close()
	body := &mended{file: file}
	if err := a.Add(archive.Mail+f.Name, file.Size(), body); err != nil {
		return err
	}
	if fault := body.compare(f.Size, f.Matches(body.sum)); fault != nil {
		j.hurtBy("The content of a message in a mailbox (%s) is damaged: %v.", f.Name, fault)
	}
	return nil
}

// compare returns what is wrong with a body that was copied.
func (m *mended) compare(size int64, same bool) error {
	switch {
	case m.fault != nil:
		return m.fault
	case m.file.Size() != size:
		return fmt.Errorf("it has %d octets instead of %d", m.file.Size(), size)
	case !same:
		return errors.New("it does not match its checksum")
	}
	return nil
}
