/** What KES servers wrote and said, recorded by running them (test/vectors/kes). */
import { readFileSync } from 'node:fs';

export interface CiphertextVector {
  readonly producer: string;
  readonly stored_key: string;
  readonly algorithm: 'AES256' | 'ChaCha20';
  readonly context_b64: string;
  readonly plaintext_b64: string;
  readonly ciphertext_b64: string;
  readonly format: 'v1' | 'v2' | 'v3';
  readonly head_decrypts: boolean;
}

export interface StoredKeyVector {
  readonly stored_key: string;
  readonly head_describe: {
    readonly algorithm: string;
    readonly created_at: string;
    readonly created_by?: string;
  };
}

export interface MacVector {
  readonly stored_key: string;
  readonly message_b64: string;
  readonly hmac_b64: string;
}

export interface ApiKeyVectors {
  readonly valid: readonly { readonly api_key: string; readonly identity: string }[];
  readonly other: readonly {
    readonly what: string;
    readonly api_key: string;
    readonly exit: number;
    readonly stdout: string;
    readonly stderr: string;
  }[];
}

export interface CertificateVector {
  readonly type: string;
  readonly note?: string;
  readonly cert_pem: string;
  readonly identity: string;
}

function load(name: string): unknown {
  return JSON.parse(readFileSync(new URL(`../vectors/kes/${name}.json`, import.meta.url), 'utf8'));
}

export const ciphertexts = (): CiphertextVector[] => load('ciphertexts') as CiphertextVector[];
export const storedKeys = (): StoredKeyVector[] => load('stored-keys') as StoredKeyVector[];
export const macs = (): MacVector[] => load('hmac') as MacVector[];
export const apiKeys = (): ApiKeyVectors => load('api-keys') as ApiKeyVectors;
export const certificates = (): CertificateVector[] => load('certificates') as CertificateVector[];

export function fromBase64(text: string): Buffer {
  return Buffer.from(text, 'base64');
}
