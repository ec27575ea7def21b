//! Drives vaultrs, the Rust client of Vault that RustFS uses, line by line: a call per JSON line on standard input, an answer per line
//! on standard output. VAULT_ADDR, VAULT_CACERT, VAULT_CLIENT_CERT and VAULT_CLIENT_KEY say where to.

use rustify::errors::ClientError::ServerResponseError;
use serde_json::{json, Value};
use std::collections::HashMap;
use std::io::{self, BufRead, Write};
use vaultrs::api::kv2::requests::SetSecretRequestOptions;
use vaultrs::api::transit::requests::{
    CreateKeyRequest, DataKeyType, DecryptDataRequest, EncryptDataRequest, RewrapDataRequest, UpdateKeyConfigurationRequest,
};
use vaultrs::api::transit::responses::ReadKeyData;
use vaultrs::api::AuthInfo;
use vaultrs::auth::{approle, cert};
use vaultrs::client::{Client, VaultClient, VaultClientSettingsBuilder};
use vaultrs::error::ClientError;
use vaultrs::transit::{data, generate, key};
use vaultrs::{kv2, sys, token};

fn main() -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let settings = VaultClientSettingsBuilder::default().build().expect("settings of the environment");
    let mut client = VaultClient::new(settings).expect("a client");
    let mut out = io::stdout().lock();
    for line in io::stdin().lock().lines() {
        let call: Value = serde_json::from_str(&line?)?;
        let answer = match runtime.block_on(perform(&mut client, &call)) {
            Ok(value) => json!({ "id": call["id"], "value": value }),
            Err(error) => json!({ "id": call["id"], "error": failure_of(&error) }),
        };
        writeln!(out, "{answer}")?;
        out.flush()?;
    }
    Ok(())
}

fn failure_of(error: &ClientError) -> Value {
    match error {
        ClientError::APIError { code, errors } => json!({ "status": code, "errors": errors }),
        // An answer with a status of its own and data, as for a deleted version.
        ClientError::RestClientError {
            source: ServerResponseError { code, .. },
        } => json!({ "status": code, "errors": [] }),
        other => json!({ "status": 0, "errors": [format!("{other:?}")] }),
    }
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or("")
}

fn login(client: &mut VaultClient, auth: AuthInfo) -> Value {
    client.set_token(&auth.client_token);
    json!({ "policies": auth.token_policies, "seconds": auth.lease_duration, "renewable": auth.renewable })
}

async fn perform(client: &mut VaultClient, call: &Value) -> Result<Value, ClientError> {
    let (name, path, fields) = (text(call, "name"), text(call, "path"), &call["fields"]);
    let context = fields["context"].as_str();
    let associated = fields["associated_data"].as_str();
    let version = call["version"].as_u64();
    Ok(match text(call, "op") {
        "health" => {
            let health = sys::health(client).await?;
            json!({ "initialized": health.initialized, "sealed": health.sealed })
        }
        "certLogin" => {
            let auth = cert::login(client, "cert", name).await?;
            login(client, auth)
        }
        "appRoleLogin" => {
            let auth = approle::login(client, "approle", text(call, "roleId"), text(call, "secretId")).await?;
            login(client, auth)
        }
        "lookup" => {
            let token = client.lookup().await?;
            json!({ "policies": token.policies, "renewable": token.renewable })
        }
        "renew" => {
            let increment = format!("{}s", call["increment"]);
            json!(token::renew_self(client, Some(&increment)).await?.lease_duration)
        }
        "revoke" => {
            client.revoke().await?;
            Value::Null
        }
        "create" => {
            let mut options = CreateKeyRequest::builder();
            if let Some(derived) = fields["derived"].as_bool() {
                options.derived(derived);
            }
            if !fields["type"].is_null() {
                options.key_type(serde_json::from_value::<vaultrs::api::transit::KeyType>(fields["type"].clone()).unwrap());
            }
            key::create(client, "transit", name, Some(&mut options)).await?;
            Value::Null
        }
        "read" => {
            let key = key::read(client, "transit", name).await?;
            let ReadKeyData::Symmetric(versions) = &key.keys else {
                return Err(ClientError::ResponseDataEmptyError);
            };
            json!({
                "type": serde_json::to_value(key.key_type).unwrap(), "derived": key.derived, "versions": versions.len(),
                "minDecryption": key.min_decryption_version, "deletionAllowed": key.deletion_allowed,
            })
        }
        "list" => json!(key::list(client, "transit").await?.keys),
        "configure" => {
            let mut options = UpdateKeyConfigurationRequest::builder();
            if let Some(least) = fields["min_decryption_version"].as_u64() {
                options.min_decryption_version(least);
            }
            if let Some(allowed) = fields["deletion_allowed"].as_bool() {
                options.deletion_allowed(allowed);
            }
            key::update(client, "transit", name, Some(&mut options)).await?;
            Value::Null
        }
        "rotate" => {
            key::rotate(client, "transit", name).await?;
            Value::Null
        }
        "delete" => {
            key::delete(client, "transit", name).await?;
            Value::Null
        }
        "encrypt" => {
            let mut options = EncryptDataRequest::builder();
            if let Some(context) = context {
                options.context(context);
            }
            if let Some(associated) = associated {
                options.associated_data(associated);
            }
            json!(
                data::encrypt(client, "transit", name, text(fields, "plaintext"), Some(&mut options))
                    .await?
                    .ciphertext
            )
        }
        "decrypt" => {
            let mut options = DecryptDataRequest::builder();
            if let Some(context) = context {
                options.context(context);
            }
            if let Some(associated) = associated {
                options.associated_data(associated);
            }
            json!(
                data::decrypt(client, "transit", name, text(fields, "ciphertext"), Some(&mut options))
                    .await?
                    .plaintext
            )
        }
        "rewrap" => {
            let mut options = RewrapDataRequest::builder();
            if let Some(context) = context {
                options.context(context);
            }
            json!(
                data::rewrap(client, "transit", name, text(fields, "ciphertext"), Some(&mut options))
                    .await?
                    .ciphertext
            )
        }
        "dataKey" => {
            let key = generate::data_key(client, "transit", name, DataKeyType::Plaintext, None).await?;
            json!({ "plaintext": key.plaintext, "ciphertext": key.ciphertext })
        }
        "kvPut" => {
            let written = match call["cas"].as_u64() {
                Some(cas) => {
                    let options = SetSecretRequestOptions { cas: cas as u32 };
                    kv2::set_with_options(client, "secret", path, &call["data"], options).await?
                }
                None => kv2::set(client, "secret", path, &call["data"]).await?,
            };
            json!(written.version)
        }
        "kvGet" => json!(match version {
            Some(version) => kv2::read_version::<HashMap<String, Value>>(client, "secret", path, version).await?,
            None => kv2::read(client, "secret", path).await?,
        }),
        "kvVersions" => {
            let metadata = kv2::read_metadata(client, "secret", path).await?;
            json!({ "current": metadata.current_version, "kept": metadata.versions.len() })
        }
        "kvList" => json!(kv2::list(client, "secret", path).await?),
        "kvDelete" => {
            kv2::delete_latest(client, "secret", path).await?;
            Value::Null
        }
        "kvUndelete" => {
            kv2::undelete_versions(client, "secret", path, version.into_iter().collect()).await?;
            Value::Null
        }
        "kvRemove" => {
            kv2::delete_metadata(client, "secret", path).await?;
            Value::Null
        }
        other => panic!("no operation {other}"),
    })
}
