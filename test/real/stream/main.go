// Streams an object through Sello and back with Go's net/http: what comes out of seal goes into open while the object is
// still being sent, and the digest of what comes out of open is compared with that of what went in.
package main

import (
	"crypto/sha256"
	"crypto/tls"
	"fmt"
	"io"
	"math/rand"
	"net/http"
	"os"
	"strconv"
)

func main() {
	if err := run(); err != nil {
		fmt.Println("failed:", err)
		os.Exit(1)
	}
	fmt.Println("same")
}

func run() error {
	address, certFile, keyFile, protocol := os.Args[1], os.Args[2], os.Args[3], os.Args[4]
	size, err := strconv.ParseInt(os.Args[5], 10, 64)
	if err != nil {
		return err
	}
	certificate, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		return err
	}
	transport := &http.Transport{
		TLSClientConfig:   &tls.Config{Certificates: []tls.Certificate{certificate}, InsecureSkipVerify: true},
		ForceAttemptHTTP2: protocol == "2",
	}
	if protocol == "1" {
		transport.TLSNextProto = map[string]func(string, *tls.Conn) http.RoundTripper{}
	}
	client := &http.Client{Transport: transport}
	post := func(route string, body io.Reader, envelope string) (*http.Response, error) {
		url := "https://" + address + "/objects/v1/" + route + "?bucket=photos&object=go"
		request, err := http.NewRequest("POST", url, body)
		if err != nil {
			return nil, err
		}
		if envelope != "" {
			request.Header.Set("x-sello-envelope", envelope)
		}
		response, err := client.Do(request)
		if err != nil {
			return nil, err
		}
		if response.StatusCode != 200 {
			text, _ := io.ReadAll(response.Body)
			return nil, fmt.Errorf("%s: %s %s", route, response.Status, text)
		}
		if want := "HTTP/" + protocol; response.Proto[:6] != want {
			return nil, fmt.Errorf("%s spoken, not %s", response.Proto, want)
		}
		return response, nil
	}
	sent, got := sha256.New(), sha256.New()
	plain := io.TeeReader(io.LimitReader(rand.New(rand.NewSource(1)), size), sent)
	sealed, err := post("seal", plain, "")
	if err != nil {
		return err
	}
	opened, err := post("open", sealed.Body, sealed.Header.Get("x-sello-envelope"))
	if err != nil {
		return err
	}
	length, err := io.Copy(got, opened.Body)
	if err != nil {
		return err
	}
	if length != size || string(sent.Sum(nil)) != string(got.Sum(nil)) {
		return fmt.Errorf("%d bytes came back, and not the same", length)
	}
	return nil
}
