package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"sort"
	"sync"
	"time"

	"github.com/minio/kms-go/kes"
)

// load calls generate or decrypt without a pause, as a busy MinIO does: one client shared by all callers
// (or several, to stand for several nodes). It prints {"event":"start"} when warm and {"event":"stop"} when
// the time is over, so that the bench can read the server's CPU time at both, then the result.
func load(args []string) error {
	var c connection
	flags := flag.NewFlagSet("load", flag.ExitOnError)
	c.register(flags)
	name := flags.String("name", "bench", "master key, which must exist")
	operation := flags.String("op", "generate", "generate or decrypt")
	callers := flags.Int("c", 32, "goroutines that call")
	clients := flags.Int("clients", 1, "clients, one connection each")
	warm := flags.Duration("warm", time.Second, "time before measuring")
	measured := flags.Duration("d", 3*time.Second, "time measured")
	flags.Parse(args)

	pool := make([]*kes.Client, *clients)
	for i := range pool {
		var err error
		if pool[i], err = c.open(); err != nil {
			return err
		}
	}
	ctx := context.Background()
	aad := []byte(`{"bucket":"bucket/object"}`)
	dek, err := pool[0].GenerateKey(ctx, *name, aad)
	if err != nil {
		return fmt.Errorf("first data key: %w", err)
	}
	once := func(client *kes.Client) error {
		if *operation == "generate" {
			_, err := client.GenerateKey(ctx, *name, aad)
			return err
		}
		plaintext, err := client.Decrypt(ctx, *name, dek.Ciphertext, aad)
		if err == nil && !bytes.Equal(plaintext, dek.Plaintext) {
			return fmt.Errorf("wrong plaintext")
		}
		return err
	}

	begin := time.Now().Add(*warm)
	end := begin.Add(*measured)
	var joining sync.Mutex
	var tookNs []int64
	errors := map[string]int{}
	var running sync.WaitGroup
	for i := range *callers {
		client := pool[i%len(pool)]
		running.Go(func() {
			mine := make([]int64, 0, 1<<16)
			failed := map[string]int{}
			for {
				from := time.Now()
				if from.After(end) {
					break
				}
				err := once(client)
				// A failure counts at any time, a latency only when warm.
				if err != nil {
					failed[err.Error()]++
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
	return json.NewEncoder(os.Stdout).Encode(summarize(tookNs, *measured, errors))
}

type summary struct {
	Event     string         `json:"event"`
	Requests  int            `json:"requests"`
	PerSecond float64        `json:"perSecond"`
	P50Us     float64        `json:"p50Us"`
	P99Us     float64        `json:"p99Us"`
	MaxUs     float64        `json:"maxUs"`
	Errors    map[string]int `json:"errors"`
}

func summarize(tookNs []int64, measured time.Duration, errors map[string]int) summary {
	s := summary{Event: "result", Requests: len(tookNs), PerSecond: float64(len(tookNs)) / measured.Seconds(), Errors: errors}
	if len(tookNs) == 0 {
		return s
	}
	sort.Slice(tookNs, func(i, j int) bool { return tookNs[i] < tookNs[j] })
	at := func(quantile float64) float64 { return float64(tookNs[int(quantile*float64(len(tookNs)-1))]) / 1e3 }
	s.P50Us, s.P99Us, s.MaxUs = at(.5), at(.99), at(1)
	return s
}
