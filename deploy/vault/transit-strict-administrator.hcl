# Tenant acme, transit-strict, administrator. Made by tools/vault-policies.ts; for yours: sello vault setup

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

# see versions of the Transit key
path "transit/keys/sello-acme" {
  capabilities = ["read"]
}

# rotate the Transit key
path "transit/keys/sello-acme/rotate" {
  capabilities = ["update"]
}
