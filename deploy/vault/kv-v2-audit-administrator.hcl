# Tenant acme, kv-v2-audit, administrator. Made by tools/vault-policies.ts; for yours: sello vault setup

# see which keys there are
path "kv/metadata/acme/" {
  capabilities = ["list"]
}

# see versions and dates of a key, and never its value
path "kv/metadata/acme/+" {
  capabilities = ["read"]
}

# bring back a key that was deleted softly, by hand
path "kv/undelete/acme/+" {
  capabilities = ["update"]
}

# see versions of the key that signs checkpoints
path "transit/keys/audit-acme" {
  capabilities = ["read"]
}

# rotate the key that signs checkpoints
path "transit/keys/audit-acme/rotate" {
  capabilities = ["update"]
}
