package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"gatepost/internal/control"
	"gatepost/internal/control/intake"
	"gatepost/internal/daemon/operate"
	"gatepost/internal/mbox"
	"gatepost/internal/moving"
)

func (a *app) mailboxImport() *cobra.Command {
	var folder, dialect string
	var again, asJSON bool
	c := &cobra.Command{
		Use:   "import ACCOUNT FILE|DIR|-",
		Short: "Bring mail in from files of other programs",
		Long: `Bring the mail in an mbox file, a Maildir with its folders, a directory of
such files (as Thunderbird keeps them) or .eml files into an account's mailbox.
"-" is an mbox on standard input. Dates and flags are kept, folders are made.

When it was interrupted, the same command goes on: what was imported before is
not filed twice. Messages that cannot be taken are named with their place, and
the command then fails.`,
		Example: `  gatepost mailbox import anna@example.org "Takeout/Mail/All mail Including Spam and Trash.mbox"
  gatepost mailbox import anna@example.org /home/anna/Maildir
  zcat archive.mbox.gz | gatepost mailbox import anna@example.org - --folder Archive/2019`,
		Args: cobra.ExactArgs(2),
		RunE: func(c *cobra.Command, args []string) error {
			d, err := mbox.ParseDialect(dialect)
			if err != nil {
				return err
			}
			i := &importing{c: c, json: asJSON, progress: newProgress(c, "Importing")}
			i.source, err = moving.Open(args[1], c.InOrStdin(), moving.Options{
				Folder: folder, Dialect: d, Max: moving.MaxMessage, Skipped: i.skipped, Noted: i.noted,
			})
			if err != nil {
				return err
			}
			defer i.source.Close()
			return a.bringIn(c, i, control.Import{Account: args[0], Again: again})
		},
	}
	c.Flags().StringVar(&folder, "folder", "", "put everything into this `FOLDER`, or below it")
	c.Flags().StringVar(&dialect, "dialect", "auto", "how an mbox tells messages apart: auto, mboxo, mboxrd, mboxcl or mboxcl2")
	c.Flags().BoolVar(&again, "again", false, "also what was imported before")
	jsonFlag(c, &asJSON)
	return c
}

// bringIn carries out an import and tells how it went.
func (a *app) bringIn(c *cobra.Command, i *importing, args control.Import) error {
	began := time.Now()
	err := a.operate(c, func(ctx context.Context, op *operate.Operator) error {
		return op.Send(ctx, "mailbox.import", args, func(send control.Emit) error {
			return i.source.Each(ctx, func(l *moving.Letter) error {
				i.tell()
				return send(intake.Letter{Where: l.Where, Folder: l.Folder, Flags: l.Flags, Received: l.Received, CRLF: l.CRLF}, l.Content)
			})
		}, i.answered)
	})
	i.progress.end()
	if told := i.summary(time.Since(began)); told != nil {
		return errors.Join(err, told)
	}
	if err == nil && i.sums.Skipped > 0 {
		err = quietError{} // each was named
	}
	return err
}

// importing counts what becomes of an import. What is skipped is told by the
// one who reads the source, what is filed by the one who reads the answer.
type importing struct {
	c        *cobra.Command
	json     bool
	source   *moving.Source
	progress *progress

	mu   sync.Mutex
	sums sums
}

// sums are what an import came to.
type sums struct {
	Filed   int `json:"filed"`
	Known   int `json:"known"`   // imported before
	Skipped int `json:"skipped"` // could not be taken
}

// tell shows how far the import has come.
func (i *importing) tell() {
	done, total := i.source.Progress()
	i.mu.Lock()
	defer i.mu.Unlock()
	i.progress.what = "Importing, " + plural(i.sums.Filed+i.sums.Known, "message")
	i.progress.tell(done, total)
}

// skipped names a message that is left out.
func (i *importing) skipped(where, why string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.sums.Skipped++
	i.say("Not imported: %s: %s", where, why)
}

func (i *importing) noted(text string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.say("%s", text)
}

// say writes a line, past the one that shows the progress.
func (i *importing) say(format string, args ...any) {
	i.progress.end()
	fmt.Fprintln(i.c.ErrOrStderr(), escape(fmt.Sprintf(format, args...)))
}

// answered counts what was filed.
func (i *importing) answered(it control.Item) error {
	var f intake.Filed
	if err := json.Unmarshal(it.JSON, &f); err != nil {
		return err
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.sums.Filed += f.Filed
	i.sums.Known += f.Known
	for _, l := range f.Left {
		if l.Taken {
			i.say("Imported, but: %s: %s", l.Where, l.Why)
			continue
		}
		i.sums.Skipped++
		i.say("Not imported: %s: %s", l.Where, l.Why)
	}
	return nil
}

// summary tells what the import came to.
func (i *importing) summary(took time.Duration) error {
	if i.json {
		return printJSON(i.c.OutOrStdout(), i.sums)
	}
	text := "Imported " + plural(i.sums.Filed, "message")
	if i.sums.Known > 0 {
		text += fmt.Sprintf("; imported before: %d", i.sums.Known)
	}
	if i.sums.Skipped > 0 {
		text += fmt.Sprintf("; not imported: %d", i.sums.Skipped)
	}
	if rate := float64(i.sums.Filed+i.sums.Known) / took.Seconds(); took >= time.Second {
		text += fmt.Sprintf(" (%.0f a second)", rate)
	}
	_, err := fmt.Fprintln(i.c.OutOrStdout(), text+".")
	return err
}
