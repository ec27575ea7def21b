/**
 * Serves the console's files from memory. They are the same for everybody and hold nothing of anybody: what a person sees comes over the
 * API, with their session.
 */
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import type { FastifyPluginCallback } from 'fastify';

const types: Readonly<Record<string, string>> = {
  html: 'text/html; charset=utf-8',
  css: 'text/css; charset=utf-8',
  js: 'text/javascript; charset=utf-8',
  svg: 'image/svg+xml',
};

/**
 * Scripts, styles and requests of this origin alone; nothing inline, nothing evaluated, no text that becomes markup (trusted types),
 * no frame around it, no form that goes anywhere.
 */
export const consoleHeaders = {
  'cache-control': 'no-cache',
  'content-security-policy': [
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "img-src 'self'",
    "connect-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
    "require-trusted-types-for 'script'",
    "trusted-types 'none'",
  ].join('; '),
} as const;

export interface ConsoleFile {
  readonly path: string;
  readonly type: string;
  readonly bytes: Buffer;
  readonly etag: string;
}

const page = 'index.html';

/** Every file that is served; `index.html` at `/`. */
export function consoleFiles(): ConsoleFile[] {
  const folder = new URL('files/', import.meta.url);
  return readdirSync(folder)
    .filter((name) => types[name.slice(name.lastIndexOf('.') + 1)] !== undefined)
    .map((name) => {
      const bytes = readFileSync(new URL(name, folder));
      return {
        path: name === page ? '/' : `/console/${name}`,
        type: types[name.slice(name.lastIndexOf('.') + 1)]!,
        bytes,
        etag: `"${createHash('sha256').update(bytes).digest('base64url').slice(0, 22)}"`,
      };
    });
}

export const consolePlugin: FastifyPluginCallback = (app, _options, done) => {
  for (const { path, type, bytes, etag } of consoleFiles()) {
    app.get(path, (request, reply) => {
      void reply.headers({ ...consoleHeaders, etag });
      if (request.headers['if-none-match'] === etag) return reply.code(304).send();
      return reply.type(type).send(bytes);
    });
  }
  done();
};
