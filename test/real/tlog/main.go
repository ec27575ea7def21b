// Checks Sello's checkpoints and proofs with the transparency log libraries of others: Go's own (x/mod/sumdb/note and
// tlog, which the module proxy's checksum database uses) and transparency-dev's.
//
//	tlog checkpoint VKEY FILE           every note of FILE is signed and well-formed
//	tlog proof VKEY PROOF RECORD        the record is in the tree of the proof's checkpoint
package main

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/transparency-dev/formats/log"
	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(args []string) error {
	verifier, err := note.NewVerifier(args[1])
	if err != nil {
		return err
	}
	text, err := os.ReadFile(args[2])
	if err != nil {
		return err
	}
	switch args[0] {
	case "checkpoint":
		return checkpoints(verifier, string(text))
	case "proof":
		record, err := os.ReadFile(args[3])
		if err != nil {
			return err
		}
		return inclusion(verifier, string(text), bytes.TrimSuffix(record, []byte("\n")))
	}
	return fmt.Errorf("unknown command %q", args[0])
}

func open(verifier note.Verifier, text string) (*log.Checkpoint, error) {
	if _, err := note.Open([]byte(text), note.VerifierList(verifier)); err != nil {
		return nil, err
	}
	checkpoint, rest, _, err := log.ParseCheckpoint([]byte(text), verifier.Name(), verifier)
	if err != nil {
		return nil, err
	}
	if len(rest) > 0 {
		return nil, fmt.Errorf("unexpected extension %q", rest)
	}
	return checkpoint, nil
}

func checkpoints(verifier note.Verifier, text string) error {
	origin, _, _ := strings.Cut(text, "\n")
	count := 0
	for _, each := range strings.Split(text, origin+"\n") {
		if each == "" {
			continue
		}
		checkpoint, err := open(verifier, origin+"\n"+each)
		if err != nil {
			return fmt.Errorf("note %d: %w", count, err)
		}
		count++
		fmt.Printf("%s %d %s\n", checkpoint.Origin, checkpoint.Size, base64.StdEncoding.EncodeToString(checkpoint.Hash))
	}
	return nil
}

func inclusion(verifier note.Verifier, text string, record []byte) error {
	head, signed, found := strings.Cut(text, "\n\n")
	lines := strings.Split(head, "\n")
	if !found || len(lines) < 2 || lines[0] != "c2sp.org/tlog-proof@v1" {
		return fmt.Errorf("not a tlog-proof")
	}
	checkpoint, err := open(verifier, signed)
	if err != nil {
		return err
	}
	index, err := strconv.ParseUint(strings.TrimPrefix(lines[1], "index "), 10, 64)
	if err != nil {
		return err
	}
	var path [][]byte
	var hashes tlog.RecordProof
	for _, line := range lines[2:] {
		hash, err := base64.StdEncoding.DecodeString(line)
		if err != nil || len(hash) != tlog.HashSize {
			return fmt.Errorf("bad hash %q", line)
		}
		path = append(path, hash)
		hashes = append(hashes, tlog.Hash(hash))
	}
	leaf := rfc6962.DefaultHasher.HashLeaf(record)
	if err := proof.VerifyInclusion(rfc6962.DefaultHasher, index, checkpoint.Size, leaf, path, checkpoint.Hash); err != nil {
		return fmt.Errorf("transparency-dev/merkle: %w", err)
	}
	root := tlog.Hash(checkpoint.Hash)
	if err := tlog.CheckRecord(hashes, int64(checkpoint.Size), root, int64(index), tlog.RecordHash(record)); err != nil {
		return fmt.Errorf("x/mod/sumdb/tlog: %w", err)
	}
	fmt.Printf("record %d is in %s, %d records\n", index, checkpoint.Origin, checkpoint.Size)
	return nil
}
