package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/minio/kms-go/kes"
)

// command is one call of the client library. Bytes travel as base64, as encoding/json has them.
type command struct {
	ID         int    `json:"id"`
	Op         string `json:"op"`
	Name       string `json:"name"`
	N          int    `json:"n"`
	Plaintext  []byte `json:"plaintext"`
	Ciphertext []byte `json:"ciphertext"`
	Context    []byte `json:"context"`
	Algorithm  string `json:"algorithm"`
}

// failure is an error as Go code sees it: Is names the library's constant that the error equals.
type failure struct {
	Status  int    `json:"status,omitempty"`
	Message string `json:"message"`
	Is      string `json:"is,omitempty"`
}

type answer struct {
	ID    int      `json:"id"`
	Value any      `json:"value,omitempty"`
	Error *failure `json:"error,omitempty"`
}

// page is one answer of a listing call.
type page struct {
	Names    []string `json:"names"`
	Continue string   `json:"continue"`
}

var constants = map[string]error{
	"ErrNotAllowed":       kes.ErrNotAllowed,
	"ErrKeyNotFound":      kes.ErrKeyNotFound,
	"ErrKeyExists":        kes.ErrKeyExists,
	"ErrDecrypt":          kes.ErrDecrypt,
	"ErrPolicyNotFound":   kes.ErrPolicyNotFound,
	"ErrIdentityNotFound": kes.ErrIdentityNotFound,
}

func describeFailure(err error) *failure {
	f := &failure{Message: err.Error()}
	var answered kes.Error
	if errors.As(err, &answered) {
		f.Status = answered.Status()
	}
	// Equality, not errors.Is: it is what MinIO's own code compares with.
	for name, constant := range constants {
		if err == constant {
			f.Is = name
		}
	}
	return f
}

func drive(args []string) error {
	var c connection
	flags := flag.NewFlagSet("drive", flag.ExitOnError)
	c.register(flags)
	flags.Parse(args)
	client, err := c.open()
	if err != nil {
		return err
	}
	var writing sync.Mutex
	out := json.NewEncoder(os.Stdout)
	in := bufio.NewScanner(os.Stdin)
	in.Buffer(nil, 8<<20)
	var running sync.WaitGroup
	for in.Scan() {
		var cmd command
		if err := json.Unmarshal(in.Bytes(), &cmd); err != nil {
			return err
		}
		// Each in a goroutine, so that a log stream can wait while other calls make its events.
		running.Go(func() {
			ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
			defer cancel()
			a := answer{ID: cmd.ID}
			value, err := call(ctx, client, cmd)
			if err != nil {
				a.Error = describeFailure(err)
			} else {
				a.Value = value
			}
			writing.Lock()
			defer writing.Unlock()
			out.Encode(a)
		})
	}
	running.Wait()
	return in.Err()
}

