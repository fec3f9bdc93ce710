package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"math/rand/v2"
	"os"
	"strings"
)

// Who gets mail here. The sender's mailbox gets the bounces.
var boxes = []string{"anna@soak.test", "ben@soak.test", "cleo@soak.test"}

const sender = "sender@soak.test"

// letter returns the message of a token: it follows from that, and most are
// small.
func letter(token string) string {
	h := fnv.New64a()
	h.Write([]byte(token))
	random := rand.New(rand.NewPCG(h.Sum64(), 1))
	lines := random.IntN(40)
	if random.IntN(100) == 0 {
		lines = 5000 // a file of its own
	}
	var text strings.Builder
	fmt.Fprintf(&text, "From: %s\r\nSubject: %s\r\n\r\n", sender, token)
	for range lines {
		fmt.Fprintf(&text, "%016x%016x%016x%016x\r\n", random.Uint64(), random.Uint64(), random.Uint64(), random.Uint64())
	}
	return text.String() + "The end of " + token + ".\r\n"
}

// tokenOf returns the token that content says it is of, and whether it is
// the whole letter of that.
func tokenOf(content string) (token string, whole bool) {
	_, rest, _ := strings.Cut(content, "\r\nSubject: ")
	token, _, _ = strings.Cut(rest, "\r\n")
	return token, strings.HasSuffix(content, letter(token))
}

// failedOf returns the recipients that a bounce tells of as failed.
func failedOf(content string) (list []string) {
	to := ""
	for line := range strings.SplitSeq(content, "\r\n") {
		key, value, _ := strings.Cut(line, ":")
		switch strings.ToLower(key) {
		case "final-recipient":
			_, to, _ = strings.Cut(value, ";")
			to = strings.TrimSpace(to)
		case "action":
			if strings.TrimSpace(value) == "failed" && to != "" {
				list = append(list, to)
			}
		}
	}
	return list
}

// readMbox calls f with each message of an mboxrd file.
func readMbox(file string, f func(content string)) error {
	in, err := os.Open(file)
	if err != nil {
		return err
	}
	defer in.Close()
	var content []byte
	begun := false
	end := func() {
		if begun {
			f(string(bytes.TrimSuffix(content, []byte("\r\n")))) // the blank line after each
		}
		begun, content = true, content[:0]
	}
	for r := bufio.NewReader(in); ; {
		line, err := r.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			end()
			return nil
		}
		if err != nil {
			return err
		}
		if bytes.HasPrefix(line, []byte("From ")) {
			end()
			continue
		}
		if bare := bytes.TrimLeft(line, ">"); len(bare) < len(line) && bytes.HasPrefix(bare, []byte("From ")) {
			line = line[1:]
		}
		content = append(append(content, bytes.TrimRight(line, "\r\n")...), "\r\n"...)
	}
}
