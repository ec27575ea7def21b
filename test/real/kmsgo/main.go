// Command kmsgo puts MinIO's Go client library, as MinIO itself uses it, into the hands of the tests.
//
//	kmsgo drive …   reads one JSON command a line from standard input, answers one JSON line each
//	kmsgo load …    calls one operation from many goroutines and reports rates and latencies
//
// It is a test tool: kms-go is AGPL and neither linked into Sello nor shipped with it.
package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"os"

	"github.com/minio/kms-go/kes"
)

// connection says where the key server is and who calls it.
type connection struct {
	endpoint, ca, apiKey, cert, key string
}

func (c *connection) register(flags *flag.FlagSet) {
	flags.StringVar(&c.endpoint, "endpoint", "https://127.0.0.1:7373", "key server")
	flags.StringVar(&c.ca, "ca", "", "PEM file with the CA of the server's certificate")
	flags.StringVar(&c.apiKey, "api-key", os.Getenv("KMSGO_API_KEY"), "kes:v1:… (or KMSGO_API_KEY)")
	flags.StringVar(&c.cert, "cert", "", "client certificate, in place of an API key")
	flags.StringVar(&c.key, "key", "", "its private key")
}

// open makes a client with a connection pool of its own. The server's certificate is verified.
func (c *connection) open() (*kes.Client, error) {
	pem, err := os.ReadFile(c.ca)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, errors.New("no certificate in " + c.ca)
	}
	var own tls.Certificate
	if c.apiKey != "" {
		parsed, err := kes.ParseAPIKey(c.apiKey)
		if err != nil {
			return nil, err
		}
		if own, err = kes.GenerateCertificate(parsed); err != nil {
			return nil, err
		}
	} else if own, err = tls.LoadX509KeyPair(c.cert, c.key); err != nil {
		return nil, err
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots, Certificates: []tls.Certificate{own}}
	return kes.NewClientWithConfig(c.endpoint, config), nil
}

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "usage: kmsgo drive|load [flags]")
		os.Exit(2)
	}
	var err error
	switch os.Args[1] {
	case "drive":
		err = drive(os.Args[2:])
	case "load":
		err = load(os.Args[2:])
	default:
		err = fmt.Errorf("unknown command %q", os.Args[1])
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "kmsgo:", err)
		os.Exit(1)
	}
}