func call(ctx context.Context, client *kes.Client, cmd command) (any, error) {
	switch cmd.Op {
	case "version":
		return client.Version(ctx)
	case "status":
		return client.Status(ctx)
	case "ready":
		return client.IsReady(ctx)
	case "apis":
		return client.APIs(ctx)
	case "metrics":
		m, err := client.Metrics(ctx)
		return map[string]any{"ok": m.RequestOK, "err": m.RequestErr, "fail": m.RequestFail, "cpus": m.CPUs,
			"upTimeNs": m.UpTime, "heap": m.HeapAlloc, "buckets": len(m.LatencyHistogram)}, err
	case "create":
		return nil, client.CreateKey(ctx, cmd.Name)
	case "import":
		request := &kes.ImportKeyRequest{Key: cmd.Plaintext}
		if err := request.Cipher.UnmarshalText([]byte(cmd.Algorithm)); err != nil {
			return nil, err
		}
		return nil, client.ImportKey(ctx, cmd.Name, request)
	case "delete":
		return nil, client.DeleteKey(ctx, cmd.Name)
	case "describe":
		info, err := client.DescribeKey(ctx, cmd.Name)
		if err != nil {
			return nil, err
		}
		return map[string]any{"name": info.Name, "algorithm": info.Algorithm.String(),
			"createdAt": info.CreatedAt, "createdBy": info.CreatedBy}, nil
	case "generate":
		dek, err := client.GenerateKey(ctx, cmd.Name, cmd.Context)
		return map[string][]byte{"plaintext": dek.Plaintext, "ciphertext": dek.Ciphertext}, err
	case "encrypt":
		return client.Encrypt(ctx, cmd.Name, cmd.Plaintext, cmd.Context)
	case "decrypt":
		return client.Decrypt(ctx, cmd.Name, cmd.Ciphertext, cmd.Context)
	case "hmac":
		return client.HMAC(ctx, cmd.Name, cmd.Plaintext)
	case "list":
		names, next, err := client.ListKeys(ctx, cmd.Name, cmd.N)
		return page{names, next}, err
	case "walk":
		return walk(ctx, client, cmd.Name)
	case "policies":
		names, next, err := client.ListPolicies(ctx, cmd.Name, cmd.N)
		return page{names, next}, err
	case "identities":
		ids, next, err := client.ListIdentities(ctx, cmd.Name, cmd.N)
		names := make([]string, 0, len(ids))
		for _, id := range ids {
			names = append(names, id.String())
		}
		return page{names, next}, err
	case "policy":
		policy, err := client.GetPolicy(ctx, cmd.Name)
		if err != nil {
			return nil, err
		}
		return map[string]any{"allow": policy.Allow, "deny": policy.Deny}, nil
	case "describe-policy":
		return client.DescribePolicy(ctx, cmd.Name)
	case "identity":
		info, err := client.DescribeIdentity(ctx, kes.Identity(cmd.Name))
		if err != nil {
			return nil, err
		}
		return map[string]any{"admin": info.IsAdmin, "policy": info.Policy}, nil
	case "self":
		info, policy, err := client.DescribeSelf(ctx)
		if err != nil {
			return nil, err
		}
		value := map[string]any{"identity": info.Identity, "admin": info.IsAdmin, "policy": info.Policy}
		if policy != nil {
			value["allow"], value["deny"] = policy.Allow, policy.Deny
		}
		return value, nil
	case "audit":
		return audit(ctx, client, cmd)
	}
	return nil, fmt.Errorf("unknown operation %q", cmd.Op)
}

// walk lists with the library's own iterator, page after page, at most cmd.N names.
func walk(ctx context.Context, client *kes.Client, prefix string) (any, error) {
	const mostNames = 100_000
	iter := kes.ListIter[string]{NextFunc: client.ListKeys}
	names := []string{}
	name, err := iter.SeekTo(ctx, prefix)
	for ; err == nil && len(names) < mostNames; name, err = iter.Next(ctx) {
		names = append(names, name)
	}
	if err != io.EOF {
		return nil, err
	}
	return names, nil
}

// audit opens the audit stream and returns the first cmd.N events on a path that ends in cmd.Name.
func audit(ctx context.Context, client *kes.Client, cmd command) (any, error) {
	stream, err := client.AuditLog(ctx)
	if err != nil {
		return nil, err
	}
	defer stream.Close()
	events := []map[string]any{}
	for len(events) < cmd.N && stream.Next() {
		e := stream.Event()
		if n := len(e.APIPath) - len(cmd.Name); n < 0 || e.APIPath[n:] != cmd.Name {
			continue
		}
		events = append(events, map[string]any{"path": e.APIPath, "identity": e.ClientIdentity, "ip": e.ClientIP.String(),
			"status": e.StatusCode, "time": e.Timestamp, "tookNs": e.ResponseTime})
	}
	if len(events) < cmd.N {
		return nil, fmt.Errorf("audit stream ended after %d events: %v", len(events), stream.Close())
	}
	return events, nil
}
