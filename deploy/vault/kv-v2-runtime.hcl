# Tenant acme, kv-v2, runtime. Made by tools/vault-policies.ts; for yours: sello vault setup

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

# anchors of audit trails: list; none ends
path "kv/metadata/acme.sello/audit-streams/*" {
  capabilities = ["list"]
}

# tell a token that ended from a right that is missing
path "auth/token/lookup-self" {
  capabilities = ["read"]
}

# renew the token
path "auth/token/renew-self" {
  capabilities = ["update"]
}
