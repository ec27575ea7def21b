#!/usr/bin/env python3
"""Drives hvac, the Python client of Vault, line by line: a call per JSON line on standard input, an answer per line on standard output.

VAULT_ADDR, VAULT_CACERT, VAULT_CLIENT_CERT and VAULT_CLIENT_KEY say where to. Its packages are in the folder beside this file.
"""

import json
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "packages"))

import hvac  # noqa: E402
from hvac import exceptions  # noqa: E402

STATUSES = [
    (400, exceptions.InvalidRequest),
    (401, exceptions.Unauthorized),
    (403, exceptions.Forbidden),
    (404, exceptions.InvalidPath),
    (500, exceptions.InternalServerError),
    (503, exceptions.VaultDown),
]


class Driver:
    def __init__(self):
        self.client = hvac.Client(
            url=os.environ["VAULT_ADDR"],
            verify=os.environ["VAULT_CACERT"],
            cert=(os.environ["VAULT_CLIENT_CERT"], os.environ["VAULT_CLIENT_KEY"]),
            token="",
        )
        self.transit = self.client.secrets.transit
        self.kv = self.client.secrets.kv.v2

    def health(self, _):
        health = self.client.sys.read_health_status(method="GET")
        return {"initialized": health["initialized"], "sealed": health["sealed"]}

    def certLogin(self, call):
        answer = self.client.auth.cert.login(
            name=call["name"],
            cert_pem=os.environ["VAULT_CLIENT_CERT"],
            key_pem=os.environ["VAULT_CLIENT_KEY"],
        )
        self.client.token = answer["auth"]["client_token"]
        return self._token(answer)

    def appRoleLogin(self, call):
        return self._token(self.client.auth.approle.login(call["roleId"], call["secretId"]))

    @staticmethod
    def _token(answer):
        auth = answer["auth"]
        return {"policies": auth["token_policies"], "seconds": auth["lease_duration"], "renewable": auth["renewable"]}

    def lookup(self, _):
        data = self.client.auth.token.lookup_self()["data"]
        return {"policies": data["policies"], "renewable": data["renewable"]}

    def renew(self, call):
        return self.client.auth.token.renew_self(increment=f"{call['increment']}s")["auth"]["lease_duration"]

    def revoke(self, _):
        self.client.auth.token.revoke_self()

    def create(self, call):
        fields = dict(call.get("fields") or {})
        if "type" in fields:
            fields["key_type"] = fields.pop("type")
        self.transit.create_key(call["name"], **fields)

    def read(self, call):
        data = self.transit.read_key(call["name"])["data"]
        return {
            "type": data["type"],
            "derived": data["derived"],
            "versions": len(data["keys"]),
            "minDecryption": data["min_decryption_version"],
            "deletionAllowed": data["deletion_allowed"],
        }

    def list(self, _):
        return self.transit.list_keys()["data"]["keys"]

    def configure(self, call):
        self.transit.update_key_configuration(call["name"], **call["fields"])

    def rotate(self, call):
        self.transit.rotate_key(call["name"])

    def delete(self, call):
        self.transit.delete_key(call["name"])

    def encrypt(self, call):
        return self.transit.encrypt_data(call["name"], **call["fields"])["data"]["ciphertext"]

    def rewrap(self, call):
        return self.transit.rewrap_data(call["name"], **call["fields"])["data"]["ciphertext"]

    def decrypt(self, call):
        return self.transit.decrypt_data(call["name"], **call["fields"])["data"]["plaintext"]

    def batch(self, call):
        items = [{"plaintext": plaintext} for plaintext in call["plaintexts"]]
        return self.transit.encrypt_data(call["name"], batch_input=items)["data"]["batch_results"]

    def dataKey(self, call):
        data = self.transit.generate_data_key(call["name"], key_type="plaintext")["data"]
        return {"plaintext": data["plaintext"], "ciphertext": data["ciphertext"]}

    def kvPut(self, call):
        answer = self.kv.create_or_update_secret(call["path"], secret=call["data"], cas=call.get("cas"))
        return answer["data"]["version"]

    def kvGet(self, call):
        answer = self.kv.read_secret_version(
            call["path"], version=call.get("version"), raise_on_deleted_version=True
        )
        return answer["data"]["data"]

    def kvVersions(self, call):
        data = self.kv.read_secret_metadata(call["path"])["data"]
        return {"current": data["current_version"], "kept": len(data["versions"])}

    def kvList(self, call):
        return self.kv.list_secrets(call["path"])["data"]["keys"]

    def kvDelete(self, call):
        self.kv.delete_latest_version_of_secret(call["path"])

    def kvUndelete(self, call):
        self.kv.undelete_secret_versions(call["path"], versions=[call["version"]])

    def kvRemove(self, call):
        self.kv.delete_metadata_and_all_versions(call["path"])


def failure_of(error):
    status = next((status for status, kind in STATUSES if isinstance(error, kind)), 0)
    return {"status": status, "errors": error.errors if status else [repr(error)]}


def main():
    driver = Driver()
    for line in sys.stdin:
        call = json.loads(line)
        answer = {"id": call["id"]}
        try:
            answer["value"] = getattr(driver, call["op"])(call)
        except Exception as error:  # a driver tells everything
            answer["error"] = failure_of(error)
        print(json.dumps(answer), flush=True)


main()
