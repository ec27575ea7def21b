/**
 * What a scalar may be, beyond text and number: each kind with its parser, its form in the published schema and
 * its name in messages. A schema node names its kind under {@link kindKeyword}.
 */
import { isIP, BlockList } from 'node:net';
import { resolve } from 'node:path';
import { operations } from '../access/operations.ts';
import { parseIdentity } from '../access/identity.ts';
import { normalizeDn, parseLdapUrl } from '../access/people/ldap-names.ts';
import { isName } from '../keys/names.ts';
import { parseTenantName } from '../tenants/name.ts';
import { isVaultFolder, segmentsOf } from '../vault/path.ts';
import { bytesPattern, durationPattern, parseBytes, parseDuration } from './duration.ts';

export const kindKeyword = 'x-sello-kind';

export interface Address {
  readonly host: string;
  readonly port: number;
}

export interface Kind {
  /** For messages and the reference: "must be …". */
  readonly means: string;
  readonly pattern?: string;
  /** Undefined: the text is not of this kind. `folder` is what relative paths start from. */
  readonly parse: (text: string, folder: string) => unknown;
  /** A message of its own for a text that is refused, where "must be …" says too little. */
  readonly explain?: (text: string) => string | undefined;
}

const timeOfDayPattern = '^([01]\\d|2[0-3]):[0-5]\\d-([01]\\d|2[0-3]):[0-5]\\d$';
const keyPatternPattern = '^(?:\\*|[0-9A-Za-z_-]{1,80}\\*?)$';

