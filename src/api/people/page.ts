/** The one page of a login: it says how it went and goes on. No script, no style, nothing to load. */

export interface PageText {
  readonly title: string;
  readonly text: string;
  /** A path of this origin. */
  readonly goOn: string;
  readonly isImmediate: boolean;
}

export function textOfPage({ title, text, goOn, isImmediate }: PageText): string {
  const link = escapeHtml(goOn);
  const refresh = isImmediate ? `<meta http-equiv="refresh" content="0; url=${link}">` : '';
  return [
    '<!doctype html>',
    `<html lang="en"><head><meta charset="utf-8"><title>${escapeHtml(title)} - Sello</title>${refresh}</head>`,
    `<body><main><h1>${escapeHtml(title)}</h1><p>${escapeHtml(text)}</p><p><a href="${link}">Continue</a></p></main></body></html>`,
    '',
  ].join('\n');
}

function escapeHtml(text: string): string {
  return text.replace(/[&<>"']/g, (character) => `&#${String(character.charCodeAt(0))};`);
}
