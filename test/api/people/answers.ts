/** Holds an answer to what an OpenAPI document says of it. */
import { Compile } from 'typebox/schema';

interface Document {
  readonly paths: Record<
    string,
    Record<string, { responses: Record<string, { content?: Record<string, { schema: object }> }> }>
  >;
}

/** What is wrong with it; empty when nothing is. */
export function problemsOfAnswer(document: object, method: string, path: string, body: unknown): string[] {
  const operation = (document as Document).paths[path]?.[method];
  if (operation === undefined) return [`the document has no ${method} ${path}`];
  const [status] = Object.keys(operation.responses).filter((each) => /^2\d\d$/.test(each));
  const schema = operation.responses[status!]?.content?.['application/json']?.schema;
  if (schema === undefined) return [`the document does not say what ${method} ${path} answers`];
  const [isRight, errors] = Compile(schema).Errors(body) as [
    boolean,
    { instancePath: string; message: string }[],
  ];
  return isRight ? [] : errors.map(({ instancePath, message }) => `${instancePath}: ${message}`);
}
