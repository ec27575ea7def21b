/**
 * The client's certificate as a TLS-terminating proxy passes it on. Three forms are read:
 * - URL-encoded PEM: NGINX `$ssl_client_escaped_cert`, and what KES until 2023-10 read (Go's QueryEscape);
 * - base64 of the DER: HAProxy `%[ssl_c_der,base64]` (KES turned its `+` into spaces and failed);
 * - an RFC 9440 byte sequence, `:base64:`.
 * Only for listed proxies: src/server/peer.ts decides whether the header is looked at.
 */
import { X509Certificate } from 'node:crypto';
import { isIP } from 'node:net';
import { SelloError } from '../errors.ts';

/** A certificate with an RSA-8192 key and many names stays under it, also URL-encoded. */
export const maxHeaderBytes = 16 * 1024;

/**
 * @throws SelloError SELLO_PROXY_CERTIFICATE_MISSING | _AMBIGUOUS | _INVALID, whose messages are the texts of KES
 */
export function parseClientCertificateHeader(value: string | readonly string[] | undefined): X509Certificate {
  const values = typeof value === 'string' ? [value] : (value ?? []);
  if (values.length > 1) throw new SelloError('SELLO_PROXY_CERTIFICATE_AMBIGUOUS');
  const text = values[0]?.trim() ?? '';
  if (text === '') throw new SelloError('SELLO_PROXY_CERTIFICATE_MISSING');
  if (text.length > maxHeaderBytes) throw invalid(`header is longer than ${maxHeaderBytes} bytes`);
  // Node joins repeated headers with a comma, which none of the three forms contains.
  if (text.includes(',')) throw new SelloError('SELLO_PROXY_CERTIFICATE_AMBIGUOUS');
  const der = derOf(text);
  try {
    const certificate = new X509Certificate(der);
    if (certificate.raw.equals(der)) return certificate;
  } catch (cause) {
    throw new SelloError('SELLO_PROXY_CERTIFICATE_INVALID', { detail: 'not a certificate', cause });
  }
  throw invalid('bytes after the certificate');
}

function derOf(text: string): Buffer {
  if (text.startsWith(':')) {
    if (text.length < 2 || !text.endsWith(':')) throw invalid('unfinished byte sequence');
    return decodeBase64(text.slice(1, -1));
  }
  if (text.includes('-----BEGIN') || text.includes('%')) return derOfPem(unescapePem(text));
  return decodeBase64(text);
}

/**
 * A `+` is a `+` of base64, unless the encoder wrote spaces as `+` (form encoding, Go's QueryEscape): then
 * the first line shows it, and every `+` of the base64 is written `%2B`.
 */
function unescapePem(text: string): string {
  const isFormEncoded = /BEGIN\+CERTIFICATE/.test(text);
  try {
    return decodeURIComponent(isFormEncoded ? text.replaceAll('+', ' ') : text);
  } catch (cause) {
    throw new SelloError('SELLO_PROXY_CERTIFICATE_INVALID', { detail: 'bad percent-encoding', cause });
  }
}

function derOfPem(pem: string): Buffer {
  const found = [...pem.matchAll(/-----BEGIN CERTIFICATE-----([^-]*)-----END CERTIFICATE-----/g)];
  if (found.length > 1) throw new SelloError('SELLO_PROXY_CERTIFICATE_AMBIGUOUS');
  const [block] = found;
  if (block === undefined || block[0].length !== pem.trim().length) throw invalid('not one PEM certificate');
  return decodeBase64(block[1]!.replaceAll(/\s/g, ''));
}

function decodeBase64(text: string): Buffer {
  const bytes = Buffer.from(text, 'base64');
  // Buffer.from skips what is not base64; written back it shows.
  if (bytes.length === 0 || bytes.toString('base64') !== text) throw invalid('not base64');
  return bytes;
}

/**
 * The client's address as a listed proxy tells it: the first element of `X-Forwarded-For`, as KES. Undefined when it is no
 * IP address: a source condition then cannot be judged, and the address of the proxy must not stand in for it.
 */
export function forwardedAddress(value: string | readonly string[] | undefined): string | undefined {
  const first = (typeof value === 'string' ? value : (value?.[0] ?? '')).split(',', 1)[0]!.trim();
  return isIP(first) === 0 ? undefined : first;
}

function invalid(detail: string): SelloError {
  return new SelloError('SELLO_PROXY_CERTIFICATE_INVALID', { detail });
}