export const kinds = {
  duration: {
    means: "a duration such as '5m0s', '1h30m' or '300ms'",
    pattern: durationPattern,
    parse: parseDuration,
  },
  bytes: {
    means: "a size such as '16KiB', '1MiB' or a number of bytes",
    pattern: bytesPattern,
    parse: parseBytes,
  },
  identity: {
    means: 'an identity: 64 lower-case hex digits, the SHA-256 of the public key (`sello identity of FILE`)',
    pattern: '^[0-9a-f]{64}$',
    parse: parseIdentity,
    explain: (text) => (/^[0-9a-fA-F]{64}$/.test(text) ? 'an identity is written in lower case' : undefined),
  },
  address: {
    means: "an IP address and a port, such as '0.0.0.0:7373' or '[::]:7373'",
    parse: parseAddress,
    explain: explainAddress,
  },
  'optional address': {
    means: "an IP address and a port, such as '127.0.0.1:7374', or 'off'",
    parse: (text) => (text === 'off' ? 'off' : parseAddress(text)),
    explain: explainAddress,
  },
  path: {
    means: 'a path',
    parse: parsePath,
  },
  'path or -': {
    means: "a path, or '-' for standard output",
    parse: (text, folder) => (text === '-' ? text : parsePathOrFolder(text, folder)),
  },
  'HTTP URL': {
    means: "a URL such as 'https://siem.example.com/ingest' (http only for loopback addresses)",
    parse: parseHttpUrl,
  },
  'host and port': {
    means: "a host and a port, such as 'syslog.example.com:6514'",
    parse: (text) =>
      /^(?:[0-9A-Za-z.-]+|\[[0-9A-Fa-f:.]+\]):[1-9][0-9]{0,4}$/.test(text) ? text : undefined,
  },
  'path or system': {
    means: "a path, or 'system' for the CAs of the operating system",
    parse: (text, folder) => (text === 'system' ? text : parsePath(text, folder)),
  },
  'tenant name': {
    means: "a tenant name: 1 to 63 of 'a-z', '0-9' and '-', with '-' neither first nor last",
    pattern: '^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$',
    parse: parseTenantName,
  },
  'tenant name or *': {
    means: "a tenant name, or '*' for every tenant",
    pattern: '^(?:\\*|[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)$',
    parse: (text) => (text === '*' ? text : parseTenantName(text)),
  },
  'issuer URL': {
    means: "the URL of an issuer as its tokens have it, such as 'https://idp.example.org/realms/main'",
    parse: parseIssuer,
  },
  origin: {
    means: "an address as browsers have it: 'https://sello.example.org:7375'",
    parse: (text) =>
      URL.canParse(text) && text === new URL(text).origin && text.startsWith('https:') ? text : undefined,
    explain: (text) =>
      text.startsWith('https://') && text.endsWith('/') ? 'it ends without a slash' : undefined,
  },
  'LDAP URL': {
    means: "'ldaps://host:636', or 'ldap://host:389', which is upgraded to TLS before anything is said",
    parse: (text) => (parseLdapUrl(text) === undefined ? undefined : text),
  },
  'distinguished name': {
    means: "a distinguished name such as 'cn=key admins,ou=groups,dc=example,dc=org'",
    parse: (text) => (normalizeDn(text) === undefined ? undefined : text),
  },
  'attribute name': {
    means: "the name of an LDAP attribute, such as 'uid'",
    pattern: '^[A-Za-z][A-Za-z0-9-]{0,63}$',
    parse: (text) => (/^[A-Za-z][A-Za-z0-9-]{0,63}$/.test(text) ? text : undefined),
  },
  'key name': {
    means: "a key name: 1 to 80 of 'A-Z', 'a-z', '0-9', '_' and '-', with '-' neither first nor last",
    pattern: '^[0-9A-Za-z_](?:[0-9A-Za-z_-]{0,78}[0-9A-Za-z_])?$',
    parse: (text) => (isName(text) ? text : undefined),
  },
  'key pattern': {
    means: "a key name, or the beginning of key names followed by '*'",
    pattern: keyPatternPattern,
    parse: (text) => (new RegExp(keyPatternPattern).test(text) ? text : undefined),
    explain: (text) => (/\*./.test(text) ? "'*' may only be the last character" : undefined),
  },
  operation: {
    means: `one of ${operations.join(', ')}, or '*'`,
    pattern: `^(?:${operations.join('|')}|\\*)$`,
    parse: (text) => (text === '*' || (operations as readonly string[]).includes(text) ? text : undefined),
  },
  network: { means: "an IP address or a CIDR block such as '10.0.0.0/8'", parse: parseNetwork },
  'time of day': {
    means: "a time of day in UTC such as '08:00-18:30'",
    pattern: timeOfDayPattern,
    parse: (text) => {
      if (!new RegExp(timeOfDayPattern).test(text)) return undefined;
      const [from, to] = text.split('-');
      return from === to ? undefined : text;
    },
  },
  'header name': {
    means: "the name of an HTTP header, such as 'X-Tls-Client-Cert'",
    pattern: "^[!#$%&'*+.^_`|~0-9A-Za-z-]+$",
    // RFC 9110 5.6.2 token; Node hands header names over in lower case.
    parse: (text) => (/^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/.test(text) ? text.toLowerCase() : undefined),
  },
  'variable name': {
    means: 'the name of an environment variable',
    pattern: '^[A-Za-z_][A-Za-z0-9_]*$',
    parse: (text) => (/^[A-Za-z_][A-Za-z0-9_]*$/.test(text) ? text : undefined),
  },
  'credential name': {
    means: 'the name of a systemd credential',
    pattern: '^[A-Za-z0-9_.-]{1,255}$',
    // A name, never a path: it is joined to $CREDENTIALS_DIRECTORY.
    parse: (text) => (/^[A-Za-z0-9_.-]{1,255}$/.test(text) && !/^\.\.?$/.test(text) ? text : undefined),
  },
  'vault address': {
    means: "an address of Vault such as 'https://vault.example.org:8200', or 'unix:/run/vault/agent.sock'",
    parse: (text) => parseVaultAddress(text),
  },
  'vault folder': {
    means:
      "a mount or folder of Vault such as 'kv' or 'team/kv', without '.', '..' and characters that URLs and policies read",
    // Slashes at the ends say nothing to KES and Vault.
    parse: (text) => (isVaultFolder(text) ? segmentsOf(text).join('/') : undefined),
  },
  'vault role': {
    means: "the name of a role or key in Vault: letters, digits, '_', '.' and '-'",
    pattern: '^[0-9A-Za-z_][0-9A-Za-z_.-]{0,127}$',
    parse: (text) => (/^[0-9A-Za-z_][0-9A-Za-z_.-]{0,127}$/.test(text) ? text : undefined),
  },
  'server name': {
    means: "a DNS name such as 'kms.example.org'",
    pattern: '^[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?$',
    parse: (text) =>
      /^[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?$/.test(text) ? text.toLowerCase() : undefined,
  },
} as const satisfies Record<string, Kind>;

export type KindName = keyof typeof kinds;

/** KES: an IP address and a port; no host names. An empty host is every IPv4 address. */
export function parseAddress(text: string): Address | undefined {
  const parts = /^(?:\[([^\]]*)\]|([^:[\]]*)):(\d{1,5})$/.exec(text);
  if (parts === null) return undefined;
  const port = Number(parts[3]);
  const host = parts[1] ?? (parts[2] === '' ? '0.0.0.0' : parts[2]!);
  const family = isIP(host);
  if (port > 65_535 || family === 0 || (family === 6) !== (parts[1] !== undefined)) return undefined;
  return { host, port };
}

