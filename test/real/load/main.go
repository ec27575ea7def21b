// Command load sends one request over and over over mTLS: plain HTTP/1.1, one connection per caller, or
// HTTP/2. It prints {"event":"start"} and {"event":"stop"} around the measured time, then the result.
package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"sort"
	"strings"
	"sync"
	"time"
)

type summary struct {
	Event     string         `json:"event"`
	Requests  int            `json:"requests"`
	PerSecond float64        `json:"perSecond"`
	P50Us     float64        `json:"p50Us"`
	P99Us     float64        `json:"p99Us"`
	MaxUs     float64        `json:"maxUs"`
	Errors    map[string]int `json:"errors"`
}

func main() {
	url := flag.String("url", "", "target")
	method := flag.String("method", "PUT", "")
	body := flag.String("body", "", "request body; @FILE reads it from a file")
	ca := flag.String("ca", "", "PEM file with the CA of the server's certificate")
	cert := flag.String("cert", "", "client certificate")
	key := flag.String("key", "", "its private key")
	callers := flag.Int("c", 16, "callers")
	http2 := flag.Bool("h2", false, "HTTP/2 in place of HTTP/1.1")
	connections := flag.Int("conns", 1, "connections that the callers share, with -h2")
	warm := flag.Duration("warm", time.Second, "time before measuring")
	measured := flag.Duration("d", 3*time.Second, "time measured")
	token := flag.String("token", "", "for a Vault: sent as X-Vault-Token")
	want := flag.Int("want", http.StatusOK, "expected status; any other is an error")
	flag.Parse()

	payload := []byte(*body)
	if name, isFile := strings.CutPrefix(*body, "@"); isFile {
		payload = must(os.ReadFile(name))
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(must(os.ReadFile(*ca))) {
		log.Fatal("no certificate in ", *ca)
	}
	config := &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{must(tls.LoadX509KeyPair(*cert, *key))}}
	pools := 1
	if *http2 {
		pools = *connections
	}
	clients := make([]*http.Client, pools)
	for i := range clients {
		protocols := new(http.Protocols)
		protocols.SetHTTP1(!*http2)
		protocols.SetHTTP2(*http2)
		clients[i] = &http.Client{Transport: &http.Transport{
			TLSClientConfig: config.Clone(), Protocols: protocols, MaxIdleConnsPerHost: *callers, DisableCompression: true,
		}, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	}

	begin := time.Now().Add(*warm)
	end := begin.Add(*measured)
	var joining sync.Mutex
	var tookNs []int64
	errors := map[string]int{}
	var running sync.WaitGroup
	for i := range *callers {
		client := clients[i%len(clients)]
		running.Go(func() {
			mine := make([]int64, 0, 1<<16)
			failed := map[string]int{}
			for {
				from := time.Now()
				if from.After(end) {
					break
				}
				if why := once(client, *method, *url, *token, payload, *want); why != "" {
					failed[why]++
				}
				if from.After(begin) {
					mine = append(mine, int64(time.Since(from)))
				}
			}
			joining.Lock()
			defer joining.Unlock()
			tookNs = append(tookNs, mine...)
			for text, n := range failed {
				errors[text] += n
			}
		})
	}
	time.Sleep(time.Until(begin))
	fmt.Println(`{"event":"start"}`)
	time.Sleep(time.Until(end))
	fmt.Println(`{"event":"stop"}`)
	running.Wait()

	s := summary{Event: "result", Requests: len(tookNs), PerSecond: float64(len(tookNs)) / measured.Seconds(), Errors: errors}
	if len(tookNs) > 0 {
		sort.Slice(tookNs, func(i, j int) bool { return tookNs[i] < tookNs[j] })
		at := func(quantile float64) float64 { return float64(tookNs[int(quantile*float64(len(tookNs)-1))]) / 1e3 }
		s.P50Us, s.P99Us, s.MaxUs = at(.5), at(.99), at(1)
	}
	json.NewEncoder(os.Stdout).Encode(s)
}

// once sends one request and reads the whole answer. It returns why it failed, or nothing.
func once(client *http.Client, method, url, token string, payload []byte, want int) string {
	request, err := http.NewRequest(method, url, bytes.NewReader(payload))
	if err != nil {
		return err.Error()
	}
	if token != "" {
		request.Header.Set("X-Vault-Token", token)
	}
	response, err := client.Do(request)
	if err != nil {
		return err.Error()
	}
	defer response.Body.Close()
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		return err.Error()
	}
	if response.StatusCode != want {
		return response.Status
	}
	return ""
}

func must[T any](value T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return value
}
