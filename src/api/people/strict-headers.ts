/** For answers that are no page, or a page without anything in it: nothing may be loaded, framed, kept or guessed. */
export const strictHeaders = {
  'cache-control': 'no-store',
  'content-security-policy':
    "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
  'cross-origin-opener-policy': 'same-origin',
  'cross-origin-resource-policy': 'same-origin',
  'permissions-policy': 'camera=(), geolocation=(), microphone=()',
  // The address of the callback has the code in it.
  'referrer-policy': 'no-referrer',
  'strict-transport-security': 'max-age=31536000',
  vary: 'authorization, cookie',
  'x-content-type-options': 'nosniff',
  'x-frame-options': 'DENY',
} as const;
