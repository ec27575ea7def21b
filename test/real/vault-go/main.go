// Command vault-go drives HashiCorp's Go client of Vault (github.com/hashicorp/vault/api) line by line: a call per JSON line on
// standard input, an answer per line on standard output. VAULT_ADDR, VAULT_CACERT, VAULT_CLIENT_CERT and VAULT_CLIENT_KEY say where to.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"os"
	"strconv"

	"github.com/hashicorp/vault/api"
)

type call struct {
	ID         int            `json:"id"`
	Op         string         `json:"op"`
	Name       string         `json:"name"`
	Fields     map[string]any `json:"fields"`
	Path       string         `json:"path"`
	Data       map[string]any `json:"data"`
	Cas        *int           `json:"cas"`
	Version    int            `json:"version"`
	Increment  int            `json:"increment"`
	RoleID     string         `json:"roleId"`
	SecretID   string         `json:"secretId"`
	Plaintexts []string       `json:"plaintexts"`
}

type failure struct {
	Status int      `json:"status"`
	Errors []string `json:"errors"`
}

type answer struct {
	ID    int      `json:"id"`
	Value any      `json:"value"`
	Error *failure `json:"error,omitempty"`
}

func main() {
	config := api.DefaultConfig()
	if config.Error != nil {
		log.Fatal(config.Error)
	}
	config.MaxRetries = 0
	client, err := api.NewClient(config)
	if err != nil {
		log.Fatal(err)
	}
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<24)
	out := json.NewEncoder(os.Stdout)
	for lines.Scan() {
		var asked call
		if err := json.Unmarshal(lines.Bytes(), &asked); err != nil {
			log.Fatal(err)
		}
		value, err := perform(context.Background(), client, asked)
		out.Encode(answer{ID: asked.ID, Value: value, Error: failureOf(err)})
	}
}

func failureOf(err error) *failure {
	if err == nil {
		return nil
	}
	var response *api.ResponseError
	if errors.As(err, &response) {
		return &failure{response.StatusCode, response.Errors}
	}
	if errors.Is(err, api.ErrSecretNotFound) {
		return &failure{404, nil}
	}
	return &failure{0, []string{err.Error()}}
}

