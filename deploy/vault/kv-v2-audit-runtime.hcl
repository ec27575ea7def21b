# Tenant acme, kv-v2-audit, runtime. Made by tools/vault-policies.ts; for yours: sello vault setup

# keys: create and read; none is ever replaced
path "kv/data/acme/+" {
  capabilities = ["create", "read"]
}

# keys: delete
path "kv/metadata/acme/+" {
  capabilities = ["delete"]
}

# keys: list
path "kv/metadata/acme/" {
  capabilities = ["list"]
}

# records (states, later versions): create, read, change
path "kv/data/acme.sello/*" {
  capabilities = ["create", "read", "update"]
}

# records: list, end
path "kv/metadata/acme.sello/*" {
  capabilities = ["list", "delete"]
}

# audit: the public half of the key that signs checkpoints
path "transit/keys/audit-acme" {
  capabilities = ["read"]
}

# audit: sign checkpoints
path "transit/sign/audit-acme" {
  capabilities = ["update"]
}

# tell a token that ended from a right that is missing
path "auth/token/lookup-self" {
  capabilities = ["read"]
}

# renew the token
path "auth/token/renew-self" {
  capabilities = ["update"]
}
