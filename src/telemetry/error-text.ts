/** Errors as the log shows them: the code and detail of ours, the chain of causes, and a stack only where it tells something. */
import { SelloError } from '../errors.ts';

export interface ErrorDescription {
  readonly type: string;
  readonly code?: string | undefined;
  readonly message: string;
  readonly detail?: string | undefined;
  readonly stack?: string | undefined;
  readonly cause?: ErrorDescription | undefined;
  readonly errors?: readonly ErrorDescription[] | undefined;
}

/** Longer chains are loops or noise. */
const maxCauses = 6;
const maxAggregated = 5;

export function describeError(error: unknown): ErrorDescription {
  return describe(error, maxCauses);
}

function describe(error: unknown, left: number): ErrorDescription {
  if (!(error instanceof Error)) return { type: typeof error, message: plainText(error) };
  const code = (error as { code?: unknown }).code;
  // A SelloError is a foreseen failure: where it was made says little. Any other is a fault or comes from one.
  const foreseen = error instanceof SelloError && error.code !== 'SELLO_INTERNAL';
  return {
    type: error.name,
    code: typeof code === 'string' ? code : undefined,
    message: error.message,
    detail: error instanceof SelloError ? error.detail : undefined,
    stack: foreseen ? undefined : error.stack,
    cause: error.cause === undefined || left === 0 ? undefined : describe(error.cause, left - 1),
    errors:
      error instanceof AggregateError && left > 0
        ? error.errors.slice(0, maxAggregated).map((one) => describe(one, left - 1))
        : undefined,
  };
}

/** Something thrown that is no Error may be anything: only what is text or a number is shown. */
function plainText(value: unknown): string {
  return typeof value === 'string' || typeof value === 'number' ? String(value) : '(not an error)';
}
