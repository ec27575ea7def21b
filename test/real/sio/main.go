// Seals or opens standard input as DARE with the reference implementation: sio seal|open KEYHEX [VERSION CIPHER].
package main

import (
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"strconv"

	"github.com/minio/sio"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) < 2 {
		return fmt.Errorf("usage: sio seal|open KEYHEX [VERSION CIPHER]")
	}
	key, err := hex.DecodeString(args[1])
	if err != nil {
		return err
	}
	config := sio.Config{Key: key}
	if len(args) == 4 {
		version, err := strconv.ParseUint(args[2], 10, 8)
		if err != nil {
			return err
		}
		cipher, err := strconv.ParseUint(args[3], 10, 8)
		if err != nil {
			return err
		}
		config.MinVersion, config.MaxVersion = byte(version), byte(version)
		config.CipherSuites = []byte{byte(cipher)}
	}
	if args[0] == "seal" {
		_, err = sio.Encrypt(os.Stdout, os.Stdin, config)
		return err
	}
	_, err = sio.Decrypt(os.Stdout, io.Reader(os.Stdin), config)
	return err
}
