# Tenant acme, transit-cached, runtime. Made by tools/vault-policies.ts; for yours: sello vault setup

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

# encrypt what is stored (without `create`, no key is made by mistake)
path "transit/encrypt/sello-acme" {
  capabilities = ["update"]
}

# decrypt what was stored, by any version of the key
path "transit/decrypt/sello-acme" {
  capabilities = ["update"]
}

# master keys: make, look at, rotate, end (what is allowed below a key is, too); none can be exported
path "transit/keys/sello-acme-*" {
  capabilities = ["read", "update", "delete"]
}

# wrap keys (without `create`, no master key is made by mistake)
path "transit/encrypt/sello-acme-*" {
  capabilities = ["update"]
}

# unwrap keys
path "transit/decrypt/sello-acme-*" {
  capabilities = ["update"]
}

# put stored intermediate keys under the newest version
path "transit/rewrap/sello-acme-*" {
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
