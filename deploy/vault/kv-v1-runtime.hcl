# Tenant acme, kv-v1, runtime. Made by tools/vault-policies.ts; for yours: sello vault setup

# keys: create (without `update`, Vault refuses to replace one), read, delete
path "kv/acme/+" {
  capabilities = ["create", "read", "delete"]
}

# keys: list
path "kv/acme/" {
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