func perform(ctx context.Context, client *api.Client, c call) (any, error) {
	logical, kv, token := client.Logical(), client.KVv2("secret"), client.Auth().Token()
	write := func(path string, fields map[string]any) (*api.Secret, error) {
		return logical.WriteWithContext(ctx, path, fields)
	}
	text := func(field string) func(*api.Secret, error) (any, error) {
		return func(secret *api.Secret, err error) (any, error) {
			if err != nil {
				return nil, err
			}
			return secret.Data[field], nil
		}
	}
	switch c.Op {
	case "health":
		health, err := client.Sys().HealthWithContext(ctx)
		if err != nil {
			return nil, err
		}
		return map[string]any{"initialized": health.Initialized, "sealed": health.Sealed}, nil
	case "certLogin":
		return login(client)(write("auth/cert/login", map[string]any{"name": c.Name}))
	case "appRoleLogin":
		return login(client)(write("auth/approle/login", map[string]any{"role_id": c.RoleID, "secret_id": c.SecretID}))
	case "lookup":
		secret, err := token.LookupSelfWithContext(ctx)
		if err != nil {
			return nil, err
		}
		policies, err := secret.TokenPolicies()
		if err != nil {
			return nil, err
		}
		renewable, err := secret.TokenIsRenewable()
		return map[string]any{"policies": policies, "renewable": renewable}, err
	case "renew":
		secret, err := token.RenewSelfWithContext(ctx, c.Increment)
		if err != nil {
			return nil, err
		}
		return secret.Auth.LeaseDuration, nil
	case "revoke":
		return nil, token.RevokeSelfWithContext(ctx, "")
	case "create":
		_, err := write("transit/keys/"+c.Name, c.Fields)
		return nil, err
	case "read":
		secret, err := logical.ReadWithContext(ctx, "transit/keys/"+c.Name)
		if err != nil {
			return nil, err
		}
		if secret == nil {
			return nil, &api.ResponseError{StatusCode: 404}
		}
		d := secret.Data
		return map[string]any{"type": d["type"], "derived": d["derived"], "versions": len(d["keys"].(map[string]any)),
			"minDecryption": number(d["min_decryption_version"]), "deletionAllowed": d["deletion_allowed"]}, nil
	case "list":
		secret, err := logical.ListWithContext(ctx, "transit/keys")
		if err != nil {
			return nil, err
		}
		if secret == nil {
			return nil, &api.ResponseError{StatusCode: 404}
		}
		return secret.Data["keys"], nil
	case "configure":
		_, err := write("transit/keys/"+c.Name+"/config", c.Fields)
		return nil, err
	case "rotate":
		_, err := write("transit/keys/"+c.Name+"/rotate", nil)
		return nil, err
	case "delete":
		_, err := logical.DeleteWithContext(ctx, "transit/keys/"+c.Name)
		return nil, err
	case "encrypt", "rewrap":
		return text("ciphertext")(write("transit/"+c.Op+"/"+c.Name, c.Fields))
	case "decrypt":
		return text("plaintext")(write("transit/decrypt/"+c.Name, c.Fields))
	case "batch":
		var items []any
		for _, plaintext := range c.Plaintexts {
			items = append(items, map[string]any{"plaintext": plaintext})
		}
		return text("batch_results")(write("transit/encrypt/"+c.Name, map[string]any{"batch_input": items}))
	case "dataKey":
		secret, err := write("transit/datakey/plaintext/"+c.Name, c.Fields)
		if err != nil {
			return nil, err
		}
		return map[string]any{"plaintext": secret.Data["plaintext"], "ciphertext": secret.Data["ciphertext"]}, nil
	case "kvPut":
		var options []api.KVOption
		if c.Cas != nil {
			options = append(options, api.WithCheckAndSet(*c.Cas))
		}
		secret, err := kv.Put(ctx, c.Path, c.Data, options...)
		if err != nil {
			return nil, err
		}
		return secret.VersionMetadata.Version, nil
	case "kvGet":
		secret, err := kv.Get(ctx, c.Path)
		if c.Version != 0 {
			secret, err = kv.GetVersion(ctx, c.Path, c.Version)
		}
		if err != nil {
			return nil, err
		}
		if secret.Data == nil {
			return nil, &api.ResponseError{StatusCode: 404}
		}
		return secret.Data, nil
	case "kvVersions":
		metadata, err := kv.GetMetadata(ctx, c.Path)
		if err != nil {
			return nil, err
		}
		return map[string]any{"current": metadata.CurrentVersion, "kept": len(metadata.Versions)}, nil
	case "kvList":
		secret, err := logical.ListWithContext(ctx, "secret/metadata/"+c.Path)
		if err != nil {
			return nil, err
		}
		if secret == nil {
			return nil, &api.ResponseError{StatusCode: 404}
		}
		return secret.Data["keys"], nil
	case "kvDelete":
		return nil, kv.Delete(ctx, c.Path)
	case "kvUndelete":
		return nil, kv.Undelete(ctx, c.Path, []int{c.Version})
	case "kvRemove":
		return nil, kv.DeleteMetadata(ctx, c.Path)
	}
	return nil, fmt.Errorf("no operation %s", c.Op)
}

func login(client *api.Client) func(*api.Secret, error) (any, error) {
	return func(secret *api.Secret, err error) (any, error) {
		if err != nil {
			return nil, err
		}
		client.SetToken(secret.Auth.ClientToken)
		return map[string]any{"policies": secret.Auth.TokenPolicies, "seconds": secret.Auth.LeaseDuration, "renewable": secret.Auth.Renewable}, nil
	}
}

func number(value any) any {
	if text, isNumber := value.(json.Number); isNumber {
		n, _ := strconv.Atoi(text.String())
		return n
	}
	return value
}
