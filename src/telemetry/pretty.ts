/** A log line for people: time, level, text, then the fields as name=value, all on one line. */

const colours: Readonly<Record<string, string>> = {
  trace: '\x1b[90m',
  debug: '\x1b[36m',
  info: '\x1b[32m',
  warn: '\x1b[33m',
  error: '\x1b[31m',
  fatal: '\x1b[31;1m',
};

/** Values come from the network: nothing in them may steer the terminal. */
// eslint-disable-next-line no-control-regex
const controls = /[\u0000-\u001f\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069]/g;

/** `line` is pino's JSON; text that is none is passed on. */
export function prettyLine(line: string, coloured: boolean): string {
  let record: Record<string, unknown>;
  try {
    record = JSON.parse(line) as Record<string, unknown>;
  } catch {
    return line;
  }
  const { level, time, msg, ...fields } = record;
  const name = String(level);
  const label = name.toUpperCase().padEnd(5);
  const shown = coloured ? `${colours[name] ?? ''}${label}\x1b[0m` : label;
  let text = `${String(time).slice(11, 23)} ${shown}`;
  if (msg !== undefined) text += ` ${plain(String(msg))}`;
  for (const [field, value] of Object.entries(fields)) text += ` ${plain(field)}=${valueText(value)}`;
  return `${text}\n`;
}

function valueText(value: unknown): string {
  if (typeof value === 'string' && /^[^\s"=]+$/.test(value)) return plain(value);
  return plain(JSON.stringify(value));
}

function plain(text: string): string {
  return text.replace(controls, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`);
}
