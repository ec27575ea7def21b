/** The body of a login by password: `{"name": …, "password": …}`, and `directory` where there are several. */
import { isObject, parseStrictJson } from '../../access/people/index.ts';

export interface PasswordLogin {
  readonly directory: string | undefined;
  readonly name: string;
  readonly password: string;
}

/** @throws an error with status 400 that repeats nothing of the body */
export function passwordOf(body: unknown): PasswordLogin {
  try {
    if (Buffer.isBuffer(body)) {
      const read = parseStrictJson(new TextDecoder('utf-8', { fatal: true }).decode(body));
      body.fill(0);
      if (isObject(read)) {
        const { directory, name, password, ...others } = read;
        const isKnown =
          Object.keys(others).length === 0 && (directory === undefined || typeof directory === 'string');
        if (isKnown && typeof name === 'string' && typeof password === 'string')
          return { directory: directory as string | undefined, name, password };
      }
    }
  } catch {
    // The parser's message could repeat what was sent.
  }
  throw Object.assign(new Error('request is not valid'), { statusCode: 400 });
}
