# Tenant acme, kv-v1, administrator. Made by tools/vault-policies.ts; for yours: sello vault setup

# see which keys there are
path "kv/acme/" {
  capabilities = ["list"]
}