/** An origin and nothing more: what stands behind it would be lost, and a user name in it would be a secret in a log. */
function parseVaultAddress(text: string): string | undefined {
  if (/^unix:\/[^\0]+$/.test(text)) return text;
  if (!URL.canParse(text)) return undefined;
  const { protocol, origin, pathname, search, hash, username, password } = new URL(text);
  const isOrigin = pathname === '/' && search === '' && hash === '' && username === '' && password === '';
  return isOrigin && (protocol === 'https:' || protocol === 'http:') ? origin : undefined;
}

function parsePath(text: string, folder: string): string | undefined {
  return text === '' || text.includes('\0') ? undefined : resolve(folder, text);
}

/** Keeps a slash at the end: it says that a folder is meant. */
function parsePathOrFolder(text: string, folder: string): string | undefined {
  const parsed = parsePath(text, folder);
  return parsed !== undefined && text.endsWith('/') ? `${parsed}/` : parsed;
}

/** Records say who does what with which key: they do not travel in clear. */
function parseHttpUrl(text: string): string | undefined {
  if (!URL.canParse(text)) return undefined;
  const { protocol, hostname, username, password, href } = new URL(text);
  if (username !== '' || password !== '') return undefined;
  const isLoopback = ['localhost', '127.0.0.1', '[::1]'].includes(hostname);
  return protocol === 'https:' || (protocol === 'http:' && isLoopback) ? href : undefined;
}

/** Kept as it is: tokens are compared with it byte by byte, a slash at its end included. */
function parseIssuer(text: string): string | undefined {
  const url = parseHttpUrl(text);
  if (url === undefined || /[?#\s]/.test(text)) return undefined;
  return url === text || url === `${text}/` ? text : undefined;
}

function explainAddress(text: string): string | undefined {
  const host = /^([^:[\]]+):\d{1,5}$/.exec(text)?.[1];
  return host !== undefined && isIP(host) === 0 ? `'${host}' is not a valid IP address` : undefined;
}

function parseNetwork(text: string): string | undefined {
  const [address, bits, ...rest] = text.split('/');
  const family = isIP(address!);
  if (family === 0 || rest.length > 0) return undefined;
  if (bits === undefined) return `${address}/${family === 4 ? 32 : 128}`;
  if (!/^\d{1,3}$/.test(bits) || Number(bits) > (family === 4 ? 32 : 128)) return undefined;
  new BlockList().addSubnet(address!, Number(bits), family === 4 ? 'ipv4' : 'ipv6');
  return text;
}
